"""Parts of rollout servers that need no vLLM: weights on their way, the gate, the guardian."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout import Request, SyncError
from rlvr_cli.rollout.servers import guardian
from rlvr_cli.rollout.servers.answers import Answers
from rlvr_cli.rollout.servers.frames import Answer, Frames, frame
from rlvr_cli.rollout.servers.gate import METHOD, Gate
from rlvr_cli.rollout.servers.likeness import about, demand_likeness
from rlvr_cli.rollout.servers.names import ABOUT, TOKEN
from rlvr_cli.rollout.servers.parcels import DTYPES, pack, seal, unpack
from rlvr_cli.rollout.servers.replica import environment
from rlvr_cli.rollout.servers.serve import flags
from rlvr_cli.rollout.servers.start_weights import start_weights

WEIGHTS = {
    "a": torch.arange(12.0).view(3, 4),
    "b": torch.arange(6, dtype=torch.bfloat16).view(2, 3).T,
    "c": torch.ones(1),
}


@pytest.mark.slow
def test_weights_travel_in_parcels_that_another_process_opens() -> None:
    parcels = pack(WEIGHTS.items(), most=50)
    assert [[*parcel.seals] for parcel in parcels] == [["a"], ["b", "c"]]
    code = (
        "import sys; from safetensors.torch import load_file\n"
        "from rlvr_cli.rollout.servers.parcels import seal"
        "\n"
        "for p in sys.argv[1:]: print({n: [seal(t), t.float().flatten().tolist()] "
        "for n, t in load_file(p).items()})"
    )
    words = [sys.executable, "-c", code, *(parcel.path for parcel in parcels)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {name: each for line in lines for name, each in eval(line).items()}
    assert found == {n: [seal(t), t.float().flatten().tolist()] for n, t in WEIGHTS.items()}
    assert b"".join(parcels[1].read(piece=7)) == Path(parcels[1].path).read_bytes()
    paths = [parcel.path for parcel in parcels]
    for parcel in parcels:
        parcel.close()
    assert not any(os.path.exists(path) for path in paths)


def test_a_seal_breaks_with_one_bit_a_shape_or_a_type() -> None:
    one = torch.zeros(4, 4)
    other = one.clone()
    other.view(torch.int32)[2, 1] = 1
    assert len({seal(each) for each in (one, other, one.view(2, 8), one.to(torch.float64))}) == 4
    assert seal(one) == seal(torch.zeros(4, 4))


def test_a_broken_seal_is_noted_under_the_name_of_its_weight() -> None:
    [parcel] = pack(WEIGHTS.items())
    broken: list[str] = []
    found = dict(unpack(parcel.path, parcel.seals, broken))
    assert not broken and all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)
    list(unpack(parcel.path, parcel.seals | {"b": parcel.seals["a"]}, broken))
    assert broken == ["b"]
    parcel.close()


def test_weights_of_every_type_and_shape_are_read_as_they_were_packed() -> None:
    shapes = [(), (0, 3), (1,), (3, 5), (2, 3, 4)]
    weights = {
        f"{name} {shape}": torch.arange(math.prod(shape)).reshape(shape).to(dtype)
        for name, dtype in DTYPES.items()
        for shape in shapes
    }
    [parcel] = pack(weights.items())
    broken: list[str] = []
    for name, tensor in unpack(parcel.path, parcel.seals, broken):
        assert tensor.dtype == weights[name].dtype and tensor.shape == weights[name].shape
        assert tensor.storage_offset() == 0 and tensor.untyped_storage().nbytes() == tensor.nbytes
        assert bytes(tensor.untyped_storage()) == bytes(weights[name].untyped_storage())
    assert not broken
    parcel.close()


def test_reading_parcels_leaves_nothing_behind() -> None:
    """A server reads one after every step. safetensors' own reader leaves two blocks of each tensor."""
    [parcel] = pack((f"{n}", torch.ones(300)) for n in range(20))

    def read() -> None:
        for _ in unpack(parcel.path, parcel.seals, []):
            pass

    read()
    before = sys.getallocatedblocks()
    for _ in range(100):
        read()
    assert sys.getallocatedblocks() - before < 100  # 4000
    parcel.close()


