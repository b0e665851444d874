"""The user's own Python: found beside a recipe, checked as the package is, refused in one line."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from own_code import OPTION, VERIFIER, load, refused

from rlvr_cli import algorithms, api, compose, verifiers
from rlvr_cli.compose import find_plugins
from rlvr_cli.compose.verify import load_verify
from rlvr_cli.core import plugins
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason
from rlvr_cli.data import synthetic
from rlvr_cli.schema import SFTRecipe

FAMILY = """
from rlvr_cli.data.synthetic import family

@family
def echo(rng, *, digits=2):
    n = str(rng.randint(0, 10**digits - 1))
    return f"say {n}", n, n
"""
RECIPE = """\
defaults:
  - algorithm: dapo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.math: math
  - _self_
name: mine
"""


pytestmark = pytest.mark.usefixtures("no_plugins_afterwards")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    made.mkdir()
    (made / "mine.yaml").write_text(RECIPE)
    return made


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


@pytest.mark.slow
def test_an_option_and_a_verifier_of_a_file_beside_the_recipe(folder: Path) -> None:
    write(folder, my_algo=OPTION + VERIFIER)
    (folder / "mine.yaml").write_text(
        RECIPE.replace("  - _self_", "  - verifier@verifiers.loud: shout\n  - _self_")
        + "plugins: [my_algo.py]\nverifiers: {loud: {marks: 2}}\n"
    )
    recipe = load(folder / "mine.yaml", "algorithm/advantage=median", "algorithm.advantage.scale=2")
    assert (recipe.algorithm.advantage.name, recipe.algorithm.advantage.scale) == ("median", 2.0)
    assert recipe.verifiers["loud"].verify("no!!", "no", {}).reason is Reason.correct
    assert recipe.plugins == [str(folder / "my_algo.py")]
    assert find_plugins.told() == "plugins: my_algo.py (advantage median, verifier shout)"
    said = refused(folder / "mine.yaml", "algorithm/advantage=median", "algorithm.advantage.scael=2")
    assert "unknown key 'algorithm.advantage.scael'; did you mean 'algorithm.advantage.scale'?" in said
    assert "algorithm.advantage.name: there is no 'medain'; did you mean 'median'?" in refused(
        folder / "mine.yaml", "algorithm/advantage=medain"
    )


@pytest.mark.slow
def test_they_are_gone_with_the_next_recipe(folder: Path) -> None:
    write(folder, my_algo=OPTION + VERIFIER + FAMILY)
    load(folder / "mine.yaml", "plugins=[my_algo.py]")
    assert "median" in algorithms.options("advantage") and "shout" in verifiers.names()
    assert "echo" in synthetic.families()
    assert "algorithm.advantage.name: there is no 'median'" in refused(
        folder / "mine.yaml", "algorithm/advantage=median"
    )
    assert "shout" not in verifiers.names() and "echo" not in synthetic.families()
    with pytest.raises(UserError, match="there is no synthetic family 'echo'"):
        synthetic.generate("echo", "train", {}, 0)


@pytest.mark.slow
def test_a_folder_called_plugins_needs_no_name(folder: Path) -> None:
    inside = folder / "plugins"
    (inside / "algorithm").mkdir(parents=True)
    (inside / "algorithm" / "calm.yaml").write_text("defaults: [grpo, override advantage: median]\n")
    write(inside, my_algo=OPTION, _scratch="raise RuntimeError")
    package = inside / "rewards"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write(package, loud=VERIFIER.replace("from dataclasses", "from my_algo import Median\nfrom dataclasses"))
    recipe = load(folder / "mine.yaml", "algorithm=calm")
    assert (recipe.algorithm.name, recipe.algorithm.advantage.name) == ("calm", "median")
    assert recipe.algorithm.kl.coef == 1e-3
    assert recipe.plugins == [str(inside / "my_algo.py"), str(package)]
    assert find_plugins.told() == (
        "plugins: plugins/my_algo.py (advantage median); plugins/rewards (advantage median, verifier shout)"
    )


@pytest.mark.slow
def test_every_kind_of_recipe_has_plugins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, my_algo=VERIFIER + FAMILY)
    (folder / "sft.yaml").write_text(
        "defaults: [algorithm: sft, model: tiny, _self_]\nname: s\nplugins: [my_algo]\n"
        "data: {train: {path: 'synthetic:echo'}}\n"
    )
    sft = compose.load(str(folder / "sft.yaml"), [])
    assert isinstance(sft, SFTRecipe) and sft.plugins == [str(folder / "my_algo.py")]
    assert len(synthetic.generate("echo", "train", {"digits": 2, "size": 20}, 0)) == 20
    monkeypatch.chdir(folder)  # the working directory, where there is no recipe
    bench = ["+bench@benches.addition=addition", "plugins=[my_algo.py]"]
    measured = compose.load_eval(None, bench, model="m", verifier="shout")
    assert measured.benches["addition"].verifier.name == "shout"
    judged = load_verify(["shout"], ["marks=3"], None, ["plugins=[my_algo.py]"])
    assert judged.verifiers["shout"].marks == 3
    with pytest.raises(UserError, match="there is no verifier 'shuot'; did you mean 'shout'"):
        load_verify(["shuot"], [], None, ["plugins=[my_algo.py]"])


@pytest.mark.slow
def test_workers_find_them(folder: Path) -> None:
    write(folder, my_algo=VERIFIER)
    found = api.verify(["a!", "a"], "a", "shout", overrides={"plugins": [str(folder / "my_algo.py")]})
    assert [verdict.score for verdict in found] == [1.0, 0.0]


@pytest.mark.slow
def test_an_entry_point_is_loaded_for_every_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = folder / "site"
    info = site / "my_company-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-company\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[rlvr]\nrl = my_company_rl.options\n")
    (site / "my_company_rl").mkdir()
    (site / "my_company_rl" / "__init__.py").write_text("")
    write(site / "my_company_rl", options=OPTION)
    monkeypatch.syspath_prepend(str(site))
    recipe = load(folder / "mine.yaml", "algorithm/advantage=median")
    assert recipe.algorithm.advantage.name == "median" and recipe.plugins == []
    assert find_plugins.told() == "plugins: my_company_rl.options of my-company 1.2 (advantage median)"
    for name in [name for name in sys.modules if name.startswith("my_company_rl")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import nowhere_to_be_found", "line 1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("\n\nx = 1 / 0", "my_algo.py line 3: ZeroDivisionError: division by zero"),
        ("def f(:\n", "my_algo.py line 1: SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "my_algo.py line 1: SystemExit: 3"),
        ("import helpers", "No module named 'helpers'; name helpers.py in plugins, too"),
        (OPTION.replace('"advantage"', '"advantge"'), "algorithms have no axis 'advantge'; did you mean"),
        (
            OPTION.replace("needs_group", "group"),
            "Median lacks what an option of advantage needs: needs_group",
        ),
        (OPTION.replace("median", "group_zscore"), "both have the option of advantage 'group_zscore'"),
        (VERIFIER.replace('"shout"', '"math"'), "rlvr and my_algo.py both have the verifier 'math'"),
        (VERIFIER.replace('"shout"', '"gsm8k"'), "has the verifier entry 'gsm8k' itself"),
        (VERIFIER.replace("    weight: float = 1.0\n", ""), "'shout' has no weight; give it"),
        (FAMILY.replace("def echo", "def addition"), "rlvr has a family 'addition' itself; rename yours"),
    ],
)
def test_what_is_wrong_in_a_plugin(folder: Path, code: str, says: str) -> None:
    write(folder, my_algo=code, helpers="x = 1")
    said = refused(folder / "mine.yaml", "plugins=[my_algo.py]")
    assert says in said and said.startswith("plugins: ")
    assert plugins.active() == [] and "median" not in algorithms.options("advantage")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("plugins=[my_algoo.py]", "there is no my_algoo.py in"),
        ("plugins=[my_algoo.py]", "did you mean 'my_algo.py'?"),
        ("plugins=[nosuchmodule]", "and no module of that name is installed"),
        ("plugins=my_algo.py", "plugins is 'my_algo.py'; it must be a list, written [my_algo.py"),
        ("plugins=[3]", "plugins: '3' is no file, folder or module"),
        ("plugins=[mine.yaml]", "mine.yaml is no Python file; its name must end in .py"),
        ("plugins=[my-algo.py]", "my-algo.py cannot be imported by its name"),
        ("plugins=[random.py]", "random.py has the name of the module random (of Python itself)"),
        ("plugins=[yaml.py]", "yaml.py has the name of the module yaml"),
        ("plugins=[my_algo.py,other/my_algo.py]", "are both imported as 'my_algo'; rename one"),
        ("plugins=[my_algo.py,twin.py]", "my_algo.py and twin.py both have the option of advantage 'median'"),
        ("plugins=[other/third.py]", "both have the model 'tiny'; rename one of them"),
    ],
)
def test_what_cannot_be_a_plugin(folder: Path, override: str, says: str) -> None:
    write(folder, my_algo=OPTION, twin=OPTION, random="", yaml="")
    (folder / "my-algo.py").write_text("")
    (folder / "other" / "model").mkdir(parents=True)
    (folder / "other" / "model" / "tiny.yaml").write_text("path: x\n")
    write(folder / "other", my_algo="", third="")
    assert says in refused(folder / "mine.yaml", override)


def test_an_edited_plugin_is_imported_anew(folder: Path) -> None:
    """Within a second and with as many characters, which a bytecode file would not notice."""
    write(folder, my_algo=OPTION)
    assert (
        load(
            folder / "mine.yaml", "plugins=[my_algo.py]", "algorithm/advantage=median"
        ).algorithm.advantage.scale
        == 1.0
    )
    write(folder, my_algo=OPTION.replace("= 1.0", "= 2.0"))
    assert (
        load(
            folder / "mine.yaml", "plugins=[my_algo.py]", "algorithm/advantage=median"
        ).algorithm.advantage.scale
        == 2.0
    )
    assert not (folder / "__pycache__").exists()


@pytest.mark.slow
def test_an_instance_travels_by_the_plain_name(folder: Path) -> None:
    write(folder, my_algo=VERIFIER)
    recipe = load(folder / "mine.yaml", "plugins=[my_algo.py]", "+verifier@verifiers.loud=shout")
    code = (
        "import pickle, sys\nfrom rlvr_cli.core import plugins\n"
        "plugins.announce(pickle.loads(bytes.fromhex(sys.argv[1])))\n"
        "print(pickle.loads(bytes.fromhex(sys.argv[2])).verify('a!', 'a', {}).score)\n"
    )
    words = [pickle.dumps(plugins.places()).hex(), pickle.dumps(recipe.verifiers["loud"]).hex()]
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd="/")
    assert ran.stdout == "1.0\n", ran.stderr


PATHED = VERIFIER.replace(
    "    marks: int = 1\n", "    marks: int = 1\n    path: str | None = None\n"
).replace("    def verify", "    code_paths = ('path',)\n\n    def verify")


@pytest.mark.slow
def test_paths_of_code_are_found_beside_the_recipe_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, my_algo=PATHED, reward="")
    write(tmp_path, reward="", elsewhere="")
    monkeypatch.chdir(tmp_path)
    loud = ["plugins=[my_algo.py]", "+verifier@verifiers.loud=shout"]
    assert load(folder / "mine.yaml", *loud).verifiers["loud"].path is None
    assert load(folder / "mine.yaml", *loud, "verifiers.loud.path=reward.py").verifiers["loud"].path == str(
        folder / "reward.py"
    )
    found = load(folder / "mine.yaml", *loud, "verifiers.loud.path=elsewhere.py").verifiers["loud"].path
    assert found == str(tmp_path / "elsewhere.py")
    said = refused(folder / "mine.yaml", *loud, "verifiers.loud.path=nowhere.py")
    assert said.startswith("command line: verifiers.loud.path: there is no file nowhere.py; looked in ")
