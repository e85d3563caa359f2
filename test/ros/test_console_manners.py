"""How the console treats whoever connects: tokens, origins, floods, browsers that are slow or do not read."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")
pytest.importorskip("starlette", reason="starlette is not installed (pip install '.[console]' has it)")
pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install '.[console]' has it)")
pytest.importorskip("websockets", reason="websockets is not installed (pip install '.[console]' has it)")

from console_rig import CONSOLE, CameraThread, fetch, free_port, until_served, wait_for, wandering
from ros_help import NodeProcess, Peer
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from uniref_ros.console.options import OPTIONS, ConsoleError, check, check_certificate, open_socket

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def stand(tmp_path_factory, ros):
    """A tracker and a console that asks for a token: (its process, its port)."""
    folder, port = tmp_path_factory.mktemp("manners"), free_port()
    peer = Peer()
    parameters = (f"port:={port}", f"token:={TOKEN}", "max_browsers:=4")
    tracker = NodeProcess(
        folder / "tracker.log", "diagnostics_period:=0.2", f"known_objects:={folder / 'known'}"
    )
    console = NodeProcess(folder / "console.log", *parameters, program=CONSOLE)
    with tracker, console, CameraThread(peer, wandering):
        until_served(port, tracker, console)
        yield console, port
        assert console.running and "Traceback" not in console.text()
    peer.destroy_node()


def join(port: int, token: str = TOKEN, **options):
    """A connection as a browser has it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"ws://127.0.0.1:{port}/browser"
    return connect(url, additional_headers=headers, max_size=None, compression=None, **options)


def header(message: bytes) -> dict:
    """What stands before a picture's JPEG."""
    size = int.from_bytes(message[:4], "little")
    assert message[4 + size :][:2] == b"\xff\xd8", "a JPEG follows"
    return json.loads(message[4 : 4 + size])


def next_picture(browser) -> dict:
    """The header of the next picture; texts are passed over."""
    while isinstance(message := browser.recv(timeout=20), str):
        pass
    return header(message)


