"""The browsers that look: each gets the newest there is as fast as it takes it; none waits for another."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Coroutine, MutableMapping
from dataclasses import asdict
from typing import Any, Protocol

from uniref_model.errors import UniRefError
from uniref_model.limits import clipped
from uniref_ros.console.desk import Desk
from uniref_ros.console.manners import Allowance, Window
from uniref_ros.console.orders import OrderError, flag, read_message, read_order, whole
from uniref_ros.console.pictures import Picture
from uniref_ros.console.talk import Floor

MAX_MESSAGE = 16 * 1024
"""Bytes of one message of a browser."""
STALLED_AFTER = 10.0
"""Seconds after which a browser that takes nothing is given up."""
_MESSAGES, _BURST = 60.0, 120.0  # a second, and at once; audio comes 16 times a second
_MOST_LINES = 32  # that wait for a browser
_MOST_ORDERS = 4  # of a browser that are being carried out
_LOOK = 1.0  # s between looks whether a browser still takes anything
_REASON = 100  # characters: a close frame holds 123 bytes

POLICY, TRY_LATER = 1008, 1013
"""Codes of RFC 6455 and its registry with which a connection is closed."""


class Farewell(Exception):
    """The connection is to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, clipped(reason, _REASON)


class Socket(Protocol):
    """What is asked of a WebSocket: starlette's has it."""

    async def send_text(self, data: str) -> None: ...
    async def send_bytes(self, data: bytes) -> None: ...
    async def receive(self) -> MutableMapping[str, Any]: ...


class Audience:
    """All browsers. Everything here happens in the server's loop, but for the two counts."""

    def __init__(self, most: int, max_rate: float) -> None:
        """most: browsers at once. max_rate: pictures a second for each browser and camera."""
        self._most = most
        self._max_rate = max_rate
        self._browsers: set[Browser] = set()
        self._pictures: dict[str, Picture] = {}
        self._texts: dict[str, str] = {}
        self.count = 0
        """Browsers that are connected."""
        self.watching = 0
        """Browsers that look at pictures; one in the background does not."""

    def deliver(self, newest: dict[tuple[str, str], Any], lines: list[str]) -> None:
        """Give news to every browser. newest: by ("picture", camera) a Picture, by ("text", kind) a text of
        which only the newest counts. lines: texts that each count."""
        for (what, key), item in newest.items():
            (self._pictures if what == "picture" else self._texts)[key] = item
        for browser in self._browsers:
            for (what, key), item in newest.items():
                browser.news(what, key, item)
            for line in lines:
                browser.line(line)

    async def serve(self, socket: Socket, desk: Desk, floor: Floor) -> None:
        """Serve one browser until it leaves. Raises Farewell when it has to."""
        if len(self._browsers) >= self._most:
            raise Farewell(TRY_LATER, f"{self._most} browsers are connected already, more are not served")
        browser = Browser(socket, desk, floor, self._max_rate, self._recount)
        self._browsers.add(browser)
        self._recount()
        for kind, text in self._texts.items():
            browser.news("text", kind, text)
        for camera, picture in self._pictures.items():
            browser.news("picture", camera, picture)
        try:
            await browser.serve()
        finally:
            self._browsers.discard(browser)
            self._recount()
            await floor.leave(browser)

    def _recount(self) -> None:
        self.count = len(self._browsers)
        self.watching = sum(browser.looks for browser in self._browsers)
        if not self.watching:
            self._pictures.clear()  # the next one to look is not shown what was long ago


