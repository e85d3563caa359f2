"""What does not move is an ERROR within two seconds, with the step it hangs in; a node told to ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_runtime import scene

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

import rclpy
from rclpy.publisher import Publisher
from ros_help import NodeProcess, Peer
from sensor_msgs.msg import Image
from std_msgs.msg import String

from uniref_model.runtime import Runtime
from uniref_model.tracking import Tracker
from uniref_ros.camera import Camera
from uniref_ros.publishers import Publishers
from uniref_ros.space.depth_input import DepthInput
from uniref_ros.watchdog import HUNG, PATIENCE, stack_of, step_of

RED = scene(("red", (40, 32, 48, 40)))
STALE = 1.0
SOON = 2.0  # s after `stale_after` by which ERROR is to be said


class Trouble:
    """A node whose network gets into trouble when told to, and its peer."""

    def __init__(self, process: NodeProcess, peer: Peer, when: Path) -> None:
        self.process, self.peer, self._when = process, peer, when

    def begin(self) -> float:
        """Returns when (time.monotonic())."""
        self._when.touch()
        return time.monotonic()

    def end(self) -> None:
        self._when.unlink()

    def flood(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        """Images at about 30 Hz, whatever comes back."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not until():
            self.peer.images.publish(self.peer.image(RED))
            rclpy.spin_once(self.peer, timeout_sec=0.03)

    def level(self, name: str) -> tuple[str, str]:
        """Of the last diagnostics that came: level and message."""
        found = [s for s in (self.peer.diagnostics or _NONE).status if s.name.endswith(name)]
        return (found[0].level.hex(), found[0].message) if found else ("", "")


class _NONE:
    status = ()


ERROR = "02"


@pytest.fixture
def troubled(tmp_path, peer) -> Iterator[Callable[..., Trouble]]:
    """Makes a node that tracks red and is in trouble while told to."""
    made: list[NodeProcess] = []

    def make(trouble: str, *parameters: str, period: float = 60.0) -> Trouble:
        when = tmp_path / "trouble"
        options = (f"stale_after:={STALE}", f"diagnostics_period:={period}", *parameters)
        env = {"DOUBLE_TROUBLE": trouble, "DOUBLE_WHEN": str(when)}
        process = NodeProcess(tmp_path / "node.log", *options, env=env)
        made.append(process)
        peer.meet()
        peer.prompts.publish(String(data="red"))
        peer.tracked(RED)
        return Trouble(process, peer, when)

    yield make
    (tmp_path / "trouble").unlink(missing_ok=True)
    for process in made:
        process.stop()


@pytest.mark.parametrize(
    ("owner", "name", "step"),
    [
        (Camera, "_decode", "decode"),
        (DepthInput, "locate", "depth"),
        (Tracker, "step", "track"),
        (Publisher, "publish", "publish"),
        (Publishers, "publish_overlays", "publish"),
        *((Runtime, verb, verb) for verb in ("encode_text", "encode_image", "encode_reference", "segment")),
        (Runtime, "encode_fitted", "encode_image"),
    ],
)
def test_a_thread_is_in_the_step_whose_function_it_is_in(owner, name, step):
    """The steps are known by the names of functions, which have to be there."""
    assert callable(getattr(owner, name))
    inside, leave, names = threading.Event(), threading.Event(), {}
    exec(f"def {name}(wait):\n    wait()", names)
    thread = threading.Thread(target=names[name], args=(lambda: (inside.set(), leave.wait(10)),), daemon=True)
    thread.start()
    assert inside.wait(10)
    assert step_of(thread.ident) == step and f"in {name}" in stack_of(thread.ident)
    leave.set()
    thread.join()
    assert step_of(thread.ident) == "" == step_of(None)


@pytest.mark.parametrize("step", ["encode_image", "segment", "encode_reference"])
def test_a_network_that_hangs_is_an_error_that_names_the_step(troubled, step):
    """Although diagnostics are a minute apart."""
    trouble = troubled(f"{step}:hangs")
    began = trouble.begin()
    trouble.flood(20.0, lambda: trouble.level(": image")[0] == ERROR)
    seconds = time.monotonic() - began
    level, message = trouble.level("tracker")
    assert level == ERROR and f"image hangs in {step} for" in message
    level, message = trouble.level(": image")
    assert f"image hangs in {step} for" in message
    print(f"{step}: ERROR {seconds:.1f} s after it hung (stale_after {STALE} s)")
    assert seconds < STALE + SOON
    assert trouble.process.text().count("it hangs here") == 1 and f"in {step}" in trouble.process.text()
    trouble.end()
    trouble.flood(20.0, lambda: trouble.level("tracker")[0] not in ("", ERROR))
    assert trouble.level("tracker")[0] != ERROR and trouble.level(": image")[0] != ERROR
    assert [item.id for item in trouble.peer.tracked(RED)] == ["1"]


def test_one_image_alone_that_hangs_is_an_error(troubled):
    trouble = troubled("segment:hangs")
    began = trouble.begin()
    trouble.flood(0.02)
    trouble.peer.until(lambda: trouble.level(": image")[0] == ERROR, "the error")
    assert time.monotonic() - began < STALE + SOON + 1.0


