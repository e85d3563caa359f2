"""The console in a real browser, before the real tracker on the colour double."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")
pytest.importorskip("starlette", reason="starlette is not installed (pip install '.[console]' has it)")
pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install '.[console]' has it)")

from console_rig import (
    CONSOLE,
    CameraThread,
    Page,
    SlowLink,
    chromium,
    colour_at,
    free_port,
    nearest,
    until_served,
    wandering,
)
from fake_runtime import scene
from ros_help import NodeProcess, Peer

from uniref_ros.msg import TrackedObject


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def stand(tmp_path_factory, browser, ros):
    """A tracker, a console, and a peer with a camera: (peer, camera, port)."""
    folder, port = tmp_path_factory.mktemp("console"), free_port()
    peer = Peer()
    parameters = ("diagnostics_period:=0.2", "held_images:=60", "max_objects:=4")
    tracker = NodeProcess(folder / "tracker.log", *parameters, f"known_objects:={folder / 'known'}")
    console = NodeProcess(folder / "console.log", f"port:={port}", program=CONSOLE)
    with tracker, console, CameraThread(peer, wandering) as camera:
        until_served(port, tracker, console)
        yield peer, camera, port
        assert "Traceback" not in console.text() + tracker.text()
        assert console.stop() == 0
    peer.destroy_node()


@pytest.fixture
def page(stand, browser):
    """A window that shows moving pictures, with nothing followed."""
    _, camera, port = stand
    camera.picture = wandering
    with Page(browser, f"http://localhost:{port}/") as one:
        one.sees_pictures()
        yield one
        for object_id in one.ids():
            one.page.click(f".object[data-id='{object_id}'] .remove")
        one.has()
        assert one.faults == []


def added(page: Page, before: list[str]) -> str:
    """The id of the one object that is new in the list."""
    page.wait(f"document.querySelectorAll('.object').length > {len(before)}")
    new = set(page.ids()) - set(before)
    assert len(new) == 1
    return new.pop()


def followed(peer: Peer, object_id: str) -> tuple[TrackedObject, tuple[int, int]]:
    """The object in a fresh result in which it is tracked, and that result's stamp."""
    peer.results.clear()

    def found():
        for result in peer.results:
            for item in result.objects:
                if item.id == object_id and item.state == TrackedObject.TRACKED and item.box.width:
                    return item, (result.header.stamp.sec, result.header.stamp.nanosec)
        return None

    return peer.until(found, f"object {object_id} to be tracked")


def colour_of(peer: Peer, camera: CameraThread, object_id: str) -> str:
    """The colour of what is followed, by the picture that the camera sent under the result's stamp."""
    item, stamp = followed(peer, object_id)
    box = item.box
    pixels = camera.picture(camera.numbers[stamp])
    return colour_at(pixels, box.x_offset + box.width / 2, box.y_offset + box.height / 2)


def test_what_one_person_does_the_other_sees(stand, browser, page):
    """Open, see it move, click, drag, type, remove, pause; a second browser agrees."""
    peer, camera, port = stand
    with Page(browser, f"http://localhost:{port}/") as other:
        other.sees_pictures()
        page.click(50, 90)
        red = added(page, [])
        assert colour_of(peer, camera, red) == "red"
        page.drag(130, 62, 200, 118)
        blue = added(page, [red])
        assert colour_of(peer, camera, blue) == "blue"
        page.type("the green box")
        green = added(page, [red, blue])
        assert colour_of(peer, camera, green) == "green"
        other.has(red, blue, green)
        other.wait("[...document.querySelectorAll('.state')].every((one) => one.textContent === 'tracked')")
        assert other.text(f".object[data-id='{green}'] .title") == "the green box"
        assert "score 0.90" in other.text(f".object[data-id='{green}'] .sights")
        other.page.click(f".object[data-id='{red}'] .remove")
        page.has(blue, green)
        page.page.click("#pause")
        other.wait("document.querySelector('#pause').textContent === 'Resume'")
        other.wait("document.querySelector('#status').textContent.startsWith('paused')")
        page.type("resume")
        other.wait("document.querySelector('#pause').textContent === 'Pause'")
        page.sees_pictures()


