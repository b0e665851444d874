"""Routing replay: the trainer's experts are those that somebody else has chosen before (R2, R3, 2510.11370).

What is to be chosen travels with the call of each transformer layer, as attention's layout does. A layer that
is computed again in the backward pass gets it again with its other arguments, whatever came in between: there
is no queue that could get out of step. Each router takes what its layer was given exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.routers import Router, routers_of
from rlvr_cli.core.routes import aligned, numbers_for
from rlvr_cli.engine.pack import MicroBatch
from rlvr_cli.engine.replay_gate import replay_gate, same_experts
from rlvr_cli.schema import RoutingReplay

KEY = "rollout.routing_replay"
ARGUMENT = "routes"
"""Name of the argument with which layers are called."""


@dataclass(slots=True, kw_only=True)
class Targets:
    """What the routers are to choose in one forward pass over T tokens, and what they would have."""

    choice_TLk: Tensor | None
    """int64: of each router in order; None: nobody has chosen, and what they choose is kept in `chosen`."""
    given_T: Tensor
    """bool: tokens that have a choice. The others (last of a sequence, padding) are routed as ever."""
    replays: bool
    """Or only compares."""
    chosen: dict[int, Tensor] = field(default_factory=dict)
    """Router -> its own choice [T, k]."""
    differs_T: Tensor | None = None
    """int64: routers whose own choice is another."""
    taken: Tensor | int = 0
    """(token, router) pairs that were computed with other experts than those given; on the device, as asking
    each router for its number would wait for it."""
    reached: set[int] = field(default_factory=set)


class Replay:
    """The routers of a policy, hooked. `with replay.of(routes):` forward passes follow these."""

    def __init__(self, hf: Any, kind: RoutingReplay) -> None:
        """Raises UserError where a router of the model is not known, or a layer is not told."""
        base = hf.get_base_model() if hasattr(hf, "get_base_model") else hf
        self.kind = kind
        self.routers = routers_of(base, KEY)
        self.routes: Sequence[np.ndarray] | None = None
        """Of each sequence of the batch; None: no replay."""
        self.records = False
        self.recorded: dict[int, np.ndarray] = {}
        """Sequence -> what the routers have chosen, while it records."""
        self.sums = torch.zeros(5, dtype=torch.float64)
        """(token, router) pairs compared, those with another own choice, those computed with another; tokens,
        those with another own choice in any layer."""
        self._waiting: dict[int, Targets] = {}
        modules = dict(base.named_modules())
        for number, router in enumerate(self.routers):
            modules[router.layer_name].register_forward_pre_hook(self._told(number), with_kwargs=True)
            router.module.register_forward_hook(self._chooses(number, router))

    # ---------------------------------------------------------------- what the trainer calls

    @contextmanager
    def of(self, routes: Sequence[np.ndarray] | None, *, records: bool = False) -> Iterator[None]:
        """Forward passes within the block are of sequences with these routes (`core/routes.py`)."""
        self.routes, self.records = routes, records
        try:
            yield
        finally:
            self.routes, self.records = None, False

    def targets(self, micro: MicroBatch) -> Targets | None:
        """What the routers are to choose at each token of a micro-batch's rows; None: as ever."""
        if self.routes is None and not self.records:
            return None
        device, count = distributed.device(), micro.input_ids.numel()
        if self.routes is None:
            given_T = torch.zeros(count, dtype=torch.bool, device=device)
            return Targets(choice_TLk=None, given_T=given_T, replays=False)
        shape = len(self.routers), self.routers[0].module.top_k
        choice, given = np.zeros((count, *shape), np.int64), np.zeros(count, bool)
        # Of sequences that share a prompt the first one's routes are taken there.
        for member, place in reversed(list(zip(micro.members, micro.places, strict=True))):
            rows = self.of_routers(aligned(self.routes[member], len(place)), member)
            choice[place[: len(rows)]], given[place[: len(rows)]] = rows, True
        return Targets(
            choice_TLk=torch.from_numpy(choice).to(device),
            given_T=torch.from_numpy(given).to(device),
            replays=self.kind is not RoutingReplay.measure,
        )

    def close(self, targets: Targets, micro: MicroBatch) -> None:
        """After the forward pass: keep or count what was chosen. RuntimeError where one was not asked."""
        if len(targets.reached) != len(self.routers):
            missed = [r.name for n, r in enumerate(self.routers) if n not in targets.reached]
            raise RuntimeError(f"routing replay: {len(missed)} routers were not told, first {missed[0]}")
        if targets.choice_TLk is None:
            chosen = torch.stack([targets.chosen[n] for n in range(len(self.routers))], 1).cpu().numpy()
            numbers = numbers_for(self._experts())
            for member, place in zip(micro.members, micro.places, strict=True):
                self.recorded[member] = chosen[place[:-1]].astype(numbers)
            return
        self.count(targets)

    def count(self, targets: Targets) -> None:
        """What differed in a forward pass with routes."""
        assert targets.differs_T is not None
        tokens = int(targets.given_T.sum())
        found = [tokens * len(self.routers), int(targets.differs_T.sum()), int(targets.taken), tokens]
        self.sums += torch.tensor([*found, int((targets.differs_T > 0).sum())], dtype=torch.float64)

    def take_recorded(self, count: int) -> list[np.ndarray]:
        """Routes of all `count` sequences, as recorded since the last call; empty ones of sequences that
        other ranks have."""
        nothing = np.zeros((0, len(self.routers), self.routers[0].module.top_k), np.uint8)
        found = [self.recorded.get(i, nothing) for i in range(count)]
        self.recorded = {}
        return found

    def take_metrics(self) -> dict[str, float]:
        """Of all forward passes with routes since the last call, over all ranks; all must call it."""
        pairs, own, taken, tokens, any_layer = distributed.sum_over_ranks(self.sums).tolist()
        self.sums = torch.zeros(5, dtype=torch.float64)
        if not tokens:
            return {}
        return {
            "routing/disagreement": taken / pairs,
            "routing/router_disagreement": own / pairs,
            "routing/token_disagreement": any_layer / tokens,
            "routing/layers_per_token": own / tokens,
        }

    # ---------------------------------------------------------------- hooks

    def _told(self, number: int) -> Any:
        """Before a layer: keep what its router is to choose."""

        def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
            self._waiting.pop(number, None)
            if ARGUMENT not in kwargs:
                return None
            self._waiting[number] = kwargs[ARGUMENT]
            return args, {name: value for name, value in kwargs.items() if name != ARGUMENT}

        return hook

    def _chooses(self, number: int, router: Router) -> Any:
        """After a router: weights of the experts that were given in the place of those it has chosen."""

        def hook(module: Any, args: Any, output: tuple[Any, ...]) -> tuple[Any, ...] | None:
            targets = self._waiting.pop(number, None)
            if targets is None:
                return None
            logits_TE, weights_Tk, own_Tk = router.read(output)
            choice_Tk = own_Tk
            if targets.choice_TLk is not None:
                given_Tk = targets.choice_TLk[:, number]
                agrees_T = same_experts(given_Tk, own_Tk) | ~targets.given_T
                if targets.replays:  # the same experts in the router's own order: sums then round alike
                    choice_Tk = torch.where(agrees_T[:, None], own_Tk, given_Tk)
                self._note(targets, number, agrees_T, choice_Tk)
            else:
                targets.chosen[number] = own_Tk
            targets.reached.add(number)
            if not targets.replays:
                return None
            gate = router.gate
            replayed_Tk = replay_gate(
                logits_TE,
                choice_Tk,
                gate.scores,
                normed=router.normed,
                epsilon=gate.epsilon,
                scale=router.scale,
                wide=gate.wide,
            )
            return router.write(output, replayed_Tk.to(weights_Tk.dtype), choice_Tk)

        return hook

    def _note(self, targets: Targets, number: int, agrees_T: Tensor, choice_Tk: Tensor) -> None:
        """Count what differs; not again where the layer is computed again."""
        if number in targets.reached:
            return
        assert targets.choice_TLk is not None
        differs_T = (~agrees_T).long()
        targets.differs_T = differs_T if targets.differs_T is None else targets.differs_T + differs_T
        wrong_T = ~same_experts(targets.choice_TLk[:, number], choice_Tk) & targets.given_T
        targets.taken = targets.taken + wrong_T.sum()

    def of_routers(self, rows: np.ndarray, member: int) -> np.ndarray:
        """Routes [rows, L, k] of the routers, from those of all layers where these were recorded. ValueError
        where they are of another model."""
        layers = [router.layer for router in self.routers]
        wanted = len(layers), self.routers[0].module.top_k
        if rows.shape[1] != wanted[0] and rows.shape[1] > layers[-1]:
            rows = rows[:, layers]  # dense layers hold what means nothing
        if rows.shape[1:] != wanted or (rows.size and int(rows.max()) >= self._experts()):
            raise ValueError(
                f"routes of sequence {member} are of {rows.shape[1]} layers with {rows.shape[2]} experts a "
                f"token, and the trainer has {wanted[0]} routers that choose {wanted[1]} of {self._experts()}"
            )
        return rows

    def _experts(self) -> int:
        return int(self.routers[0].module.num_experts)


def replay_for(hf: Any, kind: RoutingReplay) -> Replay | None:
    """Where the recipe asks for it. UserError where its routers cannot be replayed."""
    if kind is RoutingReplay.none:
        return None
    replay = Replay(hf, kind)
    kinds = {router.module.top_k for router in replay.routers}
    if len(kinds) > 1:
        raise UserError(f"{KEY}: layers of this model choose {kinds} experts a token; leave it out")
    return replay
