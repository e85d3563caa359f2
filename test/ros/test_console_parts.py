"""The console's parts by themselves: what flies to a browser, where a click hits, what came of words."""

from __future__ import annotations

import asyncio
import json
import math
import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from fake_runtime import overlap
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from uniref_ros.console.hearing import Hearing
from uniref_ros.console.manners import Allowance, Window
from uniref_ros.console.pictures import Picture
from uniref_ros.console.relay import Relay
from uniref_ros.console.scene import CameraScene, Scene
from uniref_ros.console.sight import Sight
from uniref_ros.conversion import fill_image
from uniref_ros.msg import Heard, TrackedObject, TrackedObjectArray


class Link:
    """A link in its own time: `rate` pictures a second go through it, and each takes `trip` s besides."""

    def __init__(self, rate: float, trip: float) -> None:
        self.rate, self.trip = rate, trip
        self._free = 0.0

    def arrival(self, now: float) -> float:
        """When the acknowledgement of a picture sent now comes."""
        self._free = max(self._free, now) + 1 / self.rate
        return self._free + self.trip


def sent_over(link: Link, seconds: float, camera: float = 30.0) -> list[float]:
    """Send the newest picture whenever the window has room; the trips of those of the last third."""
    window, flying, trips = Window(), [], []
    for number in range(int(seconds * camera)):
        now = number / camera
        for arrival, sent, key in [one for one in flying if one[0] <= now]:
            flying.remove((arrival, sent, key))
            assert window.arrived(key, arrival)
            trips += [arrival - sent] if now > seconds * 2 / 3 else []
        if window.has_room():
            window.sent(number, now)
            flying.append((link.arrival(now), now, number))
    return trips


def test_a_link_that_is_fast_and_far_is_filled():
    trips = sent_over(Link(rate=1000, trip=0.6), seconds=30)
    assert len(trips) > 0.95 * 10 * 30, "every picture, although 18 are on their way at once"


def test_a_link_that_is_thin_holds_no_queue():
    trips = sent_over(Link(rate=5, trip=0.05), seconds=30)
    assert 4 < len(trips) / 10 < 5.5, "as many as it carries"
    assert np.median(trips) < 0.65 and max(trips) < 1.0, "and none waits behind many"


def test_a_number_counts_once():
    window = Window()
    window.sent(7, 0.0)
    assert not window.arrived(8, 0.1) and window.arrived(7, 0.1) and not window.arrived(7, 0.1)
    window.sent(9, 1.0)
    assert window.oldest(3.5) == 2.5


