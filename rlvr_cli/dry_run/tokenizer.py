"""The tokenizer of a model folder, read from its files: what a prompt looks like takes no transformers.

Its chat template is rendered as transformers does it (utils/chat_template_utils.py): the same Jinja
settings, the same
functions and names.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import BUILT_IN, TINY_VISION
from rlvr_cli.dry_run.images import processor_of_files, split_special
from rlvr_cli.engine.tiny import BOS, CHARACTERS, CHAT_TEMPLATE, EOS
from rlvr_cli.engine.tiny_vision import CHAT_TEMPLATE as SEEING
from rlvr_cli.schema import Model
from rlvr_cli.vision.processor import Processor

SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class FileTokenizer:
    """As much of a tokenizer as `data.prompts.render` uses."""

    def __init__(self, settings: dict[str, Any], template: str | None, file: Path | None) -> None:
        self.special = {name: _text(settings[name]) for name in SPECIAL if settings.get(name) is not None}
        self.chat_template = template
        self._file = file
        self._adds_bos = bool(settings.get("add_bos_token"))
        self.image_processor: Processor | None = None
        """Of a model that sees, where `vision.processor_of` looks for it."""

    @property
    def counts(self) -> bool:
        """Whether there is a `tokenizer.json` to make tokens with."""
        return self._file is not None

    @cached_property
    def _fast(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self._file))

    @property
    def bos_token_id(self) -> int | None:
        return self._id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        return self._id("eos_token")

    def _id(self, name: str) -> int | None:
        token = self.special.get(name)
        if token is None or not self.counts:
            return None
        found: int | None = self._fast.token_to_id(token)
        return found

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        if not self.counts:
            return {"input_ids": []}
        return {"input_ids": self._fast.encode(text, add_special_tokens=add_special_tokens).ids}

    def apply_chat_template(
        self,
        messages: list[dict[str, str]],
        tokenize: bool = False,
        add_generation_prompt: bool = False,
        tools: list[dict[str, Any]] | None = None,
        **_: Any,
    ) -> str:
        """The rendered chat; tokens are never asked for."""
        assert not tokenize and self.chat_template is not None
        values = {"messages": messages, "tools": tools, "documents": None}
        rendered = (
            _environment()
            .from_string(self.chat_template)
            .render(**values, add_generation_prompt=add_generation_prompt, **self.special)
        )
        return str(rendered)


class CharacterTokenizer(FileTokenizer):
    """Of the built-in model, which is not there before the run begins: a token for each character."""

    def __init__(self, template: str | None) -> None:
        super().__init__({"eos_token": EOS}, template or CHAT_TEMPLATE, None)

    counts = True

    def _id(self, name: str) -> int | None:
        return 1 if name == "eos_token" else None

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids: list[int] = []
        for part in split_special(text):
            ids += [part] if isinstance(part, int) else [CHARACTERS.index(c) for c in part if c in CHARACTERS]
        return {"input_ids": ids}


def folder_of(model: Model) -> Path | None:
    """The folder of a resolved `model.path`: itself, or of a hub id what the cache of the hub holds."""
    folder = Path(model.path)
    if folder.is_dir():
        return folder
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / f"models--{model.path.replace('/', '--')}"
    revision = model.revision or "main"
    reference = cache / "refs" / revision
    found = cache / "snapshots" / (reference.read_text().strip() if reference.is_file() else revision)
    return found if (found / "config.json").exists() else None


def load(model: Model) -> FileTokenizer | None:
    """The tokenizer of a resolved model; None where it is on the hub and not here. UserError where there is
    none."""
    template = _given_template(model)
    if model.path == TINY_VISION:
        seeing = CharacterTokenizer(template or SEEING)
        seeing.special["bos_token"], seeing.image_processor = BOS, processor_of_files(model, None)
        return seeing
    if model.path in BUILT_IN:
        return CharacterTokenizer(template)
    folder = folder_of(model)
    if folder is None:
        return None
    file, config = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if not any(
        (folder / name).exists() for name in (file.name, "tokenizer.model", "vocab.json", config.name)
    ):
        raise UserError(
            f"model.path: there is no tokenizer in {folder} (tokenizer.json, tokenizer_config.json)"
        )
    settings = _json(config)
    own = _json(folder / "special_tokens_map.json") | settings
    made = FileTokenizer(own, template or _template(folder, settings), file if file.is_file() else None)
    made.image_processor = processor_of_files(model, folder)
    return made


def config_of(model: Model) -> dict[str, Any]:
    """`config.json` with `model.overrides`, of its language part; empty where it is not here."""
    folder = folder_of(model) if model.path not in BUILT_IN else None
    if folder is None:
        return {"max_position_embeddings": model.tiny.max_positions} if model.path in BUILT_IN else {}
    found = _json(folder / "config.json")
    return found | found.get("text_config", {}) | model.overrides


def _given_template(model: Model) -> str | None:
    if model.chat_template is None:
        return None
    try:
        return Path(model.chat_template).read_text()
    except OSError as error:
        raise UserError(
            f"model.chat_template: cannot read '{model.chat_template}': {error.strerror}"
        ) from error


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    if (file := folder / "chat_template.jinja").is_file():
        return file.read_text()
    found = settings.get("chat_template") or _json(folder / "chat_template.json").get("chat_template")
    if isinstance(found, list):  # several by name
        found = {each["name"]: each["template"] for each in found}.get("default")
    return found


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"model.path: {path} is no JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _text(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _environment() -> Any:
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant says; the text is what stands within."""

        tags = {"generation"}  # noqa: RUF012  # jinja2's own form

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False} | options)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made
