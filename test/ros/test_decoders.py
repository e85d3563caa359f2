"""What decoders write to the terminal by themselves is heard, and nothing else is lost over it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from uniref_model.errors import ImageError
from uniref_ros.conversion import compressed_to_rgb
from uniref_ros.decoders import overheard

SMOOTH = cv2.resize(np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8), (160, 120))


def padded_jpeg() -> bytes:
    """As many webcams send them: with bytes before the end that mean nothing."""
    data = cv2.imencode(".jpg", SMOOTH)[1].tobytes()
    return data[:-2] + b"\0\1\2\3" * 3 + data[-2:]


def decode(data: bytes) -> np.ndarray:
    return compressed_to_rgb(SimpleNamespace(format="jpeg", data=data))


def test_a_decoders_words_are_told_and_kept_from_the_terminal(capfd):
    decode(padded_jpeg())
    assert "Corrupt JPEG data" in capfd.readouterr().err, "else this test shows nothing"
    said: list[str] = []
    for _ in range(3):
        with overheard(said.append):
            assert decode(padded_jpeg()).shape == SMOOTH.shape
    assert len(said) == 3 and said[0].startswith("Corrupt JPEG data") and capfd.readouterr().err == ""
    with overheard(said.append):
        decode(cv2.imencode(".jpg", SMOOTH)[1].tobytes())
    assert len(said) == 3


def test_an_error_goes_its_way_and_the_terminal_is_back(capfd):
    png = bytearray(cv2.imencode(".png", SMOOTH)[1].tobytes())
    png[len(png) // 2] ^= 255
    said: list[str] = []
    with pytest.raises(ImageError, match="could be decoded"), overheard(said.append):
        decode(bytes(png))
    assert said == ["libpng error: IDAT: CRC error"]
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_what_others_write_meanwhile_gets_to_the_terminal(capfd):
    said: list[str] = []
    with overheard(said.append):
        line = 2, b"[WARN] [1.5] [node]: a line\n"
        others = [threading.Thread(target=os.write, args=line) for _ in range(9)]
        for other in others:
            other.start()
        decode(padded_jpeg())
        for other in others:
            other.join()
    assert capfd.readouterr().err == "[WARN] [1.5] [node]: a line\n" * 9 and len(said) == 1


def test_many_threads_and_many_pictures_leave_no_file_open(capfd):
    said: list[str] = []

    def work() -> None:
        for _ in range(50):
            with overheard(said.append):
                decode(padded_jpeg())

    work()
    before = len(os.listdir("/proc/self/fd"))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(os.listdir("/proc/self/fd")) == before and len(said) == 250
    assert capfd.readouterr().err == ""


def test_a_process_without_a_terminal_decodes_as_well():
    program = ["import os", "os.close(2)", "from uniref_ros.decoders import overheard"]
    program += ["with overheard(print): print('done')"]
    done = subprocess.run([sys.executable, "-c", "\n".join(program)], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"done\n"
