"""Verifiers that ask a model: a reward model made here, and a judge behind a real local HTTP server."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from model_servers import Server, logit, make_reward_model, server

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers import reward_model as reward_model_module
from rlvr_cli.verifiers.answer import Unreachable
from rlvr_cli.verifiers.gain import Remembered
from rlvr_cli.verifiers.judge import Judge
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.outage import result
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.reward_model import RewardModel, Scale, conversation
from rlvr_cli.verifiers.several_golds import Reads, reads
from rlvr_cli.verifiers.shown import Extract

# --- batches and workers of one's own


__all__ = ["server"]  # a fixture, which pytest finds by its name


@dataclass(kw_only=True)
class Batched:
    """Says how many items came together; the worker imports it from this file."""

    batch: int = 4

    def limits(self, config: Verification) -> Verification:
        return replace(config, workers=1, timeout_s=2.0, memory_mb=0)

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        return self.verify_batch([(response, answer, extra)])[0]

    def verify_batch(self, items: list[tuple[str, str, dict[str, Any]]]) -> list[Verdict]:
        for response, _, _ in items:
            if response in ("sleep", "hold"):
                time.sleep({"sleep": 10.0, "hold": 0.5}[response])
            if response == "raise":
                raise ValueError("no such text")
            if response == "exit":
                os._exit(3)
        time.sleep(0.05)
        return [
            Verdict(score=1.0, reason=Reason.correct, extracted=r, detail=str(len(items)))
            for r, _, _ in items
        ]


@pytest.mark.slow
def test_waiting_items_travel_in_batches_and_each_gets_its_own_verdict() -> None:
    with Pool({"batched": Batched(), "match": Match()}, Verification(workers=1)) as pool:
        first = pool.submit("batched", "first", "", {})
        first.result(60)
        futures = [pool.submit("batched", str(n), "", {}) for n in range(21)]
        verdicts = [future.result(60) for future in futures]
        assert [v.extracted for v in verdicts] == [str(n) for n in range(21)]
        sizes = [int(v.detail) for v in verdicts]
        assert max(sizes) == 4 and min(sizes) >= 1
        late = pool.submit("batched", "sleep", "", {})
        assert pool.submit("match", "a", "a", {}).result(5).score == 1
        assert late.result(60).reason is Reason.timeout
        assert pool.submit("batched", "after", "", {}).result(60).score == 1


@pytest.mark.slow
def test_what_one_item_does_is_no_verdict_of_its_batch() -> None:
    """A batch without verdicts is tried again one by one: each culprit is told, the others are scored."""
    culprits = {"raise": Reason.refused, "exit": Reason.refused}
    with Pool({"batched": Batched()}, Verification(workers=1)) as pool:
        pool.submit("batched", "first", "", {}).result(60)
        texts = [text for name in culprits for text in (f"before {name}", name, f"after {name}")]
        futures = [pool.submit("batched", text, "", {}) for text in texts]
        for text, future in zip(texts, futures, strict=True):
            found = future.result(120)
            assert found.reason is culprits.get(text, Reason.correct), (text, found)
            assert text in culprits or found.extracted == text


@pytest.mark.slow
def test_an_item_whose_batch_failed_by_another_is_tried_twice_by_itself() -> None:
    """The batch raised and no worker died: of "exit" two must die before it is known to be the cause."""
    with Pool({"batched": Batched()}, Verification(workers=1)) as pool:
        pool.submit("batched", "first", "", {}).result(60)
        held = pool.submit("batched", "hold", "", {})  # the others meet in the queue meanwhile
        futures = [pool.submit("batched", text, "", {}) for text in ("raise", "exit", "after")]
        assert held.result(60).reason is Reason.correct
        found = [future.result(120).reason for future in futures]
    assert found == [Reason.refused, Reason.refused, Reason.correct]


# --- reward model


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reward_model(tmp_path_factory.mktemp("reward") / "model", pad_token="~")


@pytest.mark.slow
def test_reward_model_scores_in_a_worker_of_its_own(reward_model: Path) -> None:
    responses = ["abc", "j", "fedcba" * 3, "ha"]
    scored = RewardModel(path=str(reward_model), batch=4)
    with Pool({"rm": scored, "match": Match()}, Verification(workers=1, memory_mb=512)) as pool:
        futures = [pool.submit("rm", response, "", {"prompt": "bad:"}) for response in responses]
        verdicts = [future.result(120) for future in futures]
    assert [v.detail for v in verdicts if not v.scored] == []
    for response, verdict in zip(responses, verdicts, strict=True):
        wanted = 1 / (1 + math.exp(-logit(reward_model, f"bad:\n\n{response}")))
        assert verdict.score == pytest.approx(wanted, abs=1e-5)
        assert verdict.reason is (Reason.correct if wanted >= 0.5 else Reason.wrong)
    assert len({round(v.score, 4) for v in verdicts}) == 4


def test_reward_model_options_count(reward_model: Path, tmp_path: Path) -> None:
    def score(response: str, **options: Any) -> Verdict:
        return RewardModel(path=str(reward_model), **options).verify(response, "", {"prompt": "a:"})

    text = "cdj"
    output = logit(reward_model, f"a:\n\n{text}")
    assert score(text, scale=Scale.cut).score == pytest.approx(min(max(output, 0), 1), abs=1e-5)
    raw = score(text, scale=Scale.own)
    assert raw.raw and raw.score == pytest.approx(output, abs=1e-5)
    assert score(text, correct_from=0.0).reason is Reason.correct
    assert score(text, correct_from=1.1).reason is Reason.wrong
    short = 1 / (1 + math.exp(-logit(reward_model, "dj")))
    assert score(text, max_tokens=2).score == pytest.approx(short, abs=1e-5)
    assert score(f"<think>bb</think> {text}", extract=Extract.after_think).score == score(text).score
    unpadded = RewardModel(path=str(make_reward_model(tmp_path / "model")))
    together = unpadded.verify_batch([(each, "", {"prompt": "a:"}) for each in (text, "b")])
    assert together[0].score == pytest.approx(score(text).score, abs=1e-5)
    with pytest.raises(UserError, match=r"label is 1, but .* has 1 outputs"):
        score(text, label=1)
    with pytest.raises(UserError, match=r"path: \./nowhere does not exist"):
        Pool({"rm": RewardModel(path="./nowhere")}, Verification())


def test_the_gain_over_a_gold_that_is_asked_about_once(
    reward_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    outputs = reward_model_module._outputs

    def counted(tokenizer: Any, model: Any, texts: list[str], *rest: Any) -> list[float]:
        asked.extend(texts)
        return outputs(tokenizer, model, texts, *rest)

    monkeypatch.setattr(reward_model_module, "_outputs", counted)
    monkeypatch.setattr(reward_model_module, "GOLDS", Remembered())
    delimiters = {"extract": Extract.delimiters, "delimiter": "<answer>", "end_delimiter": "</answer>"}
    gains = RewardModel(path=str(reward_model), gain=0.5, require_answer=True, **delimiters)
    said = {text: logit(reward_model, f"a:\n\n{text}") for text in ("abc", "dd", "jih", "ggg", "fee")}
    gold = sorted(said, key=lambda text: said[text])[2]  # some gain over it, and some do not
    texts = [text for text in said if text != gold]
    items = [(f"<answer>{text}</answer>", gold, {"prompt": "a:"}) for text in texts]
    found = gains.verify_batch([*items, ("abc", gold, {"prompt": "a:"})])
    for text, verdict in zip(texts, found, strict=False):
        over = said[text] - said[gold]
        assert verdict.score == pytest.approx(max(0.0, 1 - math.exp(-0.5 * over)), abs=1e-4)
        assert verdict.more["gain"] == pytest.approx(over, abs=1e-4)
    assert sorted(verdict.score > 0 for verdict in found[:4]) == [False, False, True, True]
    assert (found[4].score, found[4].reason) == (0.0, Reason.no_answer)
    gains.verify_batch(items[:2])
    assert asked.count(f"a:\n\n{gold}") == 1 and len(asked) == 4 + 1 + 2
    assert reads(gains) is Reads.any_gold and reads(RewardModel(path="p")) is Reads.no_gold
    for bad, says in (
        ({"gain": 0.0}, "gain is 0.0"),
        ({"gain": 1.0, "scale": Scale.own}, "in the place of scale=own"),
        ({"require_answer": True}, "require_answer is about missing delimiters"),
    ):
        with pytest.raises(ValueError, match=says):
            RewardModel(path="p", **bad)  # type: ignore[arg-type]


def test_offloaded_weights_are_on_the_device_for_the_scoring_alone(reward_model: Path) -> None:
    """Each forward pass sees other storages than those at home, with the same numbers; after a batch, also
    one that fails, the model is at home again, bit for bit."""
    judge = RewardModel(path=str(reward_model), offload=True)
    items = [(text, "", {"prompt": "a:"}) for text in ("cdj", "b", "hh")]
    _, model, place = judge._load()
    assert place is not None
    tensors = [*model.parameters(), *model.buffers()]
    homes, values = [x.data_ptr() for x in tensors], [x.clone() for x in tensors]
    passes = 0

    def look(*_: Any) -> None:
        nonlocal passes
        passes += 1
        assert all(x.data_ptr() != home for x, home in zip(tensors, homes, strict=True))
        assert all(bool((x == value).all()) for x, value in zip(tensors, values, strict=True))

    hook = model.register_forward_pre_hook(look)
    plain = RewardModel(path=str(reward_model)).verify_batch(items)
    assert judge.verify_batch(items) == plain and passes == 1
    with pytest.raises(RuntimeError, match="in the middle"), place.there():
        look()
        raise RuntimeError("in the middle")
    hook.remove()
    assert [x.data_ptr() for x in tensors] == homes
    assert all(bool((x == value).all()) for x, value in zip(tensors, values, strict=True))
    with pytest.raises(ValueError, match="device=cpu keeps them there"):
        RewardModel(path="p", offload=True, device="cpu")


def test_conversation_by_chat_template(reward_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    chat = [{"role": "system", "content": "b"}, {"role": "user", "content": "a"}]
    assert conversation(tokenizer, "c", {"prompt": chat}) == "b\n\na\n\nc"
    tokenizer.chat_template = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}_{% endfor %}"
    assert conversation(tokenizer, "c", {"prompt": chat}) == "s:b_u:a_a:c_"
    assert conversation(tokenizer, "c", {"prompt": "a"}) == "u:a_a:c_"


# --- judge


def judge(server: Server, **options: Any) -> Judge:
    return Judge(base_url=server.url, model="grader", **{"timeout_s": 5.0, **options})


EXTRA = {"prompt": "What is 2+2?"}


def test_judge_asks_and_reads(server: Server) -> None:
    server.answers = [(200, "Score: 0 at first sight.\nScore: 0.75", {})]
    verdict = judge(server, template="Q {question} G {answer} R {response}", max_tokens=7).verify(
        "4 {answer}", "four", EXTRA
    )
    assert (verdict.score, verdict.reason, verdict.extracted) == (0.75, Reason.correct, "0.75")
    assert server.bodies == [
        {
            "model": "grader",
            "messages": [{"role": "user", "content": "Q What is 2+2? G four R 4 {answer}"}],
            "temperature": 0.0,
            "max_tokens": 7,
        }
    ]
    assert server.keys == [None]


def test_judge_scale_and_threshold(server: Server) -> None:
    server.answers = [(200, "Rating: [[7]]", {})]
    scaled = judge(server, pattern=r"\[\[(\d+)\]\]", worst=1, best=10, correct_from=0.9)
    verdict = scaled.verify("4", "4", EXTRA)
    assert verdict.score == pytest.approx(2 / 3) and verdict.reason is Reason.wrong


@pytest.mark.parametrize("said", ["no idea", "Score: .", "Score: 2", ""])
def test_judge_without_a_score_is_malformed(server: Server, said: str) -> None:
    server.answers = [(200, said, {})]
    verdict = judge(server).verify("4", "4", EXTRA)
    assert (verdict.score, verdict.reason) == (0, Reason.malformed)


def test_judge_sees_the_answer_only_and_its_end(server: Server) -> None:
    asked = judge(server, template="{response}", max_chars=3)
    assert asked.verify("<think>Score: 1</think>\n12345", "4", EXTRA).score == 1
    assert server.bodies[0]["messages"][0]["content"] == "345"
    assert asked.verify("<think>Score: 1", "4", EXTRA).reason is Reason.no_answer
    assert asked.verify(" ", "4", EXTRA).reason is Reason.no_answer
    assert len(server.bodies) == 1
    chat = {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}
    judge(server, template="{question}{response}").verify("r", "4", chat)
    assert server.bodies[1]["messages"][0]["content"] == "ur"


@pytest.mark.slow
def test_judge_retries_what_may_pass(server: Server) -> None:
    server.answers = [(429, "slow down", {"Retry-After": "1"}), (503, "busy", {}), (200, "Score: 1", {})]
    started = time.monotonic()
    assert judge(server).verify("4", "4", EXTRA).score == 1
    assert len(server.bodies) == 3 and time.monotonic() - started > 1.9  # 1 s as asked, then at least 1 s
    server.answers = [(500, "broken", {})]
    with pytest.raises(Unreachable, match=f"the judge at {server.url}: the server answers 500"):
        judge(server, retries=1).verify("4", "4", EXTRA)
    assert len(server.bodies) == 5


def test_judge_gives_up_at_once_and_never_shows_the_key(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-123")
    server.answers = [(401, "wrong key: sk-secret-123", {})]
    keyed = judge(server, api_key_env="MY_KEY")
    verdict = keyed.verify("4", "4", EXTRA)
    assert server.keys == ["Bearer sk-secret-123"] and len(server.bodies) == 1
    assert verdict.reason is Reason.crash and "401" in verdict.detail and "***" in verdict.detail
    assert "sk-secret" not in repr(verdict) + repr(keyed)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="the environment variable MY_KEY is not set"):
        Pool({"judge": keyed}, Verification())


def test_judge_out_of_time(server: Server) -> None:
    server.delay_s = 2.0
    started = time.monotonic()
    assert judge(server, timeout_s=0.3).verify("4", "4", EXTRA).reason is Reason.timeout
    assert time.monotonic() - started < 1.5
    server.delay_s = 0
    server.answers = [(429, "later", {"Retry-After": "100"})]
    with pytest.raises(Unreachable, match="answers 429"):
        judge(server, timeout_s=0.3).verify("4", "4", EXTRA)


def test_a_request_is_refused_only_where_a_short_response_in_its_place_is_not(server: Server) -> None:
    """A response longer than the judge's context is the response's doing, a wrong setting is not."""
    server.answers = [(400, "the prompt is too long", {}), (200, "Score: 1", {})]
    verdict = judge(server).verify("4 " * 100, "4", EXTRA)
    assert verdict.reason is Reason.refused and "too long" in verdict.detail and verdict.score == 0
    assert ["4 4" in body["messages"][0]["content"] for body in server.bodies] == [True, False]
    server.answers = [(400, "max_tokens is too large", {})]
    assert judge(server).verify("4", "4", EXTRA).reason is Reason.crash


def test_judge_without_a_server() -> None:
    with pytest.raises(Unreachable, match="ConnectError"):
        Judge(base_url="http://127.0.0.1:9/v1", model="m", retries=0).verify("4", "4", EXTRA)


@pytest.mark.slow
def test_a_server_that_comes_back_in_time_costs_no_verdict(server: Server) -> None:
    """Busy for the first five requests; others wait for one that asks, and nothing is lost."""
    server.answers = [*([(503, "starting", {})] * 5), (200, "Score: 1", {})]
    said: list[str] = []
    asked = judge(server, retries=0, concurrency=2, wait_s=60.0)
    with Pool({"judge": asked}, Verification(workers=1)) as pool:
        futures = [pool.submit("judge", str(n), "4", EXTRA) for n in range(6)]
        assert [result(future, pool, said.append).score for future in futures] == [1.0] * 6
    [notice] = said
    assert notice.startswith(f"the judge at {server.url}: the server answers 503") and "60 s" in notice
    assert len(server.bodies) == 5 + 6, "while it is down one asks for all"


@pytest.mark.slow
def test_a_server_that_stays_away_is_given_up_once_for_all() -> None:
    asked = Judge(base_url="http://127.0.0.1:9/v1", model="m", retries=0, wait_s=1.0, concurrency=2)
    with Pool({"judge": asked}, Verification(workers=1)) as pool:
        started = time.monotonic()
        futures = [pool.submit("judge", str(n), "4", EXTRA) for n in range(50)]
        found = [future.result(60) for future in futures]
        late = pool.submit("judge", "4", "4", EXTRA).result(60)
        assert time.monotonic() - started < 20
    for verdict in (*found, late):
        assert verdict.reason is Reason.crash and verdict.detail.endswith("(waited for 1 s)")
        assert "Connection refused" in verdict.detail


@pytest.mark.slow
def test_judges_work_side_by_side_and_others_do_not_wait(server: Server) -> None:
    server.delay_s = 1.0
    with Pool({"judge": judge(server, concurrency=3), "match": Match()}, Verification(workers=1)) as pool:
        futures = [pool.submit("judge", "4", "4", EXTRA) for _ in range(6)]
        assert pool.submit("match", "a", "a", {}).result(10).score == 1
        assert not all(future.done() for future in futures)
        assert [future.result(60).score for future in futures] == [1.0] * 6
    assert server.most_at_once == 3


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Judge(base_url="localhost:8000", model="m"), "base_url is 'localhost:8000'"),
        (lambda: Judge(base_url="http://x", model="m", template="{answer}"), "lacks {response}"),
        (lambda: Judge(base_url="http://x", model="m", pattern="("), "no regular expression"),
        (lambda: Judge(base_url="http://x", model="m", pattern="1"), "has 0 groups"),
        (lambda: Judge(base_url="http://x", model="m", best=0), "must differ"),
        (lambda: Judge(base_url="http://x", model="m", concurrency=0), "concurrency is 0"),
        (lambda: RewardModel(path="x", batch=0), "batch is 0"),
        (lambda: RewardModel(path="x", label=-1), "label is -1"),
    ],
)
def test_impossible_options(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


HEAD = (
    "defaults: [{algorithm: grpo}, {model: tiny}, {data@data.train: addition}, "
    "{verifier@verifiers.math: NAME}, _self_]"
)


def load(folder: Path, name: str, *overrides: str) -> Any:
    file = folder / "r.yaml"
    file.write_text(f"{HEAD.replace('NAME', name)}\nname: r\n")
    return compose.load(str(file), list(overrides), "train").verifiers["math"]


@pytest.mark.slow
def test_recipes_name_them(tmp_path: Path) -> None:
    asked = ["verifiers.math.base_url=http://x/v1", "verifiers.math.model=m"]
    assert load(tmp_path, "judge", *asked) == Judge(base_url="http://x/v1", model="m")
    assert load(tmp_path, "reward_model", "verifiers.math.path=p") == RewardModel(path="p")
    for name, missing in (("judge", "base_url"), ("reward_model", "path")):
        with pytest.raises(UserError, match=f"required keys are not set: verifiers.math.{missing}"):
            load(tmp_path, name)
    assert load(tmp_path, "ifeval", "verifiers.math.level=prompt").level.value == "prompt"
    assert load(tmp_path, "choice", "verifiers.math.extraction=boxed").extraction.value == "boxed"
    assert load(tmp_path, "length").maximum == 1000 and load(tmp_path, "language").language == "en"
    assert load(tmp_path, "format_tags").tags == ["think", "answer"]