def test_a_weight_that_comes_twice_is_an_error_and_leaves_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SyncError, match="a is sent twice"):
        pack([*WEIGHTS.items(), ("a", torch.ones(2))], most=1)
    assert len(os.listdir("/proc/self/fd")) == before


class Through(Exception):
    """The gate has let a request through."""


def asked(gate: Gate, path: str, *, token: str = "", body: bytes = b"", kind: str = "http") -> Any:
    """(status, content) of a request at the gate; Through where vLLM would answer it."""
    scope = {
        "type": kind,
        "path": path.partition("?")[0],
        "query_string": path.partition("?")[2].encode(),
        "headers": [(b"authorization", f"Bearer {token}".encode())] if token else [],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    return sent[0].get("status"), json.loads(sent[1]["body"]) if len(sent) > 1 else sent[0]["type"]


async def through(scope: Any, receive: Any, send: Any) -> None:
    raise Through(scope["path"])


@pytest.mark.parametrize(
    "path", ["/health", "/pause", "/rlvr/about", "/rlvr/parcels", "/rlvr/samples", "/collective_rpc", "/docs"]
)
def test_without_the_token_no_route_answers(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "secret")
    gate = Gate(through)
    for token in ("", "Secret", "secret "):
        assert asked(gate, path, token=token)[0] == 401
    assert asked(gate, path, kind="websocket") == (None, "websocket.close")


def test_with_the_token_only_what_a_run_needs_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "secret")
    monkeypatch.setenv(ABOUT, json.dumps({"rlvr": "1"}))
    gate = Gate(through)
    for path in ("/health", "/weight_info", "/update_weights", "/pause"):
        with pytest.raises(Through):
            asked(gate, path, token="secret")
    closed = ("/sleep", "/v1/completions", "/inference/v1/generate", "/docs", "/update_weights/")
    for path in closed:
        assert asked(gate, path, token="secret")[0] == 404
    assert asked(gate, "/rlvr/about", token="secret") == (200, {"rlvr": "1"})
    with pytest.raises(Through):
        asked(gate, "/collective_rpc", token="secret", body=METHOD)
    for body in (b'{"method":"sleep"}', METHOD.replace(b"}", b',"args":[1]}')):
        assert asked(gate, "/collective_rpc", token="secret", body=body)[0] == 404


def test_parcels_that_come_over_the_network_replace_the_last_ones() -> None:
    gate = Gate(through)
    first = asked(gate, "/rlvr/parcels?first", body=b"one")[1]["path"]
    second = asked(gate, "/rlvr/parcels", body=b"two")[1]["path"]
    assert Path(first).read_bytes() == b"one" and Path(second).read_bytes() == b"two"
    third = asked(gate, "/rlvr/parcels?first", body=b"three")[1]["path"]
    assert Path(third).read_bytes() == b"three" and not os.path.exists(second)


GRANDCHILD = "import subprocess, sys, time; subprocess.Popen(['sleep', sys.argv[1]]); time.sleep(60)"
STARTER = (
    "import os, subprocess, sys, time\n"
    "words = [sys.executable, '-I', sys.argv[1], str(os.getpid()), sys.executable, '-c', *sys.argv[2:]]\n"
    "subprocess.Popen(words,"
    " start_new_session=True)\n"
    "time.sleep(60)"
)


@pytest.mark.slow
def test_a_server_and_its_children_end_with_the_process_that_started_it() -> None:
    """Killed as kill -9 does, with no chance to end anything."""
    mark = f"{os.getpid()}.5"  # seconds to sleep, by which the grandchild is found
    words = [sys.executable, "-c", STARTER, guardian.__file__, GRANDCHILD, mark]
    starter = subprocess.Popen(words)
    assert within(10, lambda: sleeping(mark) == 1)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert within(5, lambda: sleeping(mark) == 0)


def sleeping(mark: str) -> int:
    found = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found += Path(f"/proc/{entry}/cmdline").read_bytes() == f"sleep\0{mark}\0".encode()
            except OSError:
                continue
    return found


