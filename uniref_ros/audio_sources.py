"""Where the voice node's audio comes from: a microphone, a WAV file, or a topic. Each fills a queue."""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Int16MultiArray

from uniref_model.errors import AudioError
from uniref_model.voice import RATE, read_wav, to_mono

_CHUNK = 0.1  # s
_LONGEST_WAIT = 300  # chunks that may wait while an utterance is recognised
_DEPTH = 200  # messages that may wait: the embedded recogniser keeps Python's lock while it works
MESSAGE_TYPES = ("Int16MultiArray", "AudioData")


class Chunks:
    """Chunks of samples, and presses of the talk button among them, between the threads that receive them and
    the one that listens. When it is full the oldest is dropped, and counted."""

    def __init__(self) -> None:
        self._queue: queue.Queue[np.ndarray | bool | Exception | None] = queue.Queue(_LONGEST_WAIT)
        self.dropped = 0

    def put(self, item: np.ndarray | bool | Exception | None) -> None:
        """Samples; the button (True: down); an error that ends the source; None at its end."""
        while True:
            try:
                return self._queue.put_nowait(item)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._queue.get_nowait()
                    self.dropped += 1

    def get(self, timeout: float) -> np.ndarray | bool:
        """The next chunk. Raises queue.Empty when none comes, EOFError at the end, AudioError when the source
        failed."""
        item = self._queue.get(timeout=timeout)
        if item is None:
            raise EOFError
        if isinstance(item, Exception):
            raise item
        return item


class Microphone:
    """ALSA's `arecord`, which any Linux has in alsa-utils and which converts to our rate; through ALSA's
    default device it also reaches PulseAudio and PipeWire."""

    rate = RATE

    def __init__(self, device: str, chunks: Chunks) -> None:
        """device: as `arecord -L` lists them, empty for the default. Raises AudioError without arecord."""
        program = shutil.which("arecord")
        if program is None:
            raise AudioError("there is no arecord to hear a microphone with; apt install alsa-utils")
        command = [program, "--quiet", "--type=raw", "--format=S16_LE", "--channels=1", f"--rate={RATE}"]
        self._device = device or "default"
        self._process = subprocess.Popen(
            [*command, f"--device={self._device}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._closed = False
        self._thread = threading.Thread(target=self._read, args=(chunks,), daemon=True)
        self._thread.start()

    def _read(self, chunks: Chunks) -> None:
        size = 2 * int(_CHUNK * RATE)
        while data := self._process.stdout.read(size):
            chunks.put(np.frombuffer(data[: len(data) // 2 * 2], "<i2"))
        if not self._closed:
            said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else f"arecord ended with status {self._process.wait()}"
            chunks.put(AudioError(f"microphone {self._device!r}: {reason}"))

    def close(self) -> None:
        """End the recording."""
        self._closed = True
        self._process.terminate()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join(1.0)


class AudioFile:
    """A WAV file, played at its own pace as a microphone would hear it."""

    def __init__(self, path: str, chunks: Chunks, may_start: Callable[[], bool]) -> None:
        """may_start: asked until it says so. Raises AudioError for a file that cannot be used, as a whole."""
        self._samples, self.rate = read_wav(path)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, args=(chunks, may_start), daemon=True)
        self._thread.start()

    def _play(self, chunks: Chunks, may_start: Callable[[], bool]) -> None:
        while not may_start():
            if self._stop.wait(0.05):
                return
        size = int(_CHUNK * self.rate)
        due = time.monotonic()
        for start in range(0, len(self._samples), size):
            chunks.put(self._samples[start : start + size])
            due += _CHUNK
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
        chunks.put(None)

    def close(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(1.0)


class AudioTopic:
    """The topic `audio`: 16-bit PCM, channels interleaved, as std_msgs/Int16MultiArray or, where it is
    installed, audio_common_msgs/AudioData (little-endian)."""

    def __init__(
        self, node: Node, kind: str, rate: int, channels: int, chunks: Chunks, complain: Callable[[str], None]
    ) -> None:
        """kind: of MESSAGE_TYPES. complain: told why a message is of no use. Raises AudioError when the
        message type is not installed."""
        self.rate = rate
        self._channels = channels
        self._chunks = chunks
        self._complain = complain
        self._node = node
        self._subscription = node.create_subscription(
            _message(kind), "audio", self._on_audio, QoSProfile(depth=_DEPTH)
        )

    def _on_audio(self, message: Any) -> None:
        try:
            self._chunks.put(to_mono(samples_of(message), self._channels))
        except AudioError as error:
            self._complain(f"audio: {error}")

    def close(self) -> None:
        """Hear no more."""
        self._node.destroy_subscription(self._subscription)


def samples_of(message: Any) -> np.ndarray:
    """int16 [n] of an Int16MultiArray or AudioData message. Raises AudioError for an empty or odd one."""
    data = message.data
    if not len(data):
        raise AudioError("the message holds no samples")
    if isinstance(message, Int16MultiArray):
        return np.array(data, np.int16)
    raw = bytes(data)
    if len(raw) % 2:
        raise AudioError(f"{len(raw)} bytes are no 16-bit samples")
    return np.frombuffer(raw, "<i2")


def _message(kind: str) -> type:
    if kind == "Int16MultiArray":
        return Int16MultiArray
    try:
        from audio_common_msgs.msg import AudioData
    except ImportError as error:
        raise AudioError(
            f"audio_type is {kind!r}, but audio_common_msgs is not installed ({error})"
        ) from error
    return AudioData