class Looker:
    """A browser that looks on, as a page does: it acknowledges every picture, else it would be given up."""

    def __init__(self, browser) -> None:
        self.pictures = 0
        self._browser = browser
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Looker:
        self._thread.start()
        wait_for(lambda: self.pictures, "a first picture")
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._thread.join(10)

    def goes_on(self) -> None:
        """Wait until pictures have come since now."""
        before = self.pictures
        wait_for(lambda: self.pictures > before + 2, "the pictures to go on")

    def _run(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                number = next_picture(self._browser)["number"]
                self._browser.send(json.dumps({"type": "shown", "number": number}))
                self.pictures += 1


def refusal(**options) -> tuple[int, str]:
    """Status and reason with which a connection is refused."""
    with pytest.raises(InvalidStatus) as caught:
        join(**options)
    return caught.value.response.status_code, caught.value.response.body.decode().strip()


def goodbye(browser) -> ConnectionClosed:
    """Read until the console closes; how it did."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            browser.recv(timeout=30)
    return caught.value.rcvd


def test_a_wrong_token_opens_nothing(stand):
    _, port = stand
    url = f"http://127.0.0.1:{port}/"
    says_refused = '<p id="refusal" role="alert">'
    status, text = fetch(url)
    assert status == 401 and 'name="token"' in text and "main.js" not in text and says_refused not in text
    status, text = fetch(f"{url}?token=wrong-horse-battery-staple")
    assert status == 403 and 'name="token"' in text and says_refused in text
    assert refusal(port=port, token="") == (403, "wrong token")
    assert refusal(port=port, token="wrong-horse-battery-staple") == (403, "wrong token")
    status, text = fetch(f"{url}?token={TOKEN}")  # urllib follows, without the cookie
    assert status == 401, "the token does not stay in the address"
    assert fetch(url, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert fetch(url, Cookie=f"uniref_console_{port}={TOKEN}")[0] == 200


def test_a_foreign_page_cannot_connect(stand):
    _, port = stand
    assert refusal(port=port, origin="https://stranger.example") == (403, "foreign origin")
    assert refusal(port=port, origin=f"http://127.0.0.1:{port + 1}") == (403, "foreign origin")
    for odd in ("null", "http://[", ""):
        assert refusal(port=port, origin=odd) == (403, "foreign origin")
    with join(port, origin=f"http://127.0.0.1:{port}") as browser:
        assert next_picture(browser)["camera"] == ""


def test_pages_say_what_a_browser_may_do_with_them(stand):
    _, port = stand
    text = subprocess.run(
        ["curl", "-sI", "-X", "GET", f"http://127.0.0.1:{port}/style.css"], capture_output=True, text=True
    ).stdout.lower()
    assert "content-security-policy: default-src 'self'" in text and "frame-ancestors 'none'" in text
    assert "nosniff" in text and "access-control-allow-origin" not in text


def test_a_thousand_messages_a_second_end_the_connection(stand):
    _, port = stand
    with join(port) as browser, join(port) as looking, Looker(looking) as other:
        with pytest.raises(ConnectionClosed):
            for number in range(1000):
                browser.send(json.dumps({"type": "remove", "id": "x", "request": number}))
            goodbye(browser)
            raise ConnectionClosed(None, None)
        assert browser.protocol.close_rcvd.code == 1008
        assert browser.protocol.close_rcvd.reason == "more than 60 messages a second"
        other.goes_on()


@pytest.mark.parametrize("message", ["x" * 20_000, b"\0" * 20_000])
def test_a_large_message_ends_the_connection(stand, message):
    _, port = stand
    with join(port) as browser:
        browser.send(message)
        assert goodbye(browser).code == 1009


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("no json", "is no JSON"),
        ("[" * 5000, "is no JSON"),
        ("[1, 2]", "expected an object with a type"),
        ('{"type": "remove", "id": "x"}', "request is 'None', expected a whole number"),
        ('{"type": "fly", "request": 7}', "there is no order 'fly', expected one of click, box, say"),
        ('{"type": "say", "text": "", "request": 7}', "the text is empty"),
        ('{"type": "say", "text": "a\\u001bb", "request": 7}', "control character"),
        ('{"type": "say", "text": 3, "request": 7}', "must be text"),
        ('{"type": "remove", "id": "no-such", "request": 7}', "'no-such'"),
        ('{"type": "enable", "on": 1, "request": 7}', "on is '1', expected true or false"),
        (
            '{"type": "box", "camera": "", "stamp": [1, 2], "box": [0, 0, 1e999, 2], "request": 7}',
            "box is 'inf', expected pixels",
        ),
        (
            '{"type": "click", "camera": "", "stamp": [1], "x": 1, "y": 2, "not_that": false, "request": 7}',
            "stamp is '[1]', expected [seconds, nanoseconds]",
        ),
        (
            '{"type": "click", "camera": "attic", "stamp": [1, 2], "x": 1, "y": 2, "not_that": false, '
            '"request": 7}',
            "there is no camera 'attic'",
        ),
        (b"\0\0\0", "3 bytes of audio"),
        ('{"type": "talk", "down": true, "request": 7}', "start voice_command with source:=topic"),
    ],
)
def test_a_bad_message_is_answered_by_what_is_wrong(stand, message, words):
    _, port = stand
    with join(port) as browser:
        browser.send(message)
        answer = {}
        while answer.get("type") != "answer":
            text = browser.recv(timeout=20)
            answer = json.loads(text) if isinstance(text, str) else {}
        assert answer["ok"] is False and words in answer["message"]


def test_a_browser_that_is_slow_gets_fewer_pictures_and_never_old_ones(stand):
    _, port = stand
    with join(port) as browser:
        browser.send(json.dumps({"type": "shown", "number": next_picture(browser)["number"]}))
        ages, numbers = [], []
        for _ in range(6):
            picture = next_picture(browser)
            sec, nanosec = picture["stamp"]
            ages.append(time.time() - sec - nanosec * 1e-9)
            numbers.append(picture["number"])
            time.sleep(0.6)  # what it takes it to show one
            browser.send(json.dumps({"type": "shown", "number": picture["number"]}))
        steps = [after - before for before, after in itertools.pairwise(numbers)]
        assert max(steps) > 3, "pictures were left out"
        assert len(numbers) == len(set(numbers)) and numbers == sorted(numbers)
        # Those that were on their way when it slept are as old as its sleep, and no older.
        assert max(ages) < 3.0


def test_a_browser_that_stops_reading_is_given_up_and_slows_nobody(stand):
    console, port = stand
    before = console.memory_mb()
    with join(port) as other, socket.create_connection(("127.0.0.1", port)) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.sendall(
            f"GET /browser HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        wait_for(lambda: browsers(port) == 2, "both to be connected")
        ages, deadline = [], time.monotonic() + 30
        while browsers(port) == 2:
            assert time.monotonic() < deadline, "it was not given up"
            picture = next_picture(other)
            ages.append(time.time() - picture["stamp"][0] - 1e-9 * picture["stamp"][1])
            other.send(json.dumps({"type": "shown", "number": picture["number"]}))
        assert len(ages) > 50 and sorted(ages)[len(ages) // 2] < 1.0
        assert console.memory_mb() - before < 30


def browsers(port: int) -> int:
    """How many are connected, by the console's own count."""
    return json.loads(fetch(f"http://127.0.0.1:{port}/health")[1])["browsers"]


def test_one_browser_too_many_is_told_so(stand):
    _, port = stand
    wait_for(lambda: browsers(port) == 0, "earlier ones to be gone")
    with join(port), join(port), join(port), join(port):
        with join(port) as fifth:
            last = goodbye(fifth)
        assert last.code == 1013 and "4 browsers are connected already" in last.reason


DEFAULTS = {option.name: option.default for option in OPTIONS}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"host": "0.0.0.0"}, "can be reached from other machines, so a token is needed"),
        ({"host": "::"}, "so a token is needed"),
        ({"host": "robot.local"}, "so a token is needed"),
        ({"token": "short"}, "token has 5 characters, expected 16 or more"),
        ({"token": "sixteen letters!"}, "no spaces"),
        ({"certificate": "no.pem"}, "certificate and key go together"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(given, reason):
    with pytest.raises(ConsoleError, match=reason):
        check(DEFAULTS | given)


def test_what_only_this_machine_reaches_needs_no_token():
    for host in ("127.0.0.1", "127.0.0.7", "::1", "localhost"):
        check(DEFAULTS | {"host": host})
    check(DEFAULTS | {"host": "0.0.0.0", "token": TOKEN})


def test_what_cannot_be_opened_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConsoleError, match=rf"host '127.0.0.1', port {port}: Address already in use"):
            open_socket("127.0.0.1", port, 1.0)
    with pytest.raises(ConsoleError, match=r"cannot serve at host '192.0.2.7'"):
        open_socket("192.0.2.7", 0, 1.0)
    with pytest.raises(ConsoleError, match=r"certificate 'no.pem' with key 'no.pem': No such file"):
        check_certificate("no.pem", "no.pem")


