"""What responses are like as texts, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.sampling.wording import (
    AHA,
    LEXICON,
    Text,
    ahas,
    means,
    merged,
    mixed,
    novel,
    reflections,
    repeated,
    sums_of,
)
from rlvr_cli.training.sample_metrics import sample_metrics
from rlvr_cli.training.texts import (
    length_correlation,
    lengths_by_outcome,
    repetition_correlation,
    repetition_sums,
)
from rlvr_cli.verifiers.repetition import Repetition


def text(response: str, correct: float | None, source: str = "a", tokens: int = 10) -> Text:
    return Text(response=response, tokens=tokens, correct=correct, source=source)


def test_reflection_by_hand() -> None:
    """Four responses (reflects, correct) = (1, 1), (1, 0), (0, 1), (0, 1): a half reflects and a half of
    these is right, as are all others; of the three right ones one reflects."""
    said = [text("Wait, 7.", 1.0), text("no, try again: 8", 0.0), text("7", 1.0), text("it is 7", 1.0)]
    found = means(sums_of([("2 + 5 = ?", said)]))
    assert found["text/reflection_fraction"] == 0.5
    assert found["text/correct_with_reflection"] == 0.5 and found["text/correct_without_reflection"] == 1.0
    assert found["text/reflection_fraction_correct"] == pytest.approx(1 / 3)
    assert found["text/reflection_fraction_wrong"] == 1.0
    assert found["text/reflection_per_1k"] == 2 / 40 * 1000


def test_words_of_reflection_are_whole_words_in_any_case() -> None:
    words = [word.replace("_", " ") for word in LEXICON.split()]
    assert len(words) == 15
    assert [reflections(f"so {word.upper()}, it is") for word in words] == [1] * 15
    for none in ("waiting", "await", "verifying", "yeti", "prerecheck", "check it again", "reexamined"):
        assert reflections(none) == 0, none
    assert reflections("Wait. Wait, let me check\nagain; yet") == 4


def test_aha_phrases_are_whole_words_in_any_case() -> None:
    phrases = [phrase.replace("_", " ") for phrase in AHA.split()]
    assert len(phrases) == 4
    assert [ahas(f"so {phrase.upper()}, it is") for phrase in phrases] == [1] * 4
    assert ahas("Wait. I should\ncheck; let me double check, alternatively wait") == 5
    for none in ("alternative", "await", "waiting", "i should", "check", "re-check", "yet"):
        assert ahas(none) == 0, none
    said = [text("Wait, 7.", 1.0), text("no, try again: 8", 0.0), text("Alternatively wait", 0.0, tokens=20)]
    found = means(sums_of([("2 + 5 = ?", said)]))
    assert found["text/aha_fraction"] == pytest.approx(2 / 3)
    assert found["text/aha_per_1k"] == pytest.approx(3 / 40 * 1000)


def test_repetition_is_open_r1s_and_the_verifiers() -> None:
    """Trigrams of "a b c a b c": four, three of them different."""
    assert repeated("a b c a b c") == 0.25 and repeated("A b c\na B c") == 0.25
    assert repeated("a b") is None and repeated("a b c") == 0
    for sample in ("a b c a b c", "x " * 50, "all of these words differ from each other"):
        score = Repetition().verify(sample, "", {}).score
        assert repeated(sample) == pytest.approx(1 - score, abs=1e-12)


def test_scripts_mix_where_words_do_and_symbols_do_not() -> None:
    assert mixed("The angle α and the angle β add up to π in all.") == 0
    assert mixed("Wir rechnen das jetzt aus und sind dann fertig.") == 0
    assert mixed("これは日本語の文章です。カタカナも漢字もあります。") == 0  # one way of writing
    share = mixed("We add the two numbers 我们把两个数字加起来 and get nine.")
    assert share == pytest.approx(10 / 38)
    assert mixed("7 + 8 = 15") is None and mixed("слово") is None and mixed("") is None


def test_own_phrases_stand_neither_in_the_prompt_nor_in_a_sibling() -> None:
    said = ["a b c d e", "a b c d f", "p q r s", "a b", "a b c d e"]
    # abcd is in three, bcde in two, bcdf in one only; pqrs is in the prompt.
    assert novel("say p q r s", said) == [0.0, 0.5, 0.0, None, 0.0]
    assert novel("", ["one two three four five"]) == [1.0]


def test_shards_add_up_to_the_step_and_sources_stand_apart_where_there_are_several() -> None:
    parts = [
        [("p", [text("wait what now then", 1.0), text("x", None)])],
        [("q", [text("so it is so it is so", 0.0, "b", tokens=20)])],
    ]
    shards = means(merged(map(sums_of, parts)))
    assert shards == means(sums_of([*parts[0], *parts[1]]))
    assert shards["text/source/a/reflection_fraction"] == 0.5
    assert shards["text/source/b/reflection_fraction"] == 0.0
    assert shards["text/reflection_per_1k"] == pytest.approx(1000 / 40)
    assert shards["text/source/b/repetition"] == pytest.approx(0.4)  # five trigrams, three different
    assert "text/source/a/repetition" in shards
    assert not any("source" in name for name in means(sums_of(parts[0])))
    assert means({}) == {}


def group(rewards: list[float], lengths: list[int], texts: list[str] | None = None) -> Group:
    problem = Problem(id="p", prompt="", tokens=[1], answer="", source="train", verifiers=["v"])
    completions = [
        Completion(tokens=np.zeros(n, np.int32), logprobs=np.zeros(n, np.float32), text=t, finished=True)
        for n, t in zip(lengths, texts or [""] * len(lengths), strict=True)
    ]
    return Group(
        problem=problem,
        index=0,
        completions=completions,
        rewards=rewards,
        correct=[float(r > 0) for r in rewards],
        first_scores=rewards,
    )


def test_longer_and_better_go_together_within_a_group_only() -> None:
    """Deviations (-1/2, 1/2) and (-5, 5) in one group, (-1/2, 1/2) and (1, -1) in the other:
    (5 - 1) / sqrt((1/2 + 1/2) (50 + 2)). What groups differ by does not count."""
    found = length_correlation([group([0.0, 1.0], [10, 20]), group([0.0, 1.0], [102, 100])])
    assert found["reward/length_correlation"] == pytest.approx(4 / 52**0.5)
    assert (
        length_correlation([group([1.0, 1.0], [1, 2])])
        == length_correlation([group([0.0, 1.0], [3, 3])])
        == {}
    )
    nan = float("nan")
    assert length_correlation([group([0.0, 1.0, nan], [1, 2, 900])]) == {"reward/length_correlation": 1.0}


def test_repetition_and_reward_go_together_over_the_ranks() -> None:
    """Three-word phrases of `a a a a` are one of two, those of `a b c d` two of two: repetitions of .5 and 0.
    One rank pays for them once, the other twice and against once: (1/4) (2 - 1) / sqrt(3/2 (3/8))."""
    texts = ["a a a a", "a b c d"]
    paid, other = group([1.0, 0.0], [1, 1], texts), group([0.0, 1.0], [1, 1], texts)
    short = group([1.0, 0.0, 5.0], [1, 1, 1], [*texts, "a"])
    sums = merged([repetition_sums([paid]), repetition_sums([other, short])])
    assert repetition_correlation(sums) == {"reward/repetition_correlation": pytest.approx(1 / 3)}
    assert repetition_correlation(repetition_sums([paid])) == {"reward/repetition_correlation": 1.0}
    assert repetition_correlation(repetition_sums([group([1.0, 0.0], [1, 1], ["a", "b"])])) == {}


def test_lengths_of_right_and_wrong_answers_and_of_those_that_stop() -> None:
    one = group([0.0, 1.0, 1.0], [10, 20, 40])
    one.completions[2].finished = False
    one.correct = [0.0, 1.0, float("nan")]
    assert lengths_by_outcome([one]) == {
        "response_length/stopped_mean": 15.0,
        "response_length/correct_mean": 20.0,
        "response_length/wrong_mean": 10.0,
    }
    assert lengths_by_outcome([]) == {}


def test_a_step_says_it() -> None:
    found = sample_metrics([group([1.0, 0.0], [3, 4], ["wait a b c a b c", "no"])], {})
    assert found["text/correct_with_reflection"] == 1.0 and found["text/correct_without_reflection"] == 0.0
    assert found["text/reflection_per_1k"] == pytest.approx(1000 / 7)
    assert sample_metrics([], {}) == {}


def test_an_evaluation_says_it() -> None:
    from rlvr_cli.evaluation.spoken import spoken

    row = {"prompt": "p", "responses": ["wait", "7"], "lengths": [1, 1], "correct": [True, None]}
    assert spoken([row])["text/correct_with_reflection"] == 1.0
    assert "text/correct_without_reflection" not in spoken([row])
    assert spoken([{"correct": [True]}]) == {}