def test_a_click_on_what_is_followed_adds_nothing(stand, page):
    page.click(50, 90)
    red = added(page, [])
    page.wait("document.querySelector('.state').textContent === 'tracked'")
    page.click(52, 92)
    page.wait("document.querySelector('.object.flash')")
    assert page.ids() == [red]
    assert f"object {red} is followed already" in page.text("#notices")


def test_a_refusal_is_shown_in_the_nodes_own_words(stand, page):
    for x, y in ((50, 90), (160, 90)):
        page.click(x, y)
        page.wait(f"document.querySelectorAll('.object').length === {1 if x == 50 else 2}")
    for words in ("green", "yellow"):
        page.type(words)
    page.wait("document.querySelectorAll('.object').length === 4")
    page.click(200, 20)
    page.wait("document.querySelector('.notice[data-level=error]')")
    assert "max_objects" in page.text("#notices")
    page.page.click(".notice[data-level=error] button[aria-label^=Dismiss]")
    page.type("the orange ball")  # by a topic, so the refusal comes in diagnostics
    page.wait("document.querySelector('.notice[data-level=error]')")
    assert "prompt: " in page.text("#notices") and "max_objects" in page.text("#notices")
    page.type("forget no such thing")
    page.wait("document.querySelector('#notices').textContent.includes('no such thing')")


def test_not_that_follows_the_object_anew_without_the_place(stand, page):
    page.click(160, 90)
    blue = added(page, [])
    page.wait("document.querySelector('.state').textContent === 'tracked'")
    page.click(185, 105, shift=True)
    page.wait(f"document.querySelector('.object') && !document.querySelector(\".object[data-id='{blue}']\")")
    assert len(page.ids()) == 1
    sent = page.sent("click")[-1]
    assert sent["not_that"] is True and sent["stamp"][0] > 10**9
    page.click(100, 120, shift=True)  # on the ground
    page.wait("document.querySelector('.notice[data-level=error]')")
    assert "first click what to follow" in page.text("#notices")


def test_a_name_is_taught_followed_from_the_gallery_and_forgotten(stand, browser, page):
    _, _, port = stand
    page.click(50, 90)
    first = added(page, [])
    page.wait("document.querySelector('.state').textContent === 'tracked'")
    page.page.click("button.name")
    page.page.keyboard.type("my brick")  # the field has the focus
    page.page.keyboard.press("Enter")
    page.wait("document.querySelector('.known img')?.naturalWidth > 20")
    page.wait("document.querySelector('.object .title').textContent === 'my brick'")
    assert page.text(".known .title") == "my brick" and page.text(".known .views") == "1 view"
    with Page(browser, f"http://localhost:{port}/") as other:
        other.wait("document.querySelector('.known')?.dataset.name === 'my brick'")
        other.page.click(".object .remove")
        page.has()
        other.page.click(".known .follow")
        second = added(page, [])
        assert second != first
        page.wait("document.querySelector('.state').textContent === 'tracked'")
        other.page.click(".known .forget")
        page.wait("document.querySelector('#known-section').hidden")
        assert other.faults == []


def test_a_name_that_cannot_be_taught_is_refused_in_the_nodes_own_words(page):
    page.page.fill("#words-input", "yellow")
    page.page.press("#words-input", "Enter")
    added(page, [])  # and is never seen
    page.page.click("button.name")
    page.page.keyboard.type("my brick")
    page.page.keyboard.press("Enter")
    page.wait("document.querySelector('.notice[data-level=error]')")
    assert not page.page.is_visible("#known-section")
    page.page.keyboard.press("Escape")
    assert not page.page.is_visible(".naming")


def test_undo_takes_back_what_a_click_added(page):
    page.click(50, 90)
    added(page, [])
    page.page.click(".notice button[aria-label^=Undo]")
    page.has()