class Browser:
    """One browser: what it is to be sent, and what it sends."""

    def __init__(self, socket: Socket, desk: Desk, floor: Floor, max_rate: float, on_looks: Any) -> None:
        """on_looks: called when it begins or ceases to look at pictures."""
        self.looks = True
        self._socket, self._desk, self._floor = socket, desk, floor
        self._on_looks = on_looks
        self._window = Window()
        self._max_rate = max_rate
        self._rates: dict[str, Allowance] = {}
        self._allowance = Allowance(_MESSAGES, _BURST, time.monotonic())
        self._pictures: dict[str, Picture] = {}
        self._texts: dict[str, str] = {}
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._something = asyncio.Event()
        self._orders: set[asyncio.Task] = set()
        self._sending_since: float | None = None

    def news(self, what: str, key: str, item: Any) -> None:
        """What it is to be sent next; it replaces what was not sent yet."""
        if what == "text":
            self._texts[key] = item
        elif self.looks:
            self._pictures.pop(key, None)
            self._pictures[key] = item  # the camera that waits longest is first
        self._something.set()

    def line(self, text: str) -> None:
        """A text that is to be sent in any case; of very many the newest."""
        self._lines.append(text)
        self._something.set()

    async def serve(self) -> None:
        """Send and receive until it leaves. Raises Farewell."""
        tasks = [asyncio.ensure_future(work) for work in (self._send(), self._receive(), self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in [*tasks, *self._orders]:
                task.cancel()
            await asyncio.gather(*tasks, *self._orders, return_exceptions=True)

    # ---- to the browser

    async def _send(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            while (text := self._next_text()) is not None:
                await self._timed(self._socket.send_text(text))
            while (picture := self._next_picture(time.monotonic())) is not None:
                self._window.sent(picture.number, time.monotonic())
                await self._timed(self._socket.send_bytes(picture.message))

    async def _timed(self, sending: Coroutine[Any, Any, None]) -> None:
        self._sending_since = time.monotonic()
        await sending
        self._sending_since = None

    def _next_text(self) -> str | None:
        if self._lines:
            return self._lines.popleft()
        return self._texts.pop(next(iter(self._texts))) if self._texts else None

    def _next_picture(self, now: float) -> Picture | None:
        if not self._window.has_room():
            return None  # the next acknowledgement wakes this up
        for camera in list(self._pictures):
            picture = self._pictures.pop(camera)
            rate = self._rates.setdefault(camera, Allowance(self._max_rate, 2.0, now))
            if rate.take(now):
                return picture
        return None

    async def _watch(self) -> None:
        """Give up a browser that takes nothing, so that what it was sent does not stay in memory."""
        while True:
            await asyncio.sleep(_LOOK)
            now = time.monotonic()
            sending = now - self._sending_since if self._sending_since is not None else 0.0
            if max(sending, self._window.oldest(now)) > STALLED_AFTER:
                raise Farewell(POLICY, f"this browser took nothing for {STALLED_AFTER:.0f} s")

    # ---- from the browser

    async def _receive(self) -> None:
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            now = time.monotonic()
            text, data = message.get("text"), message.get("bytes") or b""
            size = len(data if text is None else text)
            if size > MAX_MESSAGE:
                raise Farewell(1009, f"a message of {size} bytes, more than {MAX_MESSAGE}")
            try:
                if text is None:
                    self._spend(now)
                    self._floor.hear(self, data, now)
                else:
                    self._take(text, now)
            except UniRefError as error:
                self._answer(None, ok=False, message=str(error))

    def _spend(self, now: float) -> None:
        if not self._allowance.take(now):
            raise Farewell(POLICY, f"more than {_MESSAGES:.0f} messages a second")

    def _take(self, text: str, now: float) -> None:
        try:
            kind, fields = read_message(text)
        except OrderError:
            self._spend(now)
            raise
        if kind == "shown" and self._window.arrived(whole(fields, "number"), now):
            self._something.set()
            return
        self._spend(now)
        if kind == "shown":
            return
        if kind == "look":
            self._look(flag(fields, "pictures"))
            return
        self._start(kind, fields, now)

    def _look(self, pictures: bool) -> None:
        self.looks = pictures
        if not pictures:
            self._pictures.clear()
        self._on_looks()

    def _start(self, kind: str, fields: dict[str, Any], now: float) -> None:
        request = whole(fields, "request")
        try:
            if len(self._orders) >= _MOST_ORDERS:
                raise OrderError(f"{_MOST_ORDERS} orders are being carried out, one more was refused")
            if kind == "talk":
                work = self._talk(request, flag(fields, "down"), now)
            else:
                work = self._carry_out(request, read_order(kind, fields))
        except UniRefError as error:
            self._answer(request, ok=False, message=str(error))
            return
        task = asyncio.ensure_future(work)
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    async def _carry_out(self, request: int, order: Any) -> None:
        try:
            reply = asdict(await self._desk.carry_out(order))
        except UniRefError as error:
            reply = {"ok": False, "message": str(error)}
        except Exception as error:  # of a middleware that is going down, for one: it is said, not swallowed
            reply = {"ok": False, "message": f"internal error: {type(error).__name__}: {error}"}
        self._answer(request, **reply)

    async def _talk(self, request: int, down: bool, now: float) -> None:
        try:
            if down:
                self._floor.take(self, now)
            else:
                await self._floor.leave(self)
        except UniRefError as error:
            self._answer(request, ok=False, message=str(error))
        else:
            self._answer(request, ok=True, message="")

    def _answer(self, request: int | None, **fields: Any) -> None:
        self.line(json.dumps({"type": "answer", "request": request, **fields}))