def test_an_allowance_fills_at_its_rate_up_to_its_burst():
    allowance = Allowance(rate=10, burst=3, now=0.0)
    assert [allowance.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert allowance.take(0.11) and not allowance.take(0.12)
    assert [allowance.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take(101.0, 4) and allowance.take(101.0, 3)


def test_the_stamp_stands_before_the_jpeg():
    message = Picture.of(5, "left", Time(sec=12, nanosec=34), b"\xff\xd8...").message
    size = int.from_bytes(message[:4], "little")
    assert json.loads(message[4 : 4 + size]) == {"number": 5, "camera": "left", "stamp": [12, 34]}
    assert message[4 + size :] == b"\xff\xd8..."


def test_a_busy_server_is_given_the_newest_and_nothing_piles_up():
    async def scenario() -> list:
        given = []
        relay = Relay(lambda newest, lines: given.append((newest, lines)))
        relay.put(("picture", ""), 0)
        relay.open(asyncio.get_running_loop())
        thread = threading.Thread(
            target=lambda: [(relay.put(("picture", ""), n), relay.say(n)) for n in range(1, 1000)]
        )
        thread.start()
        thread.join()  # the loop was busy all the while
        await asyncio.sleep(0.01)
        relay.close()
        relay.put(("picture", ""), 1000)
        await asyncio.sleep(0.01)
        return given

    ((newest, lines),) = asyncio.run(scenario())
    assert newest == {("picture", ""): 999} and lines == list(range(936, 1000))


def seen_object(mask: np.ndarray, **fields) -> TrackedObject:
    """An object whose mask is given, bool of the image's size."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = RegionOfInterest(
        x_offset=int(columns[0]),
        y_offset=int(rows[0]),
        width=int(columns[-1] - columns[0] + 1),
        height=int(rows[-1] - rows[0] + 1),
    )
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8) * 255
    values = {"id": "1", "state": TrackedObject.TRACKED, "score": 0.9} | fields
    return TrackedObject(box=box, mask=fill_image(Image(), crop, "mono8", Header()), **values)


def result(*objects: TrackedObject, sec: int = 1) -> TrackedObjectArray:
    return TrackedObjectArray(header=Header(stamp=Time(sec=sec)), width=64, height=48, objects=list(objects))


def ring() -> np.ndarray:
    """A mask with a hole."""
    rows, columns = np.mgrid[:48, :64]
    distance = np.hypot(rows - 24, columns - 30)
    return (distance < 18) & (distance > 8)


def test_a_click_hits_the_mask_of_its_own_image():
    sight, mask = Sight(), ring()
    sight.add(result(seen_object(mask), sec=1))
    sight.add(result(seen_object(np.roll(mask, 10, axis=1)), sec=2))
    again = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        again[y, x] = sight.at(Time(sec=1), x + 0.5, y + 0.5) is not None
    assert overlap(again, mask) == 1.0
    assert sight.at(Time(sec=2), 15.5, 24.5) is None and sight.at(Time(sec=1), 15.5, 24.5).id == "1"
    assert sight.at(Time(sec=3), 15.5, 24.5) is None, "an image that is not kept"


def test_what_is_kept_of_images_is_bounded():
    sight = Sight()
    for sec in range(1, 1000):
        sight.add(result(seen_object(ring()), sec=sec))
    kept = [sec for sec in range(1, 1000) if sight.at(Time(sec=sec), 15.5, 24.5)]
    assert 30 <= len(kept) <= 120 and kept[-1] == 999


def test_the_place_that_stands_for_an_object_is_on_it_and_away_from_the_click():
    for click in ((14.5, 24.5), (46.5, 24.5), (30.5, 8.5)):
        sight = Sight()
        sight.add(result(seen_object(ring())))
        seen = sight.at(Time(sec=1), *click)
        x, y = seen.middle_away_from(*click)
        assert seen.covers(x, y) and math.dist((x, y), click) > 9
    tiny = np.zeros((48, 64), bool)
    tiny[10:12, 10:12] = True
    sight.add(result(seen_object(tiny), sec=2))
    assert sight.at(Time(sec=2), 10.5, 10.5).middle_away_from(10.5, 10.5) is None


def heard(words: str, prompt: str = "") -> Heard:
    return Heard(words=words, prompt=prompt, understood=bool(prompt), confidence=0.9)


def lines(hearing: Hearing) -> list[dict]:
    return json.loads(hearing.as_text())["lines"]


def test_an_object_that_comes_with_the_very_words_came_of_them():
    hearing = Hearing()
    hearing.add(heard("follow the red mug", "the red mug"), {"1": "the red mug"}, now=0.0)
    assert not hearing.look({"1": "the red mug"}, 0.1), "that one was there before"
    assert not hearing.look({"1": "the red mug", "2": "the box"}, 0.2)
    assert hearing.look({"1": "the red mug", "2": "the box", "3": "The red mug"}, 0.3)
    assert [line["object_id"] for line in lines(hearing)] == ["3"]
    assert not hearing.look({"4": "the red mug"}, 0.4), "only one"


def test_an_object_that_comes_much_later_did_not():
    hearing = Hearing()
    hearing.add(heard("follow the red mug", "the red mug"), {}, now=0.0)
    assert not hearing.look({}, 60.0) and not hearing.look({"1": "the red mug"}, 60.1)
    assert lines(hearing)[0]["object_id"] == ""


def test_the_last_few_utterances_are_kept():
    hearing = Hearing()
    for number in range(20):
        hearing.add(heard(f"words {number}"), {}, now=float(number))
    assert [line["words"] for line in lines(hearing)] == [f"words {number}" for number in range(15, 20)]


def status(last: str, **counts: int) -> DiagnosticStatus:
    pairs = {f"errors: {kind}": str(count) for kind, count in counts.items()} | {"last error": last}
    return DiagnosticStatus(values=[KeyValue(key=key, value=value) for key, value in pairs.items()])


def test_a_refusal_that_nobody_was_answered_is_told_once():
    scene = Scene()
    assert scene.report(status("prompt: of long ago", prompt=4), 0.0) == ""
    assert scene.report(status("prompt: too many", prompt=5), 1.0) == "prompt: too many"
    assert scene.report(status("prompt: too many", prompt=5), 2.0) == ""
    assert scene.report(status("add_object: no", prompt=5, add_object=1), 3.0) == "", "who asked was answered"
    assert scene.report(status("prompt: no", prompt=1), 4.0) == "", "the tracker has begun again"


def test_the_state_is_json_whatever_the_numbers_are():
    camera = CameraScene("front")
    odd = seen_object(ring(), score=math.nan, has_position=True, frames_since_seen=3)
    odd.centroid.x = math.inf
    camera.add(result(odd), now=1.0)
    scene = Scene()
    scene.cameras = {"front": camera}
    state = json.loads(scene.as_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    (shown,) = state["cameras"][0]["objects"]
    assert shown["score"] is None and shown["position"] is None
    assert shown["since_seen_s"] is None, "not seen since the console looks"
