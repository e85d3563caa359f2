"""Stands for browsers that look at the console: `python -m benchmarks.node.browsers HOST:PORT COUNT`.

A labelled double, as cheap as can be: real browsers run on other machines. Each connects as it does,
acknowledges every picture at once, and decodes none. It ends on SIGINT and prints one line of JSON: pictures,
their ages, and what CPU the doubles themselves took.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
import sys
import time

import numpy as np

_BUFFER = 4 * 1024 * 1024  # bytes: more than the largest message
_BINARY, _CLOSE = 2, 8  # opcodes of RFC 6455


class Browser:
    """One connection. ages: of each picture in ms, from its image's stamp to its arrival."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.ages: list[float] = []
        self.closed = ""
        self._data = memoryview(bytearray(_BUFFER))
        self._filled = 0
        self._join(address)
        self.socket.setblocking(False)

    def _join(self, address: str) -> None:
        self.socket.sendall(
            f"GET /browser HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"refused: {answer.decode()}")

    def read(self) -> None:
        """Take what has come."""
        count = self.socket.recv_into(self._data[self._filled :])
        if not count:
            self.closed = self.closed or "the connection broke"
            return
        self._filled += count
        at = 0
        while (size := self._message(at)) is not None:
            at += size
        self._data[: self._filled - at] = bytes(self._data[at : self._filled])
        self._filled -= at

    def _message(self, at: int) -> int | None:
        """Handle the message that begins there; its length with its head, None when it is not whole yet."""
        have = self._filled - at
        if have < 10:  # no message of the console is as short as two bytes of head and seven of text
            return None
        opcode, length = self._data[at] & 15, self._data[at + 1]
        head = 2
        if length >= 126:
            form, head = ("!H", 4) if length == 126 else ("!Q", 10)
            length = struct.unpack_from(form, self._data, at + 2)[0]
        if have < head + length:
            return None
        if opcode == _BINARY:
            self._picture(at + head)
        elif opcode == _CLOSE:
            self.closed = bytes(self._data[at + head + 2 : at + head + length]).decode()
        return head + length

    def _picture(self, at: int) -> None:
        size = struct.unpack_from("<I", self._data, at)[0]
        header = json.loads(bytes(self._data[at + 4 : at + 4 + size]))
        sec, nanosec = header["stamp"]
        self.ages.append(1e3 * (time.time() - sec - 1e-9 * nanosec))
        text = f'{{"type": "shown", "number": {header["number"]}}}'.encode()
        # masked, as a client must, by a mask of zeros
        self.socket.send(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)


def run(address: str, count: int) -> dict[str, object]:
    """Look with so many until SIGINT; what they saw."""
    over = False

    def end(*_: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGINT, end)
    browsers = [Browser(address) for _ in range(count)]
    began, used = time.monotonic(), sum(os.times()[:2])
    with selectors.DefaultSelector() as selector:
        for browser in browsers:
            selector.register(browser.socket, selectors.EVENT_READ, browser)
        while not over and not any(browser.closed for browser in browsers):
            for key, _ in selector.select(0.2):
                key.data.read()
    seconds = time.monotonic() - began
    ages = [age for browser in browsers for age in browser.ages] or [float("nan")]
    rates = [len(browser.ages) / seconds for browser in browsers]
    return {
        "pictures_per_s": {"least": round(min(rates), 2), "mean": round(float(np.mean(rates)), 2)},
        "age_ms": dict(zip(("p50", "p95", "p99"), np.percentile(ages, (50, 95, 99)).round(1), strict=True)),
        "own_cpu": round((sum(os.times()[:2]) - used) / seconds, 3),
        "faults": [browser.closed for browser in browsers if browser.closed],
    }


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]))), flush=True)