def test_a_console_that_may_not_serve_ends_with_the_reason(tmp_path, ros):
    with NodeProcess(tmp_path / "console.log", "host:=0.0.0.0", program=CONSOLE) as process:
        assert process.child.wait(30) == 1
        assert "so a token is needed" in process.text() and "Traceback" not in process.text()


SIGNAL_AS_SOON_AS_SERVED = """
import os, signal, time
from uniref_ros.console import node

start = node.Console.start

def start_and_be_stopped(self):
    start(self)
    os.kill(os.getpid(), signal.SIGINT)
    while self.context.ok():
        time.sleep(0.01)

node.Console.start = start_and_be_stopped
raise SystemExit(node.main())
"""


def test_a_signal_before_the_first_callback_ends_it_as_any_other_does(tmp_path, ros):
    given = (f"port:={free_port()}", "tracker:=nobody")
    with NodeProcess(tmp_path / "console.log", *given, program=["-c", SIGNAL_AS_SOON_AS_SERVED]) as process:
        assert process.child.wait(30) == 0, process.text()
        assert "Traceback" not in process.text()


def test_without_a_token_a_strangers_name_for_this_machine_is_refused(tmp_path, ros):
    port = free_port()
    given = (f"port:={port}", "tracker:=nobody")
    with NodeProcess(tmp_path / "console.log", *given, program=CONSOLE) as process:
        url = f"http://127.0.0.1:{port}/"
        wait_for(lambda: fetch(url)[0] == 200, "the page")
        assert fetch(url, Host=f"localhost:{port}")[0] == 200
        for name in ("stranger.example", "127.0.0.1.stranger.example", "[", ""):
            assert fetch(url, Host=name)[0] == 421
        with pytest.raises(InvalidStatus) as caught:
            connect(
                f"ws://stranger.example:{port}/browser", sock=socket.create_connection(("127.0.0.1", port))
            )
        assert caught.value.response.status_code == 421
        health = json.loads(fetch(f"{url}health")[1])
        assert health == {"status": "ok", "tracker": False, "cameras": 0, "browsers": 0, "watching": 0}
        assert process.stop() == 0
