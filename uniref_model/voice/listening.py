"""Which stretch of the audio is meant for the robot, and what was made of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from uniref_model.errors import RuntimeUnavailable
from uniref_model.voice.audio import RATE
from uniref_model.voice.engines import Recogniser
from uniref_model.voice.fitting import Fitter
from uniref_model.voice.phrases import Vocabulary
from uniref_model.voice.sounds import Pronouncer
from uniref_model.voice.understanding import understand, without_courtesy

TRIGGERS = ("wake_word", "push_to_talk", "always")
_BEFORE = 0.5
"""Seconds of audio kept from before the endpointer decides that somebody speaks."""
_AWAKE = 6 * RATE
"""Samples within which the instruction may follow a wake word that was said alone."""


@dataclass(frozen=True)
class Remark:
    """What became of one utterance. words and confidence: as heard. prompt: the line for the tracker, which
    may have other words that sound alike; empty when the utterance was not understood, and then reason says
    why."""

    words: str = ""
    confidence: float = 0.0
    prompt: str = ""
    reason: str = ""


class Listener:
    """Cuts a stream of audio into utterances and decides on each. Memory is bounded by `longest`."""

    def __init__(
        self,
        recogniser: Recogniser,
        *,
        trigger: str = "wake_word",
        wake: str = "",
        vocabulary: Vocabulary | None = None,
        least_confidence: float = 0.9,
        longest: float = 10.0,
    ) -> None:
        """trigger: "wake_word" (an utterance counts when it begins with `wake`, or follows one that was only
        that), "push_to_talk" (between `press(True)` and `press(False)`) or "always". vocabulary: what the
        recogniser was taught, None for the usual words. longest: seconds of one utterance. Raises ValueError
        for another trigger, or a wake word that is missing."""
        if trigger not in TRIGGERS:
            raise ValueError(f"trigger is {trigger!r}, expected one of {', '.join(TRIGGERS)}")
        if trigger == "wake_word" and not wake:
            raise ValueError("wake_word is empty, expected words when trigger is wake_word")
        self._recogniser = recogniser
        self._trigger = trigger
        self._expect(replace(vocabulary or Vocabulary(), wake=wake if trigger == "wake_word" else ""))
        self._wake = wake if trigger == "wake_word" else ""
        self._by_button = trigger == "push_to_talk"
        self._least = least_confidence
        self._longest = int(longest * RATE)
        self._endpointer = _endpointer()
        self._frame = self._endpointer.frame_bytes // 2
        self._rest = np.zeros(0, "<i2")
        self._before: deque[np.ndarray] = deque(maxlen=int(_BEFORE * RATE) // self._frame)
        self._said: list[np.ndarray] = []
        self._spoke = False
        self._pressed = False
        self._awake = 0

    def learn(self, names: Iterable[str]) -> None:
        """From now on these are the names of the known objects."""
        known = self._vocabulary
        vocabulary = Vocabulary.of(
            nouns=known.nouns, adjectives=known.adjectives, names=names, wake=known.wake
        )
        self._recogniser.teach(vocabulary)
        self._expect(vocabulary)

    def _expect(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._fitter = Fitter(vocabulary, Pronouncer())

    def hear(self, samples: np.ndarray) -> Iterator[Remark]:
        """More of the stream, int16 [n] at RATE; yields a remark on each utterance that ends in it."""
        self._rest = np.concatenate([self._rest, samples.astype("<i2", copy=False)])
        while len(self._rest) >= self._frame:
            frame, self._rest = self._rest[: self._frame], self._rest[self._frame :]
            self._awake = max(0, self._awake - len(frame))
            if not self._by_button:
                yield from self._follow_voice(frame)
            elif self._pressed:
                yield from self._follow_button(frame)

    def press(self, pressed: bool) -> Iterator[Remark]:
        """The talk button goes down or up; with another trigger it does nothing. Yields a remark on what was
        said when it goes up."""
        if not self._by_button or pressed == self._pressed:
            return
        self._pressed = pressed
        if pressed:
            self._restart()
        elif self._spoke:
            yield from self._end()
        else:
            yield Remark(reason="nothing was said while the button was down")

    def finish(self) -> Iterator[Remark]:
        """The stream is over: what was being said counts as said."""
        yield from self.press(False)
        if self._said:
            yield from self._end()
        self._restart()

    def _follow_voice(self, frame: np.ndarray) -> Iterator[Remark]:
        """An utterance is what lies between the endpointer's decisions, and a little before: it decides late,
        and a final consonant is too short and too weak for it."""
        self._endpointer.process(frame.tobytes())
        if self._endpointer.in_speech:
            self._said += [*self._before, frame]
            self._before.clear()
            yield from self._bound()
        elif self._said:
            yield from self._end()
        else:
            self._before.append(frame)

    def _follow_button(self, frame: np.ndarray) -> Iterator[Remark]:
        self._endpointer.process(frame.tobytes())
        self._spoke = self._spoke or self._endpointer.in_speech
        self._said.append(frame)
        for remark in self._bound():
            self._pressed = False
            yield remark

    def _bound(self) -> Iterator[Remark]:
        if len(self._said) * self._frame > self._longest:
            self._restart()
            yield Remark(reason=f"speech went on for more than {self._longest / RATE:g} s")

    def _end(self) -> Iterator[Remark]:
        said = np.concatenate(self._said)
        self._said, self._spoke = [], False
        remark = self._judge(said)
        if remark is not None:
            yield remark

    def _restart(self) -> None:
        self._said, self._spoke = [], False
        self._before.clear()
        self._rest = self._rest[:0]
        self._endpointer = _endpointer()

    def _judge(self, said: np.ndarray) -> Remark | None:
        heard = self._recogniser.recognise(said)
        words = " ".join(heard.words.split())
        command = heard.meant or words
        if self._wake:
            called = self._fitter.after_wake(command)
            if called is None and not self._awake:
                return None  # talk that is not meant for the robot
            command = command if called is None else called
        if not words:
            return Remark(reason="no words were made out")
        if heard.confidence < self._least:
            reason = (
                f"not sure enough: confidence {heard.confidence:.2f}, at least {self._least:.2f} is needed"
            )
            return Remark(words, heard.confidence, reason=reason)
        if self._wake and not command:
            self._awake = _AWAKE
            return Remark(words, heard.confidence, reason="listening for what to do")
        self._awake = 0
        prompt = self._understood(command if heard.meant else self._fitter.fit(without_courtesy(command)))
        if prompt is None:
            return Remark(words, heard.confidence, reason="this is no instruction")
        return Remark(words, heard.confidence, prompt)

    def _understood(self, command: str) -> str | None:
        return understand(command, self._vocabulary, addressed=self._trigger != "always")


def _endpointer():
    """WebRTC's voice activity detection, as it comes with pocketsphinx."""
    try:
        from pocketsphinx import Endpointer, Vad
    except ImportError as error:
        raise RuntimeUnavailable(
            f"the voice activity detection of pocketsphinx is missing ({error}); pip install pocketsphinx"
        ) from error
    return Endpointer(window=0.4, ratio=0.8, vad_mode=Vad.LOOSE, sample_rate=RATE)
