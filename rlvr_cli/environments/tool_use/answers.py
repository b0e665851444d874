"""From the calls of a turn to what the policy is told of each."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rlvr_cli.environments.tool_calls import Call, Status
from rlvr_cli.environments.tool_use.arguments import complaint
from rlvr_cli.environments.tool_use.results import Side, cut, harmless
from rlvr_cli.environments.tool_use.tool import NoVerdict, Outcome, Tool, parameters_of

COUNTS = ("calls", "failures", "malformed", "repaired")
SHOWN_NAME = 64


@dataclass(slots=True, kw_only=True)
class Answers:
    """Runs calls. `tags`: names of tags that no result may hold."""

    tools: Mapping[str, Tool]
    most_calls: int
    most_chars: int
    side: Side
    tags: Collection[str] = ()
    _seen: set[str] = field(default_factory=set)
    """Errors whose traceback is in the log already."""

    async def to(self, number: int, call: Call) -> Outcome:
        """The answer to the call of that place in its turn. NoVerdict where a tool is broken itself."""
        if number >= self.most_calls:
            found = _refused(f"Error: only {self.most_calls} calls of a turn are run")
        elif call.status is Status.unknown_tool:
            available = ", ".join(self.tools)
            found = _refused(f"Unknown function '{call.name[:SHOWN_NAME]}'. Available tools: [{available}]")
        elif call.status is not Status.ok:
            found = _refused(f"Error: the call cannot be read: {call.problem}")
        else:
            found = await self._run(call)
        return replace(found, text=harmless(cut(found.text, self.most_chars, self.side), self.tags))

    async def _run(self, call: Call) -> Outcome:
        tool = self.tools[call.name]
        if (problem := complaint(parameters_of(tool.schema), call.arguments)) is not None:
            return _refused(f"Error: invalid arguments for '{call.name}': {problem}")
        try:
            return await tool.run(call.arguments)
        except NoVerdict:
            raise
        except Exception as error:  # of any kind: the user's own code
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            if said not in self._seen:
                self._seen.add(said)
                print(f"tool {call.name}:", file=sys.stderr)
                traceback.print_exc()
            return _refused(f"Error: {said}")

    def measures(
        self, calls: Sequence[Call], outcomes: Sequence[Outcome], seconds: float
    ) -> dict[str, float]:
        """Of a turn. Every name is there in every turn, so that a metric is there in every step."""
        found = {f"tool/{name}": 0.0 for name in COUNTS} | {f"tool/{name}/calls": 0.0 for name in self.tools}
        found["tool/seconds"] = seconds if calls else 0.0
        for call, outcome in zip(calls, outcomes, strict=True):
            readable = call.status in (Status.ok, Status.unknown_tool)
            found["tool/calls"] += 1.0
            found["tool/malformed"] += not readable
            found["tool/failures"] += readable and outcome.failed
            found["tool/repaired"] += bool(call.repairs)
            if call.status is Status.ok:
                found[f"tool/{call.name}/calls"] += 1.0
            for name, value in outcome.measures.items():
                found[name] = found.get(name, 0.0) + value
        return found


def _refused(text: str) -> Outcome:
    return Outcome(text=text, failed=True)
