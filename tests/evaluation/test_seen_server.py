"""Images in messages: what goes out, and a bench of them on vLLM's own server of a model that sees."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from run_helpers import rlvr
from vllm_server import served

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.prompts import problems
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.chat_server import ChatEngine
from rlvr_cli.rollout.seen import Prompts
from rlvr_cli.schema import Model, ProfileRecipe, Server, ServerApi, Source
from rlvr_cli.vision.processor import processor_of
from rlvr_cli.vision.refusals import refuse


def test_images_stand_where_their_marks_are(tiny_vision_path: Path, tmp_path: Path) -> None:
    """At the size in which the model sees them; what has no image stays as it is."""
    names = ["red", "blue"]
    for name in names:
        Image.new("RGB", (50, 29), name).save(tmp_path / f"{name}.png")
    rows: list[dict[str, Any]] = [
        {
            "problem": "of <image> and <image> the second?",
            "images": [f"{n}.png" for n in names],
            "answer": "1",
        },
        {"problem": "what is an <image>?", "images": [], "answer": "2"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = load_tokenizer(Model(path=str(tiny_vision_path)))
    source = Source(path=str(tmp_path / "rows.jsonl"), images=str(tmp_path))
    (seen, text), _ = problems("x", source, tokenizer, 99, 0, chat=True)
    prompts = Prompts(processor_of(tokenizer))
    assert not text.tokens and prompts.spoken(text.messages, text.tokens) is None
    assert text.messages == [{"role": "user", "content": "what is an <image>?"}]
    spoken = prompts.spoken(seen.messages, seen.tokens)
    assert spoken is not None
    [message] = spoken
    kinds = [part["type"] for part in message["content"]]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    for part, colour in zip(message["content"][1::2], ((255, 0, 0), (0, 0, 255)), strict=True):
        start, _, data = part["image_url"]["url"].partition(",")
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert start == "data:image/png;base64" and pixels.shape == (28, 56, 3)
        assert (pixels == colour).all()


def test_completions_take_no_images(tiny_vision_path: Path) -> None:
    with pytest.raises(UserError, match=r"server\.api: .* set server\.api=chat"):
        compose.load_eval(
            None, [], benches=["shapes_count"], model=str(tiny_vision_path),
            settings={"server": {"url": "http://x/v1"}},
        )  # fmt: skip


def test_a_profile_s_server_is_sent_no_images(tiny_vision_path: Path) -> None:
    recipe = ProfileRecipe(model=Model(path=str(tiny_vision_path)), server=Server(url="http://x/v1"))
    with pytest.raises(ValueError, match=r"server\.url: .* not sent to a profile's server"):
        refuse(recipe)


@pytest.mark.long
def test_a_bench_of_images_on_a_server_is_that_of_an_engine(tiny_vision_path: Path, tmp_path: Path) -> None:
    """Greedy responses of a model that tells images apart, and as many tokens of each prompt."""
    folder = sharp(tiny_vision_path, tmp_path / "model")
    common = ["eval", "--bench", "shapes_count", "--model", str(folder)]
    common += [f"benches.shapes_count.{what}" for what in ("source.limit=12", "k=1", "temperature=0")]
    found = {}
    with served(folder, tmp_path / "server.log", 128, sees=True) as (url, _):
        chat = [f"server.url={url}", "server.api=chat", f"server.model={folder}"]
        for name, where in {"server": chat, "engine": ["rollout=hf"]}.items():
            done = rlvr(*common, *where, f"out={tmp_path / name}")
            assert done.returncode == 0, done.stdout + done.stderr
            rows = json.loads((tmp_path / name / "shapes_count.json").read_text())["problems"]
            found[name] = [(row["responses"], row["lengths"], row["truncated"]) for row in rows]
        tokenizer = load_tokenizer(Model(path=str(folder)))
        source = Source(path="synthetic:shapes_box", options={"size": 4})
        asked = problems("box", source, tokenizer, 99, 0, chat=True)[0]
        requests = [
            Request(key=n, tokens=p.tokens, messages=p.messages, samples=1, seed=n)
            for n, p in enumerate(asked)
        ]
        settings = Server(url=url, api=ServerApi.chat, model=str(folder))
        engine = ChatEngine(settings, model=str(folder), tokenizer=tokenizer)
        read = dict(engine.generate(requests, Sampling(temperature=1.0, top_p=1.0, max_tokens=4)))
        engine.close()
    assert found["server"] == found["engine"]
    assert len({responses[0] for responses, _, _ in found["server"]}) > 3
    assert [read[n][0].prompt_length for n in range(4)] == [len(problem.tokens) for problem in asked]


def sharp(start: Path, folder: Path) -> Path:
    """A copy whose weights are moved, so that its responses differ from image to image."""
    from transformers import AutoModelForImageTextToText

    shutil.copytree(start, folder)
    model: Any = AutoModelForImageTextToText.from_pretrained(start, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    return folder
