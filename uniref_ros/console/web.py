"""The web server: the page, the connection of each browser, and who may have them."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from uniref_ros.console.audience import MAX_MESSAGE, Farewell, Socket
from uniref_ros.console.options import is_loopback

PAGE = Path(__file__).parent / "page"
_GOODBYE = 1.0  # s for a close frame to be sent
_WRONG_TOKEN_DELAY = 0.5  # s
_SPARE = 32  # connections beside those of the browsers: the page's files, health
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


class Door:
    """Who may come in."""

    def __init__(self, settings: Mapping[str, Any], port: int) -> None:
        self._token = settings["token"]
        self._host = settings["host"]
        self._origins = {origin.rstrip("/").lower() for origin in settings["origins"] if origin}
        self.cookie = f"uniref_console_{port}"
        """Cookies know no ports, so two consoles of one machine need two names."""

    def is_right(self, token: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(token.encode(), self._token.encode())

    def has_token(self, connection: HTTPConnection) -> bool:
        """Whether the token is not needed, or came as cookie or bearer."""
        if not self._token:
            return True
        scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else connection.cookies.get(self.cookie, "")
        return self.is_right(given)

    def knows_host(self, connection: HTTPConnection) -> bool:
        """Whether the page was asked for under a name of ours.

        Without a token: a stranger's name that leads to a loopback address would make his page one of ours.
        """
        host = connection.headers.get("host", "").lower()
        name = _parts(f"//{host}").hostname or ""
        if self._token or name == self._host or is_loopback(name):
            return True
        return any(_parts(origin).netloc == host for origin in self._origins)

    def knows_origin(self, connection: HTTPConnection) -> bool:
        """Whether the page that asks is ours. What is no browser names none."""
        origin = connection.headers.get("origin")
        if origin is None:
            return True
        host = connection.headers.get("host", "").lower()
        return _parts(origin).netloc.lower() == host or origin.rstrip("/").lower() in self._origins


def _parts(url: str) -> SplitResult:
    """A URL's parts, none of them for what is no URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


class _Open:
    """A WebSocket of which one exception says that the other end has gone, whoever closed it."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.receive = socket.receive

    async def send_text(self, data: str) -> None:
        await self._send(self._socket.send_text(data))

    async def send_bytes(self, data: bytes) -> None:
        await self._send(self._socket.send_bytes(data))

    async def close(self, code: int, reason: str) -> None:
        await self._send(self._socket.close(code, reason))

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except RuntimeError as error:  # uvicorn has closed it: a message too large, or its own end
            raise WebSocketDisconnect(1006) from error


Serve = Callable[[Socket], Awaitable[None]]
"""Serves one browser; raises Farewell."""


def make_app(door: Door, serve: Serve, health: Callable[[], Mapping[str, Any]], secure: bool) -> Starlette:
    """The application. health: plain data for /health. secure: it is served by https."""

    async def index(request: Request) -> Response:
        token = request.query_params.get("token")
        if token is not None and door.is_right(token):
            answer = RedirectResponse("./", 303)  # so that it does not stay in the address
            answer.set_cookie(door.cookie, token, httponly=True, samesite="lax", secure=secure)
            return answer
        if token is not None:
            await asyncio.sleep(_WRONG_TOKEN_DELAY)
        if not door.has_token(request):
            return _token_page(refused=token is not None)
        return FileResponse(PAGE / "index.html")

    async def tell_health(_: Request) -> Response:
        return JSONResponse(dict(health()))

    async def connect(browser: WebSocket) -> None:
        for refused, reason in (
            (not door.knows_origin(browser), "foreign origin"),
            (not door.has_token(browser), "wrong token"),
        ):
            if refused:
                await browser.send_denial_response(PlainTextResponse(f"{reason}\n", 403))
                return
        await browser.accept()
        opened = _Open(browser)
        with contextlib.suppress(WebSocketDisconnect):
            try:
                await serve(opened)
            except Farewell as farewell:
                with contextlib.suppress(asyncio.TimeoutError):  # one that takes nothing takes no goodbye
                    await asyncio.wait_for(opened.close(farewell.code, farewell.reason), _GOODBYE)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/health", tell_health),
            WebSocketRoute("/browser", connect),
            Mount("/", StaticFiles(directory=PAGE, follow_symlink=True)),  # for colcon --symlink-install
        ],
        middleware=[Middleware(_Manners, door=door)],
    )


def _token_page(*, refused: bool) -> Response:
    """The page that asks for the token. refused: whether it says that the one that was given is wrong."""
    page = (PAGE / "token.html").read_text(encoding="utf-8")
    return HTMLResponse(page.replace(" hidden>", ">") if refused else page, 403 if refused else 401)


class _Manners:
    """ASGI middleware: refuses hosts that are not ours, and says what a browser may do with the page."""

    def __init__(self, app: Any, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if not self._door.knows_host(HTTPConnection(scope)):
            await self._refuse(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                known = {name for name, _ in message["headers"]}
                own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in own if pair[0] not in known)]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _refuse(self, scope: Any, receive: Any, send: Any) -> None:
        answer = PlainTextResponse("this is not a name of the console: see parameter origins\n", 421)
        if scope["type"] == "http":
            await answer(scope, receive, send)
        else:
            await WebSocket(scope, receive, send).send_denial_response(answer)


class WebServer:
    """uvicorn in a thread of its own."""

    def __init__(self, app: Starlette, listening: socket.socket, settings: Mapping[str, Any]) -> None:
        secure = {"ssl_certfile": settings["certificate"], "ssl_keyfile": settings["key"]}
        self._socket = listening
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="websockets-sansio",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level=logging.WARNING,  # lower ones name addresses with the token in them
                access_log=False,
                server_header=False,
                ws_max_size=MAX_MESSAGE,
                ws_per_message_deflate=False,  # JPEG does not shrink
                limit_concurrency=settings["max_browsers"] + _SPARE,
                timeout_graceful_shutdown=1,
                **(secure if settings["certificate"] else {}),
            )
        )
        self._thread = threading.Thread(target=self._run, name="console web", daemon=True)
        self.error: BaseException | None = None
        """What ended it, when it was not `stop`."""
        self.ended = threading.Event()

    def start(self, on_loop: Callable[[asyncio.AbstractEventLoop], None], on_end: Callable[[], None]) -> None:
        """Begin to serve. on_loop: called in the thread with its loop. on_end: called when it has ended."""
        self._on_loop, self._on_end = on_loop, on_end
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Serve no more."""
        self._server.should_exit = True
        self._thread.join(timeout)
        self._socket.close()

    async def _serve(self) -> None:
        self._on_loop(asyncio.get_running_loop())
        await self._server.serve(sockets=[self._socket])

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # SystemExit too, by which uvicorn says that it cannot start
            self.error = error
        finally:
            self.ended.set()
            self._on_end()
