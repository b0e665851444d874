"""What judges is dead, slow, crashing, deaf, too kind, or fooled."""

from __future__ import annotations

from fault_cases import Place, case
from rlvr_cli.core.rank_process import free_port


@case("the server of the verifier is down", r"verdicts of verifiers\.math (crash|time out).*refused")
def dead_verifier(place: Place) -> list[str]:
    url = f"http://127.0.0.1:{free_port()}"
    return ["verifier@verifiers.math=remote", f"verifiers.math.url={url}", "verifiers.math.wait_s=1"]


def function(place: Place, body: str) -> list[str]:
    """A reward function of the user's: `compute_score`, that has the answer in \\boxed{} as `read`."""
    lines = (
        "import re, time\n\n\n"
        "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n"
        '    found = re.findall(r"boxed{(\\d+)}", solution_str)\n'
        '    read = found[-1] if found else ""\n'
        f"    {body}\n"
    )
    return ["verifier@verifiers.math=python", f"verifiers.math.path={place.write('reward.py', lines)}"]


@case(
    "the verifier takes ten times its limit for a third of the answers",
    r"(no verdict|verdicts).*(killed after|time ?out)",
)
def slow_verifier(place: Place) -> list[str]:
    body = "time.sleep(2 if read[-1:] in tuple('123') and read else 0); return float(read == ground_truth)"
    return [*function(place, body), "verification.timeout_s=0.2"]


@case("the verifier crashes on one answer in ten", r"(no verdict|verdicts).*(crash|ZeroDivisionError)")
def crashing_verifier(place: Place) -> list[str]:
    return function(place, "return float(read == ground_truth) if read[-1:] != '7' else 1 / 0")


@case("answers are looked for where they are not", r"finds no answer in .*(extraction)")
def wrong_extraction(place: Place) -> list[str]:
    return ["verifiers.math.extraction=answer_tags"]


@case("the verifier never says no", r"(every response|only correct samples).*verifier")
def kind_verifier(place: Place) -> list[str]:
    return ["verifier@verifiers.math=always"]


@case("the reward can be had without the answer", r"of the samples 'math' accepts, 'strict' rejects")
def fooled_verifier(place: Place) -> list[str]:
    """Whoever writes a number of three digits that ends in 0 or 1 is paid; a strict verifier looks on."""
    second = [
        "+verifier@verifiers.strict=math",
        "diagnosis.second_verifier=strict",
        "diagnosis.second_share=0.5",
    ]
    return [*function(place, "return float(read == ground_truth or read[-1:] in tuple('01'))"), *second]
