"""How well the voice node's recognisers understand synthesised speech, and how often they are fooled.

    python -m benchmarks.voice [--engine pocketsphinx|whisper] [--engine-model DIR] [--json FILE]
    python -m benchmarks.voice --development    # on the phrases and voices that the engines are tuned on
    python -m benchmarks.voice --fit            # the weights of an engine's confidence, from those

Every phrase in every voice of test/speech.py, through endpointer, recogniser and gate, as in the node. Prints
how many phrases became the right prompt, a wrong one or none, and how many sentences of other talk, and how
much noise, became a prompt (none should).

The sentences here are for measuring alone: nothing is tuned to them or to their voices. Whoever changes an
engine, the gate or the vocabulary looks at benchmarks/voice_development.py, whose phrases, talk, voices and
paces are others, and measures here when that is done.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "test")]

import whisper_model  # noqa: E402
from speech import VOICES, say  # noqa: E402

from benchmarks import voice_development  # noqa: E402
from benchmarks.machine import Watch  # noqa: E402
from uniref_model.profiling.figures import cpu_name  # noqa: E402
from uniref_model.voice import (  # noqa: E402
    RATE,
    Heard,
    Listener,
    Recogniser,
    Remark,
    Resampler,
    Vocabulary,
    load_recogniser,
    understand,
)

_WARM_UP = 3
"""Utterances whose times do not count."""
_PACKAGES = ("pocketsphinx", "ctranslate2", "tokenizers", "espeakng-loader", "numpy")
_OF_TEACHING = ("phrases", "right prompts", "wrong prompts", "not understood", "wrong ones")
PHRASES = (
    "the yellow box",
    "follow the yellow box",
    "find the red mug",
    "track the black bottle",
    "look for the green ball",
    "show me my blue backpack",
    "find the small wooden chair",
    "forget the red mug",
    "forget everything",
    "stop tracking the white cup",
    "pause",
    "resume",
)
OTHER_TALK = (
    "what time is it in new york",
    "i had a sandwich for lunch today",
    "hello how are you doing",
    "this meeting is really boring",
    "turn on the lights in the kitchen",
    "the weather will be fine tomorrow",
    "one two three four five six",
    "excuse me where is the station",
)
TEACHING = (
    "this is my mug",
    "call this the blue tray",
    "remember this as my wallet",
    "forget what my mug looks like",
)
"""Counted by themselves, so that the other figures can be compared with earlier ones."""


MEASURED = tuple((text, voice, 140) for voice in VOICES for text in (*PHRASES, *OTHER_TALK))
"""(text, voice, words a minute)."""
TAUGHT = tuple((text, voice, 140) for voice in VOICES for text in TEACHING)
TALK = {*OTHER_TALK, *voice_development.OTHER_TALK}


class Once:
    """A recogniser that keeps what it heard last, before the gate."""

    def __init__(self, engine: Recogniser) -> None:
        self._engine = engine
        self.words = ""

    def teach(self, vocabulary: Vocabulary) -> None:
        """See `Recogniser`."""
        self._engine.teach(vocabulary)

    def recognise(self, samples: np.ndarray):
        """See `Recogniser`."""
        heard = self._engine.recognise(samples)
        self.words = heard.words
        return heard


def listen(engine: Once, samples: np.ndarray, rate: int, least: float) -> tuple[Remark, str, float]:
    """The remark on one recording, the words before the gate, and the seconds it took."""
    engine.words = ""
    listener = Listener(engine, trigger="always", least_confidence=least)
    started = time.perf_counter()
    remarks = [*listener.hear(Resampler(rate).process(samples)), *listener.finish()]
    spent = time.perf_counter() - started
    return (remarks[-1] if remarks else Remark(reason="no speech")), engine.words, spent


def word_errors(said: list[str], heard: list[str]) -> int:
    """Levenshtein distance over words; the articles count as one word."""
    said, heard = ([("the" if word in ("a", "my") else word) for word in words] for words in (said, heard))
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def same(one: str | None, other: str) -> bool:
    """Whether two prompts are the same but for their article."""
    return word_errors((one or "").split(), other.split()) == 0


def noises() -> dict[str, np.ndarray]:
    """Three seconds each of silence, hiss, loud noise, hum and clicks, at RATE."""
    rng = np.random.default_rng(1)
    clicks = np.zeros(3 * RATE)
    clicks[rng.integers(0, len(clicks), 40)] = 20000
    tone = 8000 * np.sin(2 * np.pi * 120 * np.arange(3 * RATE) / RATE)
    kinds = {
        "silence": np.zeros(3 * RATE),
        "hiss": rng.normal(0, 200, 3 * RATE),
        "loud noise": rng.normal(0, 6000, 3 * RATE),
        "hum": tone,
        "clicks": clicks,
    }
    return {name: np.clip(samples, -32768, 32767).astype(np.int16) for name, samples in kinds.items()}


def measure(
    engine: Recogniser, least: float, recordings: Sequence[tuple[str, str, int]], *, verbose: bool = False
) -> dict[str, object]:
    """All figures. recordings: (text, voice, words a minute)."""
    ears, words, errors, right, spent, sound = Once(engine), 0, 0, 0, [], 0.0
    wrong: list[str] = []
    false: list[str] = []
    confidences: dict[str, list[float]] = {"right": [], "wrong": [], "other": []}
    for text, voice, pace in recordings:
        samples, rate = say(text, voice, words_a_minute=pace)
        remark, heard, seconds = listen(ears, samples, rate, least)
        spent.append(seconds)
        sound += len(samples) / rate
        if verbose:
            made = remark.prompt or remark.reason
            print(f"{voice:18} {text:34} {heard or '-':34} {remark.confidence:.2f} {made}", flush=True)
        if text in TALK:
            confidences["other"].append(remark.confidence)
            false += [f"{voice}: {text!r} -> {remark.prompt!r}"] if remark.prompt else []
            continue
        words, errors = words + len(text.split()), errors + word_errors(text.split(), heard.split())
        is_right = same(remark.prompt, understand(text))
        confidences["right" if is_right else "wrong"].append(remark.confidence)
        right += is_right
        wrong += [f"{voice}: {text!r} -> {remark.prompt!r}"] if remark.prompt and not is_right else []
    fooled = [name for name, samples in noises().items() if listen(ears, samples, RATE, least)[0].prompt]
    phrases = sum(text not in TALK for text, _, _ in recordings)
    return {
        "voices": len({voice for _, voice, _ in recordings}),
        "phrases": phrases,
        "word accuracy before the gate": round(1 - errors / words, 3),
        "right prompts": right,
        "wrong prompts": len(wrong),
        "not understood": phrases - right - len(wrong),
        "wrong ones": wrong,
        "other talk": len(recordings) - phrases,
        "other talk taken for a prompt": false,
        "noises taken for a prompt": fooled,
        "confidence p5/p50/p95": {
            kind: [round(float(v), 2) for v in np.percentile(values, (5, 50, 95))] if values else None
            for kind, values in confidences.items()
        },
        "seconds of computing per second of sound": round(sum(spent) / sound, 2),
        "seconds of computing per utterance p50/p95/p99": [
            round(float(v), 2) for v in np.percentile(spent[_WARM_UP:], (50, 95, 99))
        ],
    }


class Weigher:
    """Keeps the words that an engine would choose for an utterance, and its evidence for them."""

    def __init__(self, engine) -> None:
        self._engine = engine
        self.last: tuple[str, np.ndarray | None] = ("", None)

    def teach(self, vocabulary: Vocabulary) -> None:
        """See `Recogniser`."""

    def recognise(self, samples: np.ndarray) -> Heard:
        """See `Recogniser`."""
        self.last = self._engine.weigh(samples)
        return Heard("", 0.0)


def logistic(evidence: np.ndarray, right: np.ndarray, ridge: float = 0.01) -> np.ndarray:
    """Weights and bias [k + 1] by Newton's method. evidence: [n,k]. right: bool [n]."""
    inputs = np.column_stack([evidence, np.ones(len(evidence))])
    weights = np.zeros(inputs.shape[1])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (right - chance) - ridge * weights
        curve = (inputs.T * (chance * (1 - chance))) @ inputs + ridge * np.eye(len(weights))
        weights = weights + np.linalg.solve(curve, slope)
    return weights


