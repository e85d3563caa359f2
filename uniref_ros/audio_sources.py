"""Where the voice node's audio comes from: a microphone, a WAV file, or a topic. Each fills a queue."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import shutil
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Int16MultiArray

from uniref_model.errors import AudioError
from uniref_model.limits import check_count, clipped
from uniref_model.voice import RATE, Resampler, read_wav, to_mono

_CHUNK = 0.1  # s
_RETRY = 2.0  # s before a microphone that has gone is asked for again
_PATIENCE = 5.0  # s until the first sound
_SAID = 8  # lines of arecord's that are kept
_WAV_HEADER = 44  # bytes, as arecord writes it
_LONGEST_WAIT = 300  # chunks that may wait while an utterance is recognised
_DEPTH = 200  # messages that may wait: the embedded recogniser keeps Python's lock while it works
_LONGEST_MESSAGE = 30.0  # s of one message, as many as the queue holds
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
    """ALSA's `arecord`, which any Linux has in alsa-utils; through ALSA's default device it also reaches
    PulseAudio and PipeWire.

    A recording has a WAV header, by which the device's real rate is known: one that cannot do ours records at
    its own, without a word. A microphone that is pulled out is asked for again until it is back.
    """

    rate = RATE

    def __init__(self, device: str, chunks: Chunks, report_error: Callable[[str], None]) -> None:
        """device: as `arecord -L` lists them, empty for the default. report_error: told when the recording
        ends.

        Raises AudioError without arecord, and for a device that cannot be recorded from.
        """
        self._device = device or "default"
        self._chunks, self._report_error = chunks, report_error
        self._stop = threading.Event()
        self._recording: _Recording | None = _Recording.start(self._device)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stop.is_set():
            if self._recording is not None:
                for samples in self._recording.samples():
                    self._chunks.put(samples)
                if self._stop.is_set():
                    return
                self._recording.close()
                self._report_error(f"{self._recording.reason()}; trying again")
            self._recording = self._again()

    def _again(self) -> _Recording | None:
        self._stop.wait(_RETRY)
        if self._stop.is_set():
            return None
        try:
            return _Recording.start(self._device)
        except AudioError as error:
            self._report_error(str(error))
            return None

    def close(self) -> None:
        """End the recording."""
        self._stop.set()
        if self._recording is not None:
            self._recording.close()
        self._thread.join(1.0)


class _Recording:
    """One run of arecord."""

    def __init__(self, device: str, channels: int) -> None:
        program = shutil.which("arecord")
        if program is None:
            raise AudioError("there is no arecord to hear a microphone with; apt install alsa-utils")
        self._device = device
        self._said: deque[str] = deque(maxlen=_SAID)
        command = [program, "--quiet", "--file-type=wav", "--format=S16_LE", f"--rate={RATE}"]
        process = self._process = subprocess.Popen(
            [*command, f"--channels={channels}", f"--device={device}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert process.stdout is not None and process.stderr is not None  # pipes, as asked for
        self._output, self._errors = process.stdout, process.stderr
        self._listener = threading.Thread(target=self._hear_errors, daemon=True)
        self._listener.start()

    @classmethod
    def start(cls, device: str) -> _Recording:
        """A recording that has begun. Raises AudioError with all that arecord said."""
        for channels in (1, 2):  # a hw: device may have no mono
            recording = cls(device, channels)
            if recording._begin():
                return recording
            recording.close()
            reason = recording.reason()
            if "Channels count" not in reason:
                break
        raise AudioError(reason)

    def _begin(self) -> bool:
        """Read the header; whether there is one."""
        if not select.select([self._output], [], [], _PATIENCE)[0]:
            self._said.append(f"no sound came within {_PATIENCE:.0f} s")
            return False
        header = self._output.read(_WAV_HEADER)
        if len(header) < _WAV_HEADER:
            return False
        self._channels, rate = struct.unpack_from("<HI", header, 22)
        self._resampler = Resampler(rate)
        return True

    def samples(self) -> Iterator[np.ndarray]:
        """int16 [n] at RATE, a chunk at a time, until it ends."""
        frame = 2 * self._channels
        size = frame * int(_CHUNK * RATE * self._resampler.step)
        while data := self._output.read(size):
            whole = np.frombuffer(data[: len(data) // frame * frame], "<i2")
            yield self._resampler.process(to_mono(whole, self._channels))

    def _hear_errors(self) -> None:
        # Read as it comes: a full pipe would stop the recording.
        for line in self._errors:
            if text := line.decode(errors="replace").strip():
                self._said.append(text)

    def reason(self) -> str:
        """Why it has ended, in arecord's words, all of them."""
        said = "; ".join(self._said) or f"arecord ended with status {self._process.returncode}"
        return f"microphone {self._device!r}: {clipped(said, 600)}"

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(1.0)


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
        self,
        node: Node,
        kind: str,
        rate: int,
        channels: int,
        chunks: Chunks,
        report_error: Callable[[str], None],
    ) -> None:
        """kind: of MESSAGE_TYPES. report_error: told why a message is of no use. Raises AudioError when the
        message type is not installed."""
        self.rate = rate
        self._channels = channels
        self._chunks = chunks
        self._report_error = report_error
        self._node = node
        self._subscription = node.create_subscription(
            _message(kind), "audio", self._on_audio, QoSProfile(depth=_DEPTH)
        )

    def _on_audio(self, message: Any) -> None:
        try:
            most = int(_LONGEST_MESSAGE * self.rate) * self._channels
            samples = to_mono(samples_of(message, most), self._channels)
        except AudioError as error:
            self._report_error(f"audio: {error}")
            return
        size = int(_CHUNK * self.rate)
        for start in range(0, len(samples), size):  # what comes at once is no reason to resample it at once
            self._chunks.put(samples[start : start + size])

    def close(self) -> None:
        """Hear no more."""
        self._node.destroy_subscription(self._subscription)


def samples_of(message: Any, most: int) -> np.ndarray:
    """int16 [n] of an Int16MultiArray or AudioData message. most: samples. Raises AudioError for an empty or
    odd one, and one that holds more."""
    data = message.data
    if not len(data):
        raise AudioError("the message holds no samples")
    count = len(data) if isinstance(message, Int16MultiArray) else len(data) // 2
    check_count(count, f"samples in one message ({_LONGEST_MESSAGE:g} s)", most, AudioError)
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
