"""Helpers of the console's tests: a camera that keeps publishing, a link that is slow, a real browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from fake_runtime import COLOURS, scene
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from uniref_ros.conversion import fill_image

CONSOLE = ["-m", "uniref_ros.console.node"]
CURE = "apt install chromium, and pip install playwright"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Scene = Callable[[int], np.ndarray]
"""The picture with this number, uint8 RGB [h,w,3]."""


class CameraThread:
    """Publishes pictures on a topic at a steady rate, each with the time as its stamp."""

    def __init__(self, node: Node, picture: Scene, rate: float = 15.0, topic: str = "image") -> None:
        self._publisher = node.create_publisher(Image, topic, QoSProfile(depth=2))
        self._node, self.picture, self._rate = node, picture, rate
        self.numbers: dict[tuple[int, int], int] = {}
        """The picture's number by (sec, nanosec) of its stamp."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> CameraThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._node.destroy_publisher(self._publisher)

    def _run(self) -> None:
        number = 0
        while not self._over.wait(1 / self._rate):
            nanoseconds = time.time_ns()
            stamp = Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
            self.numbers[stamp.sec, stamp.nanosec] = number
            header = Header(stamp=stamp, frame_id="camera_optical")
            self._publisher.publish(fill_image(Image(), self.picture(number), "rgb8", header))
            number += 1


def wandering(number: int) -> np.ndarray:
    """Green goes to and fro at the top; red and blue stand below it."""
    x = 20 + abs(number * 4 % 240 - 120)
    return scene(
        ("green", (x, 10, 40, 40)), ("red", (30, 70, 40, 40)), ("blue", (140, 70, 50, 40)), size=(128, 224)
    )


def colour_at(pixels: np.ndarray, x: float, y: float) -> str:
    """The name of the colour there, "" for another one."""
    return nearest(pixels[int(y), int(x)])


def nearest(rgb: Any) -> str:
    """The name of the double's colour near this one, "" when none is."""
    far = {name: np.linalg.norm(np.subtract(rgb[:3], colour)) for name, colour in COLOURS.items()}
    best = min(far, key=far.get)
    return best if far[best] < 60 else ""


class SlowLink:
    """A TCP link to a port, on which every byte takes `delay` seconds, in either direction."""

    def __init__(self, target: int, delay: float) -> None:
        self._target, self._delay = target, delay
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> SlowLink:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                self._loop.run_until_complete(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        with contextlib.suppress(asyncio.CancelledError):  # at the end; asyncio would log it
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self._loop.call_later(self._delay, writer.write, data)
        self._loop.call_later(self._delay, writer.close)


def free_port() -> int:
    """A TCP port that nobody has at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def fetch(url: str, context: ssl.SSLContext | None = None, **headers: str) -> tuple[int, str]:
    """Status and text of a page."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_for(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
    """The condition's value once it holds; fails otherwise, saying what was waited for."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError):
            if value := condition():
                return value
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.05)


def until_served(port: int, *nodes: Any) -> dict[str, Any]:
    """Wait until the console knows its tracker; what it says of its health. nodes: that must be running."""

    def healthy() -> dict[str, Any] | None:
        for node in nodes:
            assert node.running, node.text()
        health = json.loads(fetch(f"http://127.0.0.1:{port}/health")[1])
        return health if health["tracker"] and health["cameras"] else None

    return wait_for(healthy, "the console to find the tracker")


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """Debian's Chromium by playwright; skips by name where one is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason=f"playwright is not installed: {CURE}")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip(f"there is no chromium here: {CURE}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, headless=True, args=[*FLAGS, *flags])
        yield browser
        browser.close()


class Page:
    """The console in one browser window, and what a person does with it."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        """options: of playwright's new_context."""
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda line: line.type == "error" and self.faults.append(line.text))
        self.page.add_init_script(
            "window.sent = []; const send = WebSocket.prototype.send;"
            "WebSocket.prototype.send = function (data) {"
            "  const order = typeof data === 'string' ? JSON.parse(data) : { type: 'audio' };"
            "  if (order.type !== 'shown') window.sent.push(order);"
            "  return send.call(this, data); };"
        )
        self.page.goto(url)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def wait(self, script: str, timeout: float = 20.0) -> Any:
        """Wait for a script to give something true; its value."""
        # Playwright's own waiting evaluates text in the page, which the console's policy forbids.
        return wait_for(lambda: self.page.evaluate(script), f"{script}; faults: {self.faults}", timeout)

    def sees_pictures(self) -> None:
        """Wait until pictures move."""
        self.page.wait_for_selector(".view[data-stamp]", timeout=20000)
        before = self.stamp()
        self.wait(f"document.querySelector('.view').dataset.stamp !== '{before}'")

    def stamp(self) -> str:
        """The stamp of the picture that is shown."""
        return self.page.evaluate("document.querySelector('.view').dataset.stamp")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the image is in the window."""
        left, top, width, height, across, down = self.page.evaluate(
            "(() => { const c = document.querySelector('canvas'), r = c.getBoundingClientRect();"
            "return [r.left, r.top, r.width, r.height, c.width, c.height]; })()"
        )
        return left + (x + 0.5) * width / across, top + (y + 0.5) * height / down

    def pixel(self, x: float, y: float) -> list[int]:
        """RGBA of the picture that is shown."""
        return self.page.evaluate(
            f"[...document.querySelector('canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data]"
        )

    def click(self, x: float, y: float, *, shift: bool = False) -> None:
        """Click at a pixel of the image."""
        if shift:
            self.page.keyboard.down("Shift")
        self.page.mouse.click(*self.place(x, y))
        if shift:
            self.page.keyboard.up("Shift")

    def drag(self, left: float, top: float, right: float, bottom: float) -> None:
        """Draw a box in pixels of the image."""
        mouse = self.page.mouse
        mouse.move(*self.place(left, top))
        mouse.down()
        mouse.move(*self.place((left + right) / 2, bottom), steps=3)
        mouse.move(*self.place(right, bottom), steps=3)
        mouse.up()

    def type(self, words: str) -> None:
        """Type words and press Enter."""
        self.page.fill("#words-input", words)
        self.page.press("#words-input", "Enter")

    def ids(self) -> list[str]:
        """The ids in the list of objects."""
        return self.page.evaluate("[...document.querySelectorAll('.object')].map((one) => one.dataset.id)")

    def has(self, *ids: str) -> None:
        """Wait until the list holds these objects and no others."""
        self.wait(
            "JSON.stringify([...document.querySelectorAll('.object')].map((one) => one.dataset.id).sort())"
            f" === {json.dumps(json.dumps(sorted(ids), separators=(',', ':')))}"
        )

    def text(self, selector: str) -> str:
        """The text of an element."""
        return self.page.inner_text(selector)

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """The orders of this type that the page has sent."""
        return [one for one in self.page.evaluate("window.sent") if one["type"] == kind]