def test_by_keyboard_alone(page):
    press = page.page.keyboard.press
    page.page.focus("canvas")
    for key in [*["ArrowLeft"] * 12, *["ArrowDown"] * 4]:
        press(key)
    page.wait("!document.querySelector('.cross').hidden")
    press("Enter")
    x, y = (page.sent("click")[-1][axis] for axis in "xy")
    assert (x, y) != (112, 64)
    press("b")
    for key in [*["ArrowRight"] * 10, *["ArrowDown"] * 5]:
        press(key)
    still = page.stamp()
    page.page.wait_for_timeout(300)
    assert page.stamp() == still, "the picture stands still under a box that is begun"
    press("Enter")
    _, _, width, height = page.sent("box")[-1]["box"]
    assert (
        width > 5 and height > 5 and page.sent("box")[-1]["stamp"] == [int(part) for part in still.split(".")]
    )
    page.sees_pictures()


def test_every_control_has_a_name_and_nothing_overflows_on_a_phone(stand, browser, page):
    _, _, port = stand
    page.click(50, 90)
    added(page, [])
    names = page.page.evaluate(
        "[...document.querySelectorAll('button, input, canvas, [role=meter]')].map((one) =>"
        "one.getAttribute('aria-label') || one.labels?.[0]?.textContent || one.textContent.trim())"
    )
    assert len(names) > 6 and all(names)
    phone = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 3, "has_touch": True}
    with Page(browser, f"http://localhost:{port}/", color_scheme="dark", **phone) as small:
        small.sees_pictures()
        small.has(*page.ids())
        assert small.page.evaluate("document.documentElement.scrollWidth") <= 360
        background = small.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(18, 22, 20)", "dark where the person's system is"
        small.page.touchscreen.tap(*small.place(165, 90))
        small.wait("document.querySelectorAll('.object').length === 2")
        assert small.faults == []


def swapping(number: int) -> np.ndarray:
    """Red and blue change places with every third picture."""
    one, other = ("red", "blue") if number // 3 % 2 else ("blue", "red")
    return scene((one, (30, 40, 60, 50)), (other, (130, 40, 60, 50)), size=(128, 224))


@pytest.mark.parametrize("zoom", [1.75, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_click_hits_what_was_shown_under_the_finger(stand, browser, zoom):
    """Things change places five times a second, and each way of the link takes 300 ms: only the stamp of the
    picture that was shown leads to what was clicked at."""
    peer, camera, port = stand
    camera.picture = swapping
    with (
        SlowLink(port, 0.3) as link,
        Page(browser, f"http://127.0.0.1:{link.port}/", device_scale_factor=zoom) as page,
    ):
        page.sees_pictures()
        page.page.evaluate(f"document.body.style.zoom = {zoom}")
        mouse, place = page.page.mouse, (60, 65)
        for _ in range(2):
            mouse.move(*page.place(*place))
            mouse.down()
            shown = nearest(page.pixel(*place))  # it stands still under the finger
            mouse.up()
            object_id = added(page, [])
            click = page.sent("click")[-1]
            truth = colour_at(swapping(camera.numbers[tuple(click["stamp"])]), click["x"], click["y"])
            assert shown in ("red", "blue") and truth == shown, "the stamp is of the picture that was shown"
            assert abs(click["x"] - 60) < 1.5 and abs(click["y"] - 65) < 1.5
            assert colour_of(peer, camera, object_id) == shown
            page.page.click(".object .remove")
            page.has()
        assert page.faults == []


def test_a_click_on_an_image_that_is_gone_is_refused_and_hits_nothing_else(stand, page):
    answer = page.page.evaluate(
        "(async () => { const { Link } = await import('./link.js'); let open;"
        "const ready = new Promise((done) => { open = done; });"
        "const link = new Link({ onOpen: open, onPicture() {}, onMessage() {}, onClosed() {} }); link.open();"
        "await ready; return link.ask({ type: 'click', camera: '', stamp: [1000, 1], x: 50, y: 90,"
        "not_that: false }); })()"
    )
    assert not answer["ok"] and "not held any more" in answer["message"]
    assert page.ids() == []
    json.dumps(answer)
