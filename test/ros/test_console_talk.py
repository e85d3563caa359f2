"""Hold to talk, in a real browser with a microphone that plays a file."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")
pytest.importorskip("starlette", reason="starlette is not installed (pip install '.[console]' has it)")
pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install '.[console]' has it)")

from console_rig import CONSOLE, CameraThread, Page, chromium, free_port, until_served, wandering
from rclpy.qos import QoSProfile
from ros_help import NodeProcess, Peer
from speech import write_wav
from std_msgs.msg import Bool, Int16MultiArray, String

from uniref_ros.msg import Heard

RATE = 48000
TONE, TOO_HIGH = 440.0, 9500.0  # Hz: the second is above half of 16 kHz, and must not fold back to 6500


@pytest.fixture(scope="module")
def page(tmp_path_factory, ros):
    """(a peer that stands for the voice node, a window whose microphone hears two tones)."""
    folder, port = tmp_path_factory.mktemp("talk"), free_port()
    time_axis = np.arange(10 * RATE) / RATE
    tones = sum(8000 * np.sin(2 * np.pi * hertz * time_axis) for hertz in (TONE, TOO_HIGH))
    sound = write_wav(folder / "tones.wav", tones.astype(np.int16), RATE)
    peer = Peer()
    flags = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={sound}",
    )
    parameters = ("diagnostics_period:=0.2", "held_images:=60", f"known_objects:={folder / 'known'}")
    tracker = NodeProcess(folder / "tracker.log", *parameters)
    console = NodeProcess(folder / "console.log", f"port:={port}", program=CONSOLE)
    with tracker, console, chromium(*flags) as browser, CameraThread(peer, wandering):
        until_served(port, tracker, console)
        with Page(browser, f"http://localhost:{port}/") as one:
            one.sees_pictures()
            yield peer, one
            assert one.faults == []
    peer.destroy_node()


def strength(samples: np.ndarray, hertz: float) -> float:
    """The amplitude of a tone in 16 kHz samples."""
    window = np.hanning(len(samples))
    turn = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / 16000)
    return 2 * abs(np.sum(samples * window * turn)) / window.sum()


def test_what_is_said_while_the_button_is_held_reaches_the_voice_node(page):
    peer, window = page
    assert not window.page.is_visible("#talk"), "nobody hears yet"
    presses: list[tuple[bool, int]] = []
    chunks: list[np.ndarray] = []
    peer.create_subscription(
        Int16MultiArray, "audio", lambda m: chunks.append(np.array(m.data, np.int16)), QoSProfile(depth=200)
    )
    peer.create_subscription(
        Bool, "voice_command/talk", lambda m: presses.append((m.data, len(chunks))), QoSProfile(depth=20)
    )
    window.wait("!document.querySelector('#talk').hidden")
    box = window.page.locator("#talk-button").bounding_box()
    window.page.mouse.move(box["x"] + 10, box["y"] + 10)
    window.page.mouse.down()
    window.wait("document.querySelector('#talk-button').hasAttribute('data-talking')")
    began = time.monotonic()
    peer.until(lambda: sum(map(len, chunks)) > 24000, "a second and a half of sound")
    level = int(window.page.get_attribute("#talk-meter", "aria-valuenow"))
    window.page.mouse.up()
    held = time.monotonic() - began
    peer.until(lambda: len(presses) == 2, "the button's release")
    assert [down for down, _ in presses] == [True, False]
    assert presses[0][1] <= 1 and presses[1][1] == len(chunks), "all of it between press and release"
    samples = np.concatenate(chunks)
    assert len(samples) < 16000 * (held + 1.0), "in real time"
    middle = samples[4000:20000].astype(float)
    assert strength(middle, TONE) > 2000, "16 kHz: the tone is where it was"
    assert strength(middle, 16000 - TOO_HIGH) < 0.02 * strength(middle, TONE), "and nothing folds back"
    assert 40 < level < 100
    window.page.wait_for_timeout(300)
    count = len(chunks)
    peer.spin(0.5)
    assert len(chunks) == count, "and nothing after it"


def test_one_person_talks_at_a_time(page):
    peer, window = page
    peer.create_subscription(Int16MultiArray, "audio", lambda m: None, QoSProfile(depth=200))
    answers = window.page.evaluate(
        "(async () => { const { Link } = await import('./link.js');"
        "const join = () => new Promise((done) => { const link = new Link({ onOpen: () => done(link),"
        "  onPicture() {}, onMessage() {}, onClosed() {} }); link.open(); });"
        "const [one, other] = [await join(), await join()];"
        "const answers = [await one.ask({ type: 'talk', down: true }),"
        "  await other.ask({ type: 'talk', down: true }), await one.ask({ type: 'talk', down: false }),"
        "  await other.ask({ type: 'talk', down: true }), await other.ask({ type: 'talk', down: false })];"
        "return answers.map((answer) => answer.ok || answer.message); })()"
    )
    assert answers == [True, "somebody else is talking", True, True, True]


def test_what_was_understood_is_shown_and_can_be_undone(page):
    peer, window = page
    heard = peer.create_publisher(Heard, "voice_command/heard", 20)
    prompts = peer.create_publisher(String, "tracker/prompt", 20)
    peer.until(lambda: heard.get_subscription_count(), "the console")
    heard.publish(Heard(words="the weather", confidence=0.4, reason="not an instruction"))
    heard.publish(Heard(words="follow the red box", confidence=0.95, understood=True, prompt="the red box"))
    prompts.publish(String(data="the red box"))
    window.wait("document.querySelectorAll('#heard li').length === 2")
    window.wait("document.querySelectorAll('.object').length === 1")
    assert "“follow the red box”" in window.text("#heard li:first-child")
    assert "not an instruction" in window.text("#heard li:last-child")
    window.page.click("#heard button")
    window.has()
    window.wait("document.querySelector('#heard').textContent.includes('undone')")
