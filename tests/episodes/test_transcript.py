"""The tokens of an episode: each prompt begins with all that was there, and anything else is counted."""

from __future__ import annotations

import numpy as np

from rlvr_cli.core.types import Completion
from rlvr_cli.episodes.transcript import Transcript

END = 9


def turn(*tokens: int, logprobs: list[float] | None = None) -> Completion:
    return Completion(
        tokens=np.asarray(tokens, np.int32),
        logprobs=np.asarray(logprobs or [-0.5] * len(tokens), np.float32),
        text="",
        finished=True,
    )


def played() -> Transcript:
    transcript = Transcript(prompt=[1, 2])
    assert transcript.ask() == [1, 2]
    transcript.model(turn(3, END, logprobs=[-0.1, -0.2]))
    transcript.world([5, 6])
    assert transcript.ask() == [1, 2, 3, END, 5, 6]
    transcript.model(turn(7, logprobs=[-0.3]))
    return transcript


def test_what_is_sampled_and_what_is_said() -> None:
    made = played().completion("text", finished=True, logprobs=True)
    assert made.tokens.tolist() == [3, END, 5, 6, 7]
    assert made.sampled.tolist() == [True, True, False, False, True]
    assert np.allclose(made.logprobs, [-0.1, -0.2, 0, 0, -0.3])
    assert made.length == 3
    assert played().spans == [(0, 2), (4, 5)]


def test_a_turn_that_was_cut_off_is_closed_by_a_token_nobody_sampled() -> None:
    transcript = Transcript(prompt=[1])
    transcript.ask()
    transcript.model(turn(3, END))
    assert transcript.closing([END], END) == []
    transcript.model(turn(4))
    assert transcript.closing([END], END) == [END]


def test_no_violation_where_tokens_are_kept() -> None:
    assert played().violations() == 0


def test_encoding_again_is_counted() -> None:
    """3, 9 become one token when their text is read again: the second turn saw another prompt."""

    class Again(Transcript):
        def ask(self) -> list[int]:
            ids = super().ask()
            if self.spans:
                ids = [1, 2, 39, 5, 6]
                self.given[-1] = (len(ids), __import__("zlib").crc32(np.asarray(ids, np.int64).tobytes()))
            return ids

    transcript = Again(prompt=[1, 2])
    transcript.ask()
    transcript.model(turn(3, END))
    transcript.world([5, 6])
    transcript.ask()
    transcript.model(turn(7))
    assert transcript.violations() == 1


def test_a_change_of_what_was_sampled_is_counted() -> None:
    transcript = played()
    transcript.tokens[0] = 4
    assert transcript.violations() == 1
    transcript.tokens[0] = 3
    transcript.tokens[4] = 8  # after the last prompt: nothing was given behind it
    assert transcript.violations() == 0


def test_versions_go_on_where_the_environment_speaks() -> None:
    transcript = Transcript(prompt=[1])
    first = turn(3, END)
    first.versions = np.asarray([4, 5], np.int32)
    transcript.ask()
    transcript.model(first)
    transcript.world([5, 6])
    made = transcript.completion("", finished=True, logprobs=True)
    assert made.versions.tolist() == [4, 5, 5, 5]
