"""The documentation holds: examples run, links resolve, commands and names exist."""

from __future__ import annotations

import pickle
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import yaml
from doc_pages import SHARED, VERIFIER_PAGES, entry_of
from doc_tables import section, tables
from omegaconf import OmegaConf
from places import ROOT

from rlvr_cli import algorithms, compose, environments, verifiers
from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.algorithms.preference_sums import paired, slopes
from rlvr_cli.commands.main import main
from rlvr_cli.commands.verbs import verbs
from rlvr_cli.compose import find_plugins
from rlvr_cli.compose.plugin_places import Places
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.types import Reason
from rlvr_cli.data import synthetic
from rlvr_cli.environments.environment import Task, Turn
from rlvr_cli.schema import EvalRecipe, PreferenceRecipe, Recipe

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PRESET_PAGES = {name: ROOT / "docs" / "algorithms" / f"{name}.md" for name in shipped_recipes.all_presets()}
MARKED = re.compile(r"<!-- test: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)
SECTIONS = [
    "What it changes",
    "Equation",
    "Settings",
    "In other libraries",
    "When to use it",
    "What to watch",
    "When it fails",
    "Example",
]
VERIFIER_SECTIONS = ["Recipe", "Accepted forms", "Options", "Examples", "What is not covered"]
METRIC = (
    r"(?:actor|critic|eval|group|logps|mismatch|perf"
    r"|preference|reference|response_length|rewards?|reweight|timing_s|train|tree)/[\w*]+"
)
EXAMPLES = dict(MARKED.findall((ROOT / "docs" / "extending.md").read_text()))


@pytest.fixture
def package(beside: Path) -> Iterator[None]:
    """The plugins of the page, in use."""
    find_plugins.load([str(beside / "plugins")], "", Places([beside]))
    yield
    find_plugins.load([], "", Places())


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder with the examples at the paths their first lines name."""
    folder = tmp_path / "mine"
    for text in EXAMPLES.values():
        if found := re.match(r"# ([\w/]+\.(?:yaml|py))\n", text):
            path = folder / found[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return folder


def recipe(folder: Path, example: str) -> str:
    path = folder / f"{example}.yaml"
    path.write_text(EXAMPLES[example])
    return str(path)


def test_every_example_has_a_test() -> None:
    here = Path(__file__).read_text()
    assert len(EXAMPLES) == (ROOT / "docs" / "extending.md").read_text().count("<!-- test:")
    assert not [name for name in EXAMPLES if f'"{name}"' not in here]


def test_option(package: None) -> None:
    option = algorithms.options("advantage")["length_weighted"]
    rewards_PG, lengths_B = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([2, 4, 3, 1])
    inputs = AdvantageInputs(rewards_PG=rewards_PG, lengths_B=lengths_B)
    assert option()(inputs).tolist() == pytest.approx([0.7] * 2 + [-0.3] * 7 + [0.7])
    plain = algorithms.options("advantage")["group_centered"]()(inputs)
    torch.testing.assert_close(option(power=0.0)(inputs), plain)
    inputs.rewards_PG = torch.tensor([[1.0, float("nan"), 0.0, 0.0]])  # the second has no verdict
    assert option()(inputs).tolist() == pytest.approx([2 / 3] * 2 + [0.0] * 4 + [-1 / 3] * 4)
    with pytest.raises(ValueError, match=r"algorithm\.advantage\.power"):
        option(power=-1.0)


def test_preference(package: None) -> None:
    assert "held_up" in EXAMPLES["preference"]
    option = algorithms.options("preference")["held_up"]
    pair = [torch.tensor([x], dtype=torch.float64) for x in (-1.6, -2.5, -1.3, -2.9, 2, 4)]  # dw -0.3, dl 0.4
    assert float(option(lam=5.0)(*pair)[0]) == pytest.approx(0.8092, abs=1e-4)
    plain = algorithms.options("preference")["sigmoid"]()(*pair)[0]
    assert float(plain) == pytest.approx(0.7288, abs=1e-4)
    assert float(option(lam=0.0)(*pair)[0]) == pytest.approx(float(plain))

    def loss(new_N: torch.Tensor) -> Any:
        ref_N = torch.tensor([-0.9, -0.4, -1.0, -0.9, -0.5, -0.5], dtype=torch.float64)
        return paired(option(lam=5.0), new_N, ref_N, torch.tensor([2, 4]), torch.ones(1, dtype=torch.float64))

    at_N = torch.tensor([-1.1, -0.5, -0.5, -0.4, -1.0, -0.6], dtype=torch.float64)
    _, weights_N, told = slopes(loss, at_N)
    step = torch.tensor([1e-6, *[0.0] * 5], dtype=torch.float64)
    slope = float(loss(at_N + step)[0] - loss(at_N - step)[0]) / 2e-6
    assert weights_N[:2].tolist() == pytest.approx([slope] * 2, rel=1e-6)
    assert told["rewards/chosen"] == pytest.approx(-0.03)
    with pytest.raises(ValueError, match=r"algorithm\.preference\.lam"):
        option(lam=-1.0)


@pytest.mark.slow
def test_a_preference_of_a_plugin_in_a_recipe(package: None, beside: Path) -> None:
    own = f"plugins=[{beside / 'plugins'}]"
    made = compose.load("tiny_dpo", ["algorithm/preference=held_up", "algorithm.preference.lam=5", own])
    assert isinstance(made, PreferenceRecipe)
    assert (made.algorithm.preference.name, made.algorithm.preference.lam) == ("held_up", 5.0)
    given = ["algorithm=gkd", "algorithm/distillation=total_variation", "teacher.path=runs/other", own]
    taught = compose.load("tiny_dapo", given)
    assert isinstance(taught, Recipe) and taught.algorithm.distillation.name == "total_variation"


def test_divergence(package: None) -> None:
    assert "total_variation" in EXAMPLES["divergence"]
    option = algorithms.options("distillation")["total_variation"]()
    student = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log().requires_grad_()
    teacher = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64).log()
    apart, spoken, *_ = option.compare(student, teacher, torch.tensor([0]))
    assert apart.tolist() == pytest.approx([0.3]) and spoken.exp().tolist() == pytest.approx([0.2])
    apart.sum().backward()
    assert student.grad.tolist()[0] == pytest.approx([0.25, 0.0, -0.1])  # half the probability, by its sign
    assert float(option.compare(teacher, teacher, torch.tensor([0]))[0].detach()) == 0


@pytest.mark.slow
def test_preset_and_variant(package: None, beside: Path) -> None:
    assert yaml.safe_load(EXAMPLES["preset"])["name"] == "opo"
    made = compose.load(recipe(beside, "variant"), [])
    assert isinstance(made, Recipe)
    assert (made.algorithm.advantage.name, made.algorithm.advantage.power) == ("length_weighted", 0.5)
    made = compose.load(recipe(beside, "two_verifiers"), ["algorithm.advantage.power=2"], "train")
    assert (made.algorithm.name, made.algorithm.loss.name) == ("opo", "reinforce")
    assert made.algorithm.advantage.power == 2.0
    assert (made.verifiers["short"].weight, made.verifiers["short"].slack) == (0.2, 3)
    assert made.data["train"].verifiers == ["math", "short"]
    assert "grpo" in EXAMPLES["built_on"]
    made = compose.load(recipe(beside, "variant"), ["algorithm=grpo_length"])
    assert isinstance(made, Recipe) and made.algorithm.name == "grpo_length"
    assert (made.algorithm.advantage.power, made.algorithm.kl.clamp_value) == (0.5, 10.0)


@pytest.mark.slow
def test_verifier(package: None) -> None:
    assert "word_limit" in verifiers.names()
    made = verifiers.find("word_limit")(slack=1)
    assert made.verify("one two three", "2", {}).reason is Reason.correct
    assert made.verify("one two three four", "2", {}).score == 0.0
    assert made.inline("", "2", {}).reason is Reason.no_answer
    assert pickle.loads(pickle.dumps(made)) == made  # it travels to the workers
    settings = yaml.safe_load(EXAMPLES["verifier_yaml"])
    assert verifiers.find(settings["name"])(**settings).slack == 0


def test_environment(package: None) -> None:
    assert "backwards" in EXAMPLES["environment"]
    made = environments.find("backwards")()
    task = Task(id="1", prompt=[], question="", answer="abc", golds=["abc"], row={}, seed=0)
    made.reset(task)
    step = made.step(Turn(text="cbx ", number=1, last=False, finished=True))
    assert (step.reward, step.over, step.messages[0]["content"]) == (0.0, False, "2 letters stand right")
    assert made.step(Turn(text="cbx", number=3, last=True, finished=True)).reward == pytest.approx(2 / 3)
    step = made.step(Turn(text="cba", number=2, last=False, finished=True))
    assert step.over and step.reward == 1.0
    settings = yaml.safe_load(EXAMPLES["environment_yaml"])
    assert environments.find(settings["name"])(**settings).partial is False


@pytest.mark.slow
def test_played(package: None, beside: Path) -> None:
    made = compose.load(recipe(beside, "played"), [], "train")
    assert isinstance(made, Recipe) and made.environments["game"].partial is False
    made = compose.load(recipe(beside, "played"), ["environments.game.partial=true"], "train")
    assert made.environments["game"].partial and made.environments["game"].max_turns == 3


@pytest.mark.slow
def test_data(package: None, beside: Path) -> None:
    assert "my_problems" in EXAMPLES["data"]
    made = compose.load(recipe(beside, "variant"), ["data@data.train=my_problems"])
    assert made.data["train"].columns == {"prompt": "task", "answer": "gold"}


def test_family(package: None) -> None:
    assert "maximum" in EXAMPLES["family"]
    rows = synthetic.generate("maximum", "train", {"terms": 4, "size": 50}, seed=0)
    assert len(rows) == 50
    for row in rows:
        numbers = [int(n) for n in re.findall(r"\d+", row["prompt"])]
        assert row["answer"] == str(max(numbers)) and row["completion"].endswith(f"\\boxed{{{max(numbers)}}}")
    assert synthetic.families()["maximum"](Random(0))[0].startswith("max(")


@pytest.mark.slow
def test_bench(package: None, beside: Path) -> None:
    assert "sums3" in EXAMPLES["bench"]
    made = compose.load_eval(recipe(beside, "measure"), [], model="runs/tiny_dapo")
    assert isinstance(made, EvalRecipe)
    assert list(made.benches) == ["sums3", "addition"]
    assert made.benches["sums3"].source.options == {"digits": 3, "size": 200}
    made = compose.load(recipe(beside, "variant"), ["+bench@eval.benches.sums3=sums3"])
    assert isinstance(made, Recipe) and made.eval.benches["sums3"].verifier.name == "math"


def slug(heading: str) -> str:
    """The anchor of a heading, as on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{page.name}: {target}"


def commands(page: Path) -> list[list[str]]:
    """Every `rlvr VERB ...` in a code block, an indented block or between backticks, comments left out."""
    text = re.sub(r" *\\\n *", " ", page.read_text())  # a command goes on in the next line
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) + re.findall(r"^    (.*)$", text, re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = []
    for line in "\n".join([*blocks, *spans]).splitlines():
        for part in re.split(r"&&|;|\|", line):
            if re.match(r"\s*rlvr [a-z]", part):
                found.append(shlex.split(part, comments=True)[1:])
    return found


ALL = [(page.name, command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_what_exists(page: Path) -> None:
    for command in commands(page):
        names_what_exists(page.name, command)


def names_what_exists(page: str, command: list[str]) -> None:
    verb, *rest = command
    if verb != "opo":  # the preset that extending.md adds
        assert verb in verbs(), f"{page}: {command}"
    if verb == "eval" and "--bench" in rest:
        named = rest[rest.index("--bench") + 1].split(",")
        own = {"mine", "problems"}  # held-out rows of the run it names
        known = own if "runs/mine" in rest else set(shipped_recipes.options("bench"))
        assert named[0].isupper() or set(named) <= known, f"{page}: {named}"
    if verb not in ("sft", "train", *shipped_recipes.all_presets()):
        return
    for word in rest:
        if re.fullmatch(r"[\w.]+", word) and not word.endswith(".yaml"):
            assert word in shipped_recipes.recipes(), f"{page}: {word}"
        if word.startswith("recipes/"):
            assert (ROOT / word).is_file(), f"{page}: {word}"


DRY = [(page, command) for page, command in ALL if command[-1] == "--dry-run"]


@pytest.mark.slow
@pytest.mark.parametrize("page, command", DRY, ids=lambda x: x if isinstance(x, str) else " ".join(x))
def test_dry_runs(
    page: str,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in command:  # `my.yaml` stands for any recipe
        if re.fullmatch(r"\w+\.yaml", word):
            Path(word).write_text((shipped_recipes.RECIPES / "tiny_dapo.yaml").read_text())
    assert main(command) == 0, capsys.readouterr().err


def test_files_that_are_named_exist() -> None:
    known = r"`((?:rlvr_cli|tests|recipes|benchmarks|requirements)/[\w./]+\.(?:py|yaml|lock))`"
    shown = {Path(text.splitlines()[0].removeprefix("# ")).name for text in EXAMPLES.values()}
    for page in PAGES:
        for path in re.findall(known, page.read_text()):
            assert (ROOT / path).exists() or Path(path).name in shown, f"{page.name}: {path}"


def test_the_table_of_presets() -> None:
    text = (ROOT / "docs" / "algorithms.md").read_text().partition("<!-- axes -->\n")[2].partition("\n\n")[0]
    head, _, *rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert {row[0] for row in rows} == set(shipped_recipes.presets())
    rest = {"entropy": "none", "gradient": "global_clip"}
    for row in rows:
        tree = yaml.safe_load((shipped_recipes.CONF / "algorithm" / f"{row[0]}.yaml").read_text())
        chosen = {axis: name for entry in tree["defaults"][:-1] for axis, name in entry.items()}
        assert dict(zip(head[1:], row[1:], strict=True)) | rest == chosen


@pytest.mark.parametrize("name", PRESET_PAGES)
def test_every_preset_has_a_page(name: str) -> None:
    text = PRESET_PAGES[name].read_text()
    assert text.startswith(f"# `{name}`\n")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == SECTIONS
    assert f"[`{name}`](algorithms/{name}.md)" in (ROOT / "docs" / "algorithms.md").read_text()
    mine = [command for command in commands(PRESET_PAGES[name]) if command[-1] == "--dry-run"]
    assert any(command[0] == name or f"algorithm={name}" in command for command in mine)


@pytest.mark.parametrize("name", PRESET_PAGES)
def test_the_settings_on_a_presets_page(name: str) -> None:
    """Every value the preset sets, and no other."""
    tree = yaml.safe_load((shipped_recipes.CONF / "algorithm" / f"{name}.yaml").read_text())
    wanted = {
        f"{axis}.{key}": value for axis in algorithms.PARTS for key, value in tree.get(axis, {}).items()
    }
    wanted |= {key: tree[key] for key in ("sft_coef",) if key in tree}
    section = PRESET_PAGES[name].read_text().partition("## Settings\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \|", section, re.MULTILINE)
    assert {key: yaml.safe_load(value) for key, value in rows} == wanted
    assert len(rows) == len(wanted)


def test_no_page_is_left_of_a_preset_that_is_gone() -> None:
    found = {page.stem for page in (ROOT / "docs" / "algorithms").glob("*.md")}
    assert found == {*PRESET_PAGES, "entropy_and_kl", "off_policy"}


def test_metrics_and_keys_on_the_pages_exist() -> None:
    """Metrics are those of metrics.md; keys of `algorithm` belong to an option of their part."""
    known = (ROOT / "docs" / "metrics.md").read_text()
    for page in (ROOT / "docs" / "algorithms").glob("*.md"):
        for span in re.findall(r"`([^`\n]+)`", page.read_text()):
            if re.fullmatch(METRIC, span):
                assert span.split("/")[-1].rstrip("*_") in known, f"{page.name}: {span}"
            if found := re.match(r"(?:algorithm\.)?(\w+)\.(\w+)(?:=|$)", span):
                axis, key = found.groups()
                if axis in algorithms.PARTS:
                    fields = {
                        f for cls in algorithms.options(axis).values() for f in cls.__dataclass_fields__
                    }
                    assert key in fields, f"{page.name}: {span}"


def test_every_option_is_described() -> None:
    text = (ROOT / "docs" / "algorithms.md").read_text()
    for axis in algorithms.AXES:
        section = re.search(rf"^### {axis}\b.*?(?=^##)", text, re.DOTALL | re.MULTILINE)
        assert section, axis
        for name in algorithms.options(axis):
            assert f"| `{name}`" in section[0], f"{axis}={name}"


@pytest.mark.parametrize("name", VERIFIER_PAGES)
def test_every_verifier_has_a_page(name: str) -> None:
    page = VERIFIER_PAGES[name]
    text = page.read_text()
    assert text.startswith(f"# `{name}`\n") or page.stem in ("controls", "reward_library")
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings in (VERIFIER_SECTIONS, [*VERIFIER_SECTIONS, "Security"])
    assert all(section(text, heading).strip() for heading in headings)


def test_no_page_is_left_of_a_verifier_that_is_gone() -> None:
    found = set((ROOT / "docs" / "verifiers").glob("*.md"))
    assert found == set(VERIFIER_PAGES.values())


def test_the_table_of_verifiers() -> None:
    """Every entry of the group, with the page of the verifier it configures."""
    [table] = [t for t in tables((ROOT / "docs" / "verifiers.md").read_text()) if "option" in t[0]]
    found = {row["option"]: row["verifier"] for row in table}
    assert len(table) == len(found)
    named = {entry: entry_of(entry)["name"] for entry in shipped_recipes.options("verifier")}
    assert found == {
        entry: f"[`{name}`](verifiers/{VERIFIER_PAGES[name].name})" for entry, name in named.items()
    }


@pytest.mark.parametrize("name", VERIFIER_PAGES)
def test_the_options_on_a_verifiers_page(name: str) -> None:
    """Every field with its default, and what each entry of the group sets besides."""
    text = VERIFIER_PAGES[name].read_text()
    part = section(text, "Options")
    options, entries = tables(section(part, name) if name in SHARED else part)
    defaults = defaults_of(name)
    said = {row["option"]: yaml.safe_load(row["default"]) for row in options if "#" not in row["default"]}
    for row in options:
        if found := re.fullmatch(r"\[below\]\(#([\w-]+)\)", row["default"]):  # a text of several lines
            block = re.search(
                r"```text\n(.*?)\n```", section(text, found[1].replace("-", " ").capitalize()), re.DOTALL
            )
            assert block, row
            said[row["option"]] = block[1]
    assert len(said) == len(options)
    assert said == {key: "required" if value == "???" else value for key, value in defaults.items()}
    sets = {row["entry"]: {} if row["sets"] == "nothing" else yaml.safe_load(row["sets"]) for row in entries}
    assert sets == {
        entry: {k: v for k, v in tree.items() if k != "name" and v not in ("???", defaults[k])}
        for entry in shipped_recipes.options("verifier")
        if (tree := entry_of(entry))["name"] == name
    }


def defaults_of(name: str) -> dict[str, Any]:
    """Field -> default as YAML has it; `???` where there is none."""
    tree: Any = OmegaConf.to_container(OmegaConf.structured(verifiers.find(name)), enum_to_str=True)
    return {key: value for key, value in tree.items() if key != "name"}
