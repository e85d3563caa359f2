"""The console with several cameras, over https, and with a tracker that comes and goes."""

from __future__ import annotations

import array
import json
import shutil
import ssl
import subprocess

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")
pytest.importorskip("starlette", reason="starlette is not installed (pip install '.[console]' has it)")
pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install '.[console]' has it)")
pytest.importorskip("websockets", reason="websockets is not installed (pip install '.[console]' has it)")

from console_rig import CONSOLE, CameraThread, fetch, free_port, until_served, wait_for, wandering
from ros_help import NodeProcess
from sensor_msgs.msg import CompressedImage
from websockets.sync.client import connect

from uniref_ros.console.pictures import MAX_PICTURE


def pictures_of(browser, *cameras: str) -> dict[str, dict]:
    """Read until a picture of each of these cameras has come; their headers."""
    found: dict[str, dict] = {}
    while not set(cameras) <= set(found):
        message = browser.recv(timeout=30)
        if isinstance(message, bytes):
            size = int.from_bytes(message[:4], "little")
            header = json.loads(message[4 : 4 + size])
            browser.send(json.dumps({"type": "shown", "number": header["number"]}))
            found[header["camera"]] = header
    return found


def answer_to(browser, **order) -> dict:
    """What an order is answered."""
    browser.send(json.dumps({**order, "request": 7}))
    while True:
        message = browser.recv(timeout=30)
        if isinstance(message, str) and (answer := json.loads(message))["type"] == "answer":
            return answer


def state_of(browser) -> dict:
    """The next state."""
    while True:
        message = browser.recv(timeout=30)
        if isinstance(message, str) and (state := json.loads(message))["type"] == "state":
            return state


@pytest.fixture
def console(tmp_path, peer):
    """(a console's process, its port), before there is a tracker."""
    port = free_port()
    with NodeProcess(tmp_path / "console.log", f"port:={port}", program=CONSOLE) as process:
        wait_for(lambda: fetch(f"http://127.0.0.1:{port}/health")[0] == 200, "the console")
        yield process, port
        assert process.stop() == 0 and "Traceback" not in process.text()


def tracker(folder, *parameters: str) -> NodeProcess:
    name = f"tracker{len(list(folder.glob('tracker*')))}.log"
    given = (f"known_objects:={folder / 'known'}", "held_images:=60", "diagnostics_period:=0.2")
    return NodeProcess(folder / name, *given, *parameters)


def test_every_camera_is_shown_and_a_click_means_its_own(tmp_path, peer, console):
    process, port = console
    with (
        tracker(tmp_path, "cameras:=['left', 'right']") as node,
        CameraThread(peer, wandering, topic="left/image"),
        CameraThread(peer, wandering, topic="right/image"),
    ):
        assert until_served(port, node, process)["cameras"] == 2
        with connect(f"ws://127.0.0.1:{port}/browser", max_size=None) as browser:
            right = pictures_of(browser, "left", "right")["right"]
            click = {"type": "click", "stamp": right["stamp"], "x": 50, "y": 90, "not_that": False}
            assert answer_to(browser, camera="right", **click)["ok"]
            wrong = answer_to(browser, camera="left", **click)
            assert not wrong["ok"] and "left/image: the image of" in wrong["message"]

            def by_camera() -> dict[str, int]:
                return {camera["name"]: len(camera["objects"]) for camera in state_of(browser)["cameras"]}

            wait_for(lambda: by_camera() == {"left": 0, "right": 1}, "the object, at the right alone")


def test_a_picture_that_is_too_large_for_browsers_is_counted_and_said(tmp_path, peer, console):
    process, port = console
    large = CompressedImage(format="jpeg", data=array.array("B", bytes(MAX_PICTURE + 1)))
    with tracker(tmp_path) as node, CameraThread(peer, wandering):
        until_served(port, node, process)
        with connect(f"ws://127.0.0.1:{port}/browser", max_size=None) as browser:
            pictures_of(browser, "")
            overlays = peer.create_publisher(CompressedImage, "tracker/overlay/compressed", 1)

            def told() -> str:
                overlays.publish(large)
                return peer.status("console").get("last error", "")

            assert f"{MAX_PICTURE + 1} bytes, more than the limit" in wait_for(told, "the error")
            pictures_of(browser, "")


@pytest.mark.slow
def test_a_tracker_that_is_started_again_is_found_again(tmp_path, peer, console):
    process, port = console
    with connect(f"ws://127.0.0.1:{port}/browser", max_size=None) as browser:
        state = state_of(browser)
        assert state["tracker"]["there"] is False and state["cameras"] == []
        refused = answer_to(browser, type="say", text="red")
        assert not refused["ok"] and "nobody listens on /tracker/prompt" in refused["message"]
        with CameraThread(peer, wandering):
            with tracker(tmp_path) as node:
                until_served(port, node, process)
                pictures_of(browser, "")
            wait_for(lambda: not state_of(browser)["tracker"]["there"], "the tracker to be missed")
            with tracker(tmp_path) as node:
                until_served(port, node, process)
                pictures_of(browser, "")
                wait_for(lambda: state_of(browser)["tracker"]["there"], "the tracker to be back")
                wait_for(lambda: answer_to(browser, type="say", text="red")["ok"], "its ears")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed (apt install openssl)")
def test_https(tmp_path, peer):
    port, key, certificate = free_port(), tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext"
    files = ("subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate)
    subprocess.run([*words.split(), *files], check=True, capture_output=True)
    given = (f"port:={port}", f"certificate:={certificate}", f"key:={key}", "tracker:=nobody")
    context = ssl.create_default_context(cafile=certificate)
    with NodeProcess(tmp_path / "console.log", *given, program=CONSOLE) as process:
        url = f"https://localhost:{port}/"
        wait_for(lambda: fetch(url, context)[0] == 200, "the page")
        with connect(f"wss://localhost:{port}/browser", ssl=context, origin=url.rstrip("/")) as browser:
            assert state_of(browser)["tracker"]["there"] is False
        assert process.stop() == 0 and "Traceback" not in process.text()
