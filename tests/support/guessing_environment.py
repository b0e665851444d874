"""One small game as users write it for TRL, and for Gymnasium: a number, looked for with `guess`."""

TRL = '''
import asyncio, time

MADE = []


class Game:
    """Guess a number."""

    def __init__(self):
        MADE.append(self)
        self.hidden, self.guesses = None, 0

    def reset(self, hidden, prompt=None, **row):
        self.hidden, self.guesses, self.row = hidden, 0, {"prompt": prompt, **row}
        return f" It is below {hidden + 10}." if row.get("tell") else None

    def guess(self, number: int) -> str:
        """Guess it.

        Args:
            number: Your guess.
        """
        self.guesses += 1
        if number < 0:
            raise ValueError("below zero")
        return "right" if number == self.hidden else "too low" if number < self.hidden else "too high"

    async def rest(self, seconds: float) -> dict:
        """Wait.

        Args:
            seconds: How long.
        """
        await asyncio.sleep(seconds)
        return {"rested": seconds}

    def sleep(self, seconds: float) -> list:
        """Wait in a thread.

        Args:
            seconds: How long.
        """
        time.sleep(seconds)
        return [{"type": "text", "text": "slept"}]

    def get_reward(self) -> float:
        return 1.0 / self.guesses if self.guesses else 0.0

    def _secret(self):
        return self.hidden

    @property
    def trap(self):
        raise RuntimeError("a property was looked at")


class NoReward(Game):
    get_reward = None


class NoTools:
    def reset(self, **row):
        return None


class Undescribed:
    def reset(self, **row):
        return None

    def act(self, what):
        return what


def made():
    return Game()
'''

GYMNASIUM = '''
import random


class Game:
    """Guess a number from 0 to `most` within three steps; observations are mappings."""

    def __init__(self, most=9):
        self.most, self.closed = most, False

    def reset(self, *, seed=None, options=None):
        self.hidden = options["hidden"] if "hidden" in options else random.Random(seed).randint(0, self.most)
        self.steps = 0
        return {"text": f"0 to {self.most}?"}, {}

    def step(self, action):
        self.steps += 1
        if action == "raise":
            raise RuntimeError("broken")
        right = action == str(self.hidden)
        return {"text": "yes" if right else "no"}, float(right), right, self.steps >= 3, {}

    def close(self):
        self.closed = True


class Plain:
    """The older form: what reset returns is the observation alone."""

    def reset(self):
        return "go"

    def step(self, action):
        return ["seen", action], 0.25, False, False, {}
'''