def test_a_command_that_hangs_is_an_error_of_the_node(troubled):
    """The thread that serves callbacks is the one that hangs, diagnostics come all the same."""
    trouble = troubled("encode_text:hangs", period=0.1)
    began = trouble.begin()
    trouble.peer.prompts.publish(String(data="blue"))
    trouble.peer.until(lambda: trouble.level("tracker")[0] == ERROR, "the error")
    assert time.monotonic() - began < STALE + SOON
    assert "a callback hangs in encode_text" in trouble.level("tracker")[1]
    trouble.end()
    trouble.peer.until(lambda: trouble.level("tracker")[0] != ERROR, "its end")


@pytest.mark.parametrize("what", ["raises", "exits"])
def test_every_image_that_fails_is_an_error_and_the_log_is_not_flooded(troubled, what):
    trouble = troubled(f"segment:{what}", period=0.1)
    trouble.begin()
    trouble.flood(6.0)
    level, message = trouble.level(": image")
    assert level == ERROR and "the last one failed" in message, message
    assert {"raises": "fell off\\nthe bus", "exits": "SystemExit"}[what] in message
    assert trouble.level("tracker")[0] == ERROR
    assert int(trouble.peer.status(": image")["failed"]) > 20
    assert trouble.process.text().count("Traceback") == 1
    assert trouble.process.text().count("internal error") < 10
    trouble.end()
    assert [item.id for item in trouble.peer.tracked(RED)] == ["1"], "the worker lives"
    trouble.peer.until(lambda: trouble.level("tracker")[0] != ERROR, "the end of the error")


def test_a_score_that_is_no_number_is_an_error_and_not_published(troubled):
    trouble = troubled("segment:nan", period=0.1)
    trouble.begin()
    trouble.flood(0.3)
    trouble.peer.spin(0.5)
    trouble.peer.results.clear()
    trouble.flood(3.0, lambda: trouble.level(": image")[0] == ERROR)
    assert "a score that is not finite" in trouble.level(": image")[1]
    assert trouble.peer.results == []
    trouble.end()
    assert [item.id for item in trouble.peer.tracked(RED)] == ["1"]


@pytest.mark.parametrize("trouble", ["segment:hangs", "encode_image:raises", "encode_text:hangs"])
def test_a_node_that_is_told_to_ends_when_it_hangs(troubled, trouble):
    """With a status that a respawning launch takes for a failure, although a thread never returns."""
    made = troubled(trouble, "on_hang:=exit")
    began = made.begin()
    if trouble.startswith("encode_text"):
        made.peer.prompts.publish(String(data="blue"))
    made.flood(30.0, lambda: not made.process.running)
    seconds = time.monotonic() - began
    assert made.process.child.wait(1.0) == HUNG
    assert PATIENCE * STALE - 0.5 < seconds < PATIENCE * STALE + 3.0
    assert "ending, because on_hang is exit" in made.process.text()


def test_a_node_that_hangs_stays_unless_told_to_end_and_still_heeds_a_signal(troubled):
    trouble = troubled("segment:hangs")
    trouble.begin()
    trouble.flood(PATIENCE * STALE + 2.0)
    assert trouble.process.running
    began = time.monotonic()
    assert trouble.process.stop() == 0
    assert time.monotonic() - began < 2.0


def test_a_camera_whose_every_image_is_bad_is_an_error_by_itself(tmp_path, ros):
    left, right = Peer("left"), Peer("right")
    options = ("cameras:=['left', 'right']", f"stale_after:={STALE}", "diagnostics_period:=0.1")
    try:
        with NodeProcess(tmp_path / "node.log", *options):
            left.meet(), right.meet()
            deadline = time.monotonic() + STALE + SOON + 1.0
            while time.monotonic() < deadline:
                bad = left.image(RED)
                bad.encoding = "jpeg2000"
                left.images.publish(bad)
                right.show(RED)
            assert left.status(": left/image")["level"] == "ERROR"
            assert "jpeg2000" in left.status(": left/image")["message"]
            right.show(RED)
            assert right.status(": right/image")["level"] != "ERROR"
            assert isinstance(left.image(RED), Image) and left.show(RED)
            left.until(lambda: left.show(RED) and left.status(": left/image")["level"] != "ERROR", "its end")
    finally:
        left.destroy_node(), right.destroy_node()


def test_few_images_a_second_by_max_rate_are_no_error(tmp_path, peer):
    with NodeProcess(tmp_path / "node.log", "max_rate:=0.5", "stale_after:=0.3", "diagnostics_period:=0.1"):
        peer.meet()
        deadline, levels = time.monotonic() + 5.0, set()
        while time.monotonic() < deadline:
            peer.images.publish(peer.image(RED))
            rclpy.spin_once(peer, timeout_sec=0.05)
            levels |= {s.level.hex() for s in (peer.diagnostics or _NONE).status if "tracker" in s.name}
        assert levels and ERROR not in levels
