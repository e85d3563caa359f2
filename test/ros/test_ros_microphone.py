"""The microphone, with the real arecord (alsa-utils) on ALSA's file and null devices. A double of arecord,
which takes only options that the real one has, stands in where no such device can be made."""

from __future__ import annotations

import queue
import re
import shutil
import stat
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")

from uniref_model.errors import AudioError
from uniref_model.voice import RATE
from uniref_ros import audio_sources
from uniref_ros.audio_sources import Chunks, Microphone

needs_arecord = pytest.mark.skipif(
    shutil.which("arecord") is None, reason="arecord is not installed (apt install alsa-utils)"
)


class Patient(Chunks):
    """Makes the recording wait: ALSA's null device has no clock and would record for ever at once."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: queue.Queue = queue.Queue(5)
        self.closed = False

    def put(self, item) -> None:
        while not self.closed:
            try:
                return self.heard.put(item, timeout=0.05)
            except queue.Full:
                continue

    def samples(self, count: int) -> np.ndarray:
        parts: list[np.ndarray] = []
        while sum(map(len, parts)) < count:
            parts.append(self.heard.get(timeout=20))
        return np.concatenate(parts)[:count]


@pytest.fixture
def alsa(tmp_path, monkeypatch):
    """Devices without hardware: `spoken`, which plays a file, and the null device as the default."""
    rng = np.random.default_rng(0)
    spoken = rng.integers(-9000, 9000, 2 * RATE).astype("<i2")
    (tmp_path / "speech.raw").write_bytes(spoken.tobytes())
    speech = f'file /dev/null infile "{tmp_path}/speech.raw"'
    (tmp_path / "asound.conf").write_text(
        f"pcm.!default {{ type null }}\npcm.spoken {{ type file slave.pcm {{ type null }} {speech} }}\n"
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    return spoken


def listen(device: str, complaints: list[str] | None = None) -> tuple[Microphone, Patient]:
    chunks = Patient()
    told = complaints if complaints is not None else []
    return Microphone(device, chunks, told.append), chunks


def end(microphone: Microphone, chunks: Patient) -> None:
    chunks.closed = True
    microphone.close()


@needs_arecord
def test_what_is_spoken_is_heard(alsa):
    microphone, chunks = listen("spoken")
    try:
        assert np.array_equal(chunks.samples(len(alsa)), alsa)
    finally:
        end(microphone, chunks)


@needs_arecord
def test_the_default_device_is_taken_where_none_is_named(alsa):
    microphone, chunks = listen("")
    assert len(chunks.samples(RATE)) == RATE
    end(microphone, chunks)
    left = subprocess.run(["pgrep", "-f", "arecord --quiet"], capture_output=True, check=False).stdout
    assert not left.strip(), "no recording is left behind"


@needs_arecord
def test_a_device_that_is_none_is_said_in_full(alsa):
    with pytest.raises(AudioError, match=r"microphone 'hw:7'.*audio open error: No such"):
        listen("hw:7")


@needs_arecord
def test_a_recording_that_ends_is_begun_again(alsa, monkeypatch):
    monkeypatch.setattr(audio_sources, "_RETRY", 0.1)
    told: list[str] = []
    microphone, chunks = listen("spoken", told)
    try:
        chunks.samples(RATE)
        microphone._recording._process.kill()  # as when it is pulled out
        heard, deadline = b"", time.monotonic() + 20
        while alsa[:1000].tobytes() not in heard and time.monotonic() < deadline:
            heard += chunks.samples(RATE // 10).tobytes()
        assert alsa[:1000].tobytes() in heard, "from the beginning again"
        assert "arecord ended with status -9; trying again" in told[0]
    finally:
        end(microphone, chunks)


def double(folder: Path, script: str, monkeypatch) -> None:
    """A double of arecord that refuses what the real one's --help does not have."""
    options = "--quiet --file-type --format --rate --channels --device"
    if shutil.which("arecord"):
        text = subprocess.run(["arecord", "--help"], capture_output=True, text=True, check=False)
        known = set(re.findall(r"--[a-z-]+", text.stdout + text.stderr))
        assert set(options.split()) <= known, "the real arecord has every option that the double takes"
    program = folder / "arecord"
    program.write_text(
        '#!/bin/sh\nfor option in "$@"; do case " ' + options + ' " in *" ${option%%=*} "*) ;; '
        "*) echo \"arecord: unrecognized option '$option'\" >&2; exit 1;; esac; done\n" + script + "\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def wav_header(rate: int, channels: int = 1) -> bytes:
    fmt = struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    return b"RIFF" + b"\xff" * 4 + b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + b"\xff" * 4


def test_a_device_with_a_rate_of_its_own_is_heard_at_the_right_pace(tmp_path, monkeypatch):
    """With the double: no ALSA device of one rate can be made without hardware."""
    seconds, own = 2.0, 48000
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * own)) / own)).astype("<i2")
    (tmp_path / "sound").write_bytes(wav_header(own) + tone.tobytes())
    double(tmp_path, f"cat {tmp_path}/sound; sleep 30", monkeypatch)
    microphone, chunks = listen("hw:0")
    heard = chunks.samples(int(0.9 * seconds * RATE)).astype(float)
    end(microphone, chunks)
    crossings = np.count_nonzero(np.diff(np.signbit(heard[2000:])))
    pitch = crossings / 2 / ((len(heard) - 2000) / RATE)
    assert pitch == pytest.approx(440, rel=0.02), "and not a third of it"


def test_a_device_without_mono_is_heard_in_stereo(tmp_path, monkeypatch):
    """With the double, for the same reason."""
    left, right = np.arange(RATE, dtype="<i2"), np.arange(RATE, dtype="<i2") + 2
    (tmp_path / "sound").write_bytes(wav_header(RATE, 2) + np.stack([left, right], 1).tobytes())
    said = "arecord: set_params:1403: Channels count non available"
    refuse = f'case "$*" in *--channels=1*) echo "{said}" >&2; exit 1;; esac'
    double(tmp_path, f"{refuse}\ncat {tmp_path}/sound; sleep 30", monkeypatch)
    microphone, chunks = listen("hw:0")
    assert np.array_equal(chunks.samples(RATE // 2), left[: RATE // 2] + 1)
    end(microphone, chunks)


def test_chatter_on_stderr_does_not_stop_the_recording(tmp_path, monkeypatch):
    (tmp_path / "sound").write_bytes(wav_header(RATE) + bytes(4 * RATE))
    noise = "i=0; while [ $i -lt 3000 ]; do echo overrun overrun overrun overrun >&2; i=$((i+1)); done"
    double(tmp_path, f"{noise}; cat {tmp_path}/sound; sleep 30", monkeypatch)
    microphone, chunks = listen("")
    assert len(chunks.samples(RATE)) == RATE
    end(microphone, chunks)


def test_the_double_refuses_what_the_real_one_refuses(tmp_path, monkeypatch):
    double(tmp_path, "exit 0", monkeypatch)
    done = subprocess.run([str(tmp_path / "arecord"), "--type=raw"], capture_output=True, check=False)
    assert done.returncode == 1 and b"unrecognized option" in done.stderr