def within(seconds: float, true: Any) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return False


def test_a_server_has_the_gpus_it_is_given_and_is_no_rank() -> None:
    given = {
        "CUDA_VISIBLE_DEVICES": "4,5,7",
        "RANK": "0",
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "1",
        "HOME": "/h",
    }
    made = environment(given, {}, "t", gpus=[1, 2], threads=1)
    assert made["CUDA_VISIBLE_DEVICES"] == "5,7" and made["HOME"] == "/h" and made[TOKEN] == "t"
    assert "OMP_NUM_THREADS" not in made
    assert not {"RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"} & {*made}
    assert environment({}, {}, "t", gpus=[6], threads=1)["CUDA_VISIBLE_DEVICES"] == "6"
    assert environment({"OMP_NUM_THREADS": "8"}, {}, "t", gpus=None, threads=3)["OMP_NUM_THREADS"] == "3"


def test_arguments_become_flags() -> None:
    given = {
        "model": "m",
        "revision": None,
        "hf_overrides": {"a": 1},
        "x_y": False,
        "enforce_eager": True,
        "n": 3,
    }
    assert flags(given) == [
        "--model",
        "m",
        "--hf-overrides",
        '{"a": 1}',
        "--no-x-y",
        "--enforce-eager",
        "--n",
        "3",
    ]
    assert flags({"hf_overrides": {}}) == []


ARGUMENTS = {
    "dtype": "float32",
    "logprobs_mode": "processed_logprobs",
    "generation_config": "vllm",
    "hf_overrides": {},
    "max_model_len": 128,
    "skip_tokenizer_init": True,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"dtype": "bfloat16"},
            r"http://x was started with dtype=bfloat16, and this recipe needs float32 \(rollout",
        ),
        ({"max_model_len": 127}, "room for 127 tokens of prompt and response, and this recipe needs 128"),
        ({"logprobs_mode": "raw_logprobs"}, "logprobs_mode=raw_logprobs"),
    ],
)
def test_a_server_that_would_sample_differently_is_refused(change: dict[str, Any], said: str) -> None:
    demand_likeness(ARGUMENTS, about(ARGUMENTS | {"max_model_len": 200}), "http://x")
    with pytest.raises(UserError, match=said):
        demand_likeness(ARGUMENTS, about(ARGUMENTS | change), "http://x")


SEEING = ARGUMENTS | {"skip_tokenizer_init": False, "limit_mm_per_prompt": {"image": 8, "video": 0}}
IMAGES = {"patch_size": 14, "max_pixels": 12_544, "transformers": "5.19.0"}


@pytest.mark.parametrize(
    ("images", "room", "said"),
    [
        (None, 8, r"started with a model that reads text alone; start it again"),
        (
            IMAGES | {"max_pixels": 3136},
            8,
            r"max_pixels=3136, .* with 12544 \(model\.max_pixels\)",
        ),
        (
            IMAGES | {"patch_size": 16},
            8,
            r"patch_size=16, .* with 14 \(its processor of images\)",
        ),
        (IMAGES | {"transformers": "5.15.0"}, 8, r"=5\.15\.0, and .* \(both sides need the same version\)"),
        (IMAGES, 7, r"takes 7 images in a prompt, and this run has prompts with 8"),
    ],
)
def test_a_server_that_would_see_other_images_is_refused(
    images: dict[str, Any] | None, room: int, said: str
) -> None:
    there = SEEING | {"limit_mm_per_prompt": {"image": room, "video": 0}}
    demand_likeness(SEEING, about(SEEING, IMAGES), "http://x", IMAGES)
    demand_likeness(ARGUMENTS, about(SEEING, IMAGES), "http://x")
    with pytest.raises(UserError, match=said) as told:
        demand_likeness(SEEING, about(there, images), "http://x", IMAGES)
    assert "\n" not in str(told.value)


def test_a_server_without_a_tokenizer_finds_no_stop_strings() -> None:
    with pytest.raises(UserError, match=r"without rollout\.stop"):
        demand_likeness(ARGUMENTS | {"skip_tokenizer_init": False}, about(ARGUMENTS), "http://x")