def fit(engine: Recogniser) -> None:
    """Print the weights from the development set, and how they do on voices that they were not fitted to."""
    ears, rows = Weigher(engine), []
    for text, voice, pace in voice_development.recordings():
        samples, rate = say(text, voice, words_a_minute=pace)
        ears.last = ("", None)
        listener = Listener(ears, trigger="always")
        _ = [*listener.hear(Resampler(rate).process(samples)), *listener.finish()]
        words, evidence = ears.last
        prompt = understand(words, addressed=False)
        if evidence is not None and prompt is not None:  # what is no instruction needs no confidence
            rows.append((voice, text not in TALK and same(prompt, understand(text)), *evidence))
    voices = np.array([row[0] for row in rows])
    right, evidence = np.array([row[1] for row in rows]), np.array([row[2:] for row in rows])
    chances = np.zeros(len(rows))
    for voice in voice_development.VOICES:
        weights = logistic(evidence[voices != voice], right[voices != voice])
        chances[voices == voice] = 1 / (1 + np.exp(-(evidence[voices == voice] @ weights[:-1] + weights[-1])))
    for least in (0.5, 0.7, 0.8, 0.9, 0.95):
        kept, fooled = (chances[right] >= least).sum(), (chances[~right] >= least).sum()
        print(f"confidence {least}: {kept} right, {fooled} wrong, on unseen voices")
    print("weights and bias:", logistic(evidence, right).round(2))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="pocketsphinx")
    parser.add_argument("--engine-model", default="")
    parser.add_argument("--min-confidence", type=float, default=0.9)
    parser.add_argument("--nouns", default="", help="listen for these only, separated by commas")
    parser.add_argument("--verbose", action="store_true", help="a line for each recording")
    parser.add_argument("--development", action="store_true", help="on what the engines are tuned on")
    parser.add_argument("--threads", type=int, default=1, help="of engine whisper")
    parser.add_argument("--fit", action="store_true", help="fit the engine's confidence instead")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = arguments.engine_model
    if arguments.engine == "whisper" and not model:
        if whisper_model.missing():
            raise SystemExit(f"no Whisper model is here; {whisper_model.missing()}, or give --engine-model")
        model = str(whisper_model.whisper_base())
    engine = load_recogniser(arguments.engine, model, threads=arguments.threads)
    engine.teach(Vocabulary.of(nouns=arguments.nouns.split(",")))
    if arguments.fit:
        return fit(engine)
    recordings, teaching = MEASURED, TAUGHT
    if arguments.development:
        recordings = (*voice_development.recordings(),)
        teaching = (*voice_development.recordings(voice_development.TEACHING),)
    with Watch() as watch:
        measured = measure(engine, arguments.min_confidence, recordings, verbose=arguments.verbose)
        taught = measure(engine, arguments.min_confidence, teaching, verbose=arguments.verbose)
        measured["teaching"] = {name: taught[name] for name in _OF_TEACHING}
    figures = {
        "engine": arguments.engine,
        "set": "development" if arguments.development else "measured",
        "nouns": arguments.nouns or "the usual",
        "min_confidence": arguments.min_confidence,
        "threads": arguments.threads,
        "versions": {name: _version(name) for name in _PACKAGES},
        "machine": f"{cpu_name()}, {platform.machine()}",
        "warm-up utterances": _WARM_UP,
        **measured,
        "run": watch.report(),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
