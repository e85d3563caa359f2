"""What tests of listening share: a recogniser that hears what it is told to, and sound like speech."""

from __future__ import annotations

import numpy as np

from uniref_model.voice import RATE, Heard, Vocabulary


class Says:
    """A double of a recogniser: it hears what the test tells it to."""

    def __init__(self, *answers: Heard) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []
        self.taught: list[Vocabulary] = []

    def teach(self, vocabulary: Vocabulary) -> None:
        self.taught.append(vocabulary)

    def recognise(self, samples: np.ndarray) -> Heard:
        self.asked.append(len(samples))
        return self.answers.pop(0)


def voice_like(seconds: float) -> np.ndarray:
    """Sound that voice activity detection takes for speech: pulses through a vowel's resonances."""
    time = np.arange(int(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * 120 * n * time) / (1 + abs(120 * n - 700) / 200) for n in range(1, 30))
    return (3000 * sound).astype(np.int16)


QUIET = np.random.default_rng(0).normal(0, 3, RATE).astype(np.int16)