def test_the_start_model_is_read_as_it_is_on_disk(tiny_path: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    there = load_file(tiny_path / "model.safetensors")
    found = dict(start_weights(str(tiny_path), None))
    assert found.keys() == there.keys() and all(torch.equal(found[name], there[name]) for name in there)
    with pytest.raises(UserError, match="no weights in the format of safetensors"):
        list(start_weights(str(tmp_path), None))


def words(tokens: list[int]) -> str:
    return " ".join(map(str, tokens))


def answer(spans: list[tuple[str, int, int]], finish: str = "stop") -> Answer:
    sent = frame(
        number=0, tokens=[5, 6, 7], logprobs=[-1, -2, -3], prompt_logprobs=[], finish=finish, versions=spans
    )
    [found] = Frames().feed(sent)
    return found


def test_samples_arrive_as_they_were_in_whatever_pieces() -> None:
    logprobs = np.array([-0.1, -np.inf, np.nan, -3e-38], np.float32)
    newline = [10, 2**31 - 1, 10, 0]  # the byte that ends a head is also a number's
    sent = [
        frame(number=3, tokens=newline, logprobs=logprobs.tolist(), prompt_logprobs=[-2.5], finish="stop",
              versions=[("r.1.0", 0, 4)]),
        frame(number=0, tokens=[], logprobs=[], prompt_logprobs=[], finish="abort", versions=[]),
        frame(number=1, tokens=[7], logprobs=[], prompt_logprobs=[], finish="length", versions=[]),
    ]  # fmt: skip
    for size in (1, 7, 1000):
        frames, whole = Frames(), b"".join(sent)
        pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
        first, second, third = (each for piece in pieces for each in frames.feed(piece))
        assert (first.number, first.tokens.tolist(), first.prompt_logprobs.tolist()) == (3, newline, [-2.5])
        assert np.array_equal(first.logprobs, logprobs, equal_nan=True)
        assert (second.finish, len(second.tokens), second.versions) == ("abort", 0, [])
        assert (third.number, third.tokens.tolist(), len(third.logprobs)) == (1, [7], 0)


def test_versions_of_tokens_where_the_trainer_wants_them() -> None:
    text: Any = words
    loose, strict = (Answers(text, run="r", strict=each) for each in (False, True))
    request, two = Request(key=0, tokens=[1], samples=1, seed=0), answer([("r.1.4", 0, 2), ("r.2.5", 2, 3)])
    made = loose.completion(two, request, [], stamp="r.2.5", server="s")
    assert made.versions.tolist() == [4, 4, 5] and made.logprobs.tolist() == [-1, -2, -3]
    assert (made.text, made.finished, made.partial) == ("5 6 7", True, False)
    with pytest.raises(SyncError, match=r"s has sampled with weights r\.1\.4, and r\.2\.5 were asked for"):
        strict.completion(two, request, [], stamp="r.2.5", server="s")
    now = strict.completion(answer([("r.2.5", 0, 3)]), request, [], stamp="r.2.5", server="s")
    assert not len(now.versions)
    for spans in ([("q.2.5", 0, 3)], [("r.2.5", 0, 2)], []):  # another run's, and none for a token
        with pytest.raises(SyncError):
            loose.completion(answer(spans), request, [], stamp="r.2.5", server="s")


def test_what_was_begun_and_what_came_are_one_sample() -> None:
    text: Any = words
    begun = Completion(
        tokens=np.array([9], np.int32),
        logprobs=np.array([-9], np.float32),
        text="",
        finished=False,
        versions=np.array([3], np.int32),
        partial=True,
    )
    request = Request(key=0, tokens=[1], samples=1, seed=0, begun=[begun])
    answers = Answers(text, run="r", strict=False)
    made = answers.completion(answer([("r.2.5", 0, 3)], "abort"), request, [], stamp="r.2.5", server="s")
    assert (made.tokens.tolist(), made.versions.tolist()) == ([9, 5, 6, 7], [3, 5, 5, 5])
    assert made.partial and not made.finished
    left = answers.unasked(request, 0, partial=True)
    assert left.tokens.tolist() == [9] and left.partial
