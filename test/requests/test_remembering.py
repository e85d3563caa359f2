"""What is followed outlives who follows it: ids, words, labels, anchors, pause."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, rectangle, scene

from uniref_model import KnownObjectError, KnownObjects, Prompt, SourceError, Tracker, TrackState
from uniref_model.errors import UniRefError
from uniref_model.requests import remembering, session
from uniref_model.requests.remembering import Remembering
from uniref_model.requests.session import SessionFolder
from uniref_model.tracking.ids import ObjectIds

HERE, THERE = (32, 32, 40, 32), (152, 72, 40, 32)
ROOT = Path(__file__).resolve().parents[2]


class Cam:
    """As much of a camera as remembering asks of one."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker, self.last, self.shown = name, tracker, None, None


class Shown:
    def __init__(self, frame, rgb) -> None:
        self.frame, self.rgb = frame, rgb


class Life:
    """One life of a process: trackers, and the memory of them in a folder."""

    def __init__(self, folder: Path, runtime=None, cameras=("",), known=None) -> None:
        self.ids, self.enabled, self.faults = ObjectIds(), True, []
        runtime = runtime or FakeColourRuntime()
        self.cameras = {name: Cam(name, Tracker(runtime, ids=self.ids, known=known)) for name in cameras}
        self.folder = SessionFolder(folder)
        self.memory = Remembering(
            self.folder, lambda: self.cameras, self.ids, lambda: self.enabled, self.faults.append
        )
        self.session = self.memory.restore()

    @property
    def tracker(self) -> Tracker:
        return self.cameras[""].tracker

    def add(self, prompt: Prompt, object_id: str | None = None, label: str | None = None) -> str:
        name = self.ids.claim(object_id)
        for camera in self.cameras.values():
            camera.tracker.add(prompt, object_id=name, label=label)
            self.memory.added(camera, name, prompt)
        self.memory.flush()
        return name

    def show(self, *patches, camera: str = ""):
        rgb = scene(*patches)
        frame = self.cameras[camera].tracker.step(rgb)
        self.memory.observe(self.cameras[camera], Shown(frame, rgb))
        return frame.objects

    def die(self) -> None:
        """As a killed process: nothing is written any more, and its locks are gone."""
        self.memory.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "session"


def test_ids_words_labels_and_anchors_come_back_and_are_found_again(folder):
    life = Life(folder)
    life.add(Prompt(text="the red box"), "box", "Box")
    life.add(Prompt(mask=rectangle(THERE), image=scene(("blue", THERE))))
    life.add(Prompt(points=[(50, 45)], image=scene(("green", HERE))), label="clicked")
    life.enabled = False
    life.memory.flush()
    life.die()
    again = Life(folder)
    assert not again.session.enabled and not again.faults
    items = again.tracker.objects
    assert [(o.id, o.label, o.prompt) for o in items] == [
        ("box", "Box", "the red box"), ("1", "1", ""), ("2", "clicked", ""),
    ]  # fmt: skip
    assert all(item.state is TrackState.SEARCHING for item in items)
    found = again.show(("red", (10, 80, 30, 30)), ("blue", (60, 80, 30, 30)), ("green", (110, 80, 30, 30)))
    assert [(o.id, o.state) for o in found] == [(name, TrackState.TRACKED) for name in ("box", "1", "2")]
    assert [o.box[0] // 50 for o in found] == [0, 1, 2]


def test_the_frame_in_which_words_found_it_is_its_anchor_after_a_restart(folder):
    life = Life(folder)
    life.add(Prompt(text="red"))
    life.show(("red", HERE))
    life.memory.flush()
    life.die()
    assert sorted(path.name for path in folder.glob("*.png")) == ["1.png", "1_mask.png"]
    again = Life(folder)
    (item,) = again.show(("red", THERE))
    target = again.tracker._targets[item.id]
    assert target.first is not None and item.state is TrackState.TRACKED
    again.memory.flush()
    again.tracker.remove("1")
    again.memory.flush()
    assert not list(folder.glob("*.png")), "what nobody refers to any more goes"


def test_ids_are_never_given_out_again(folder):
    life = Life(folder)
    assert [life.add(Prompt(text="red")) for _ in range(3)] == ["1", "2", "3"]
    life.add(Prompt(text="red"), "mine")
    for name in ("2", "3", "mine"):
        life.tracker.remove(name)
    life.memory.flush()
    life.die()
    again = Life(folder)
    assert again.add(Prompt(text="red")) == "4"
    for name in ("mine", "2"):
        with pytest.raises(Exception, match="was used before"):
            again.ids.claim(name)
    again.die()
    third = Life(folder)
    assert third.add(Prompt(text="red")) == "5", "and so on, through any number of lives"


def test_an_id_is_on_disk_before_anybody_has_it(folder):
    life = Life(folder)
    life.ids.claim("early")
    assert '"early"' in (folder / "ids.txt").read_text()
    with (folder / "ids.txt").open("a") as file:
        file.write('"cut sho')  # killed in the middle of a line
    life.die()
    again = Life(folder)
    assert again.ids.was_given("early") and not again.ids.was_given("cut sho")
    again.ids.claim("next")
    assert (folder / "ids.txt").read_text().splitlines() == ['"early"', '"next"']


def test_two_processes_do_not_share_a_session(folder):
    life = Life(folder)
    with pytest.raises(KnownObjectError, match="in use by another process"):
        Life(folder)
    life.die()
    Life(folder).die()


def test_another_model_takes_it_up(folder):
    life = Life(folder)
    life.add(Prompt(mask=rectangle(HERE), image=scene(("red", HERE))))
    life.die()
    again = Life(folder, FakeColourRuntime(size=(32, 56)))
    (item,) = again.show(("red", THERE))
    assert item.state is TrackState.TRACKED


def test_what_this_model_or_these_cameras_cannot_take_up_waits_for_the_next_time(folder):
    life = Life(folder, cameras=("left", "right"))
    life.add(Prompt(text="red"))
    life.die()

    class NoWords(FakeColourRuntime):
        def encode_text(self, text):
            raise KnownObjectError("exported without text encoder")

    again = Life(folder, NoWords(), cameras=("left",))
    assert again.cameras["left"].tracker.objects == ()
    assert len(again.faults) == 2 and "without text encoder" in again.faults[0]
    again.memory.flush()
    again.die()
    third = Life(folder, cameras=("left", "right"))
    assert [len(camera.tracker.objects) for camera in third.cameras.values()] == [1, 1]


def test_what_is_known_is_known_again(folder, tmp_path):
    known = KnownObjects(tmp_path / "known")
    known.teach("mug", scene(("blue", HERE)), rectangle(HERE))
    life = Life(folder, known=known)
    name = life.add(Prompt(text="red"))
    life.tracker.call(name, "mug", label="my cup")
    life.memory.flush()
    life.die()
    again = Life(folder, known=known)
    (item,) = again.tracker.objects
    assert (item.label, item.known, item.prompt) == ("my cup", "mug", "red")


@pytest.mark.parametrize(
    "damage",
    [b"cameras: [", b"version: 7\n", b"\xff\xfe", b"enabled: 1\n", b"- a\n", b"x" * 5_000_000],
    ids=["cut", "unknown key", "no UTF-8", "no flag", "a list", "too large"],
)
def test_a_damaged_session_is_said_put_aside_and_its_ids_are_kept(folder, damage):
    life = Life(folder)
    life.add(Prompt(text="red"))
    life.die()
    (folder / "session.yaml").write_bytes(damage)
    again = Life(folder)
    assert again.session is None and "session.yaml is damaged" in again.faults[0]
    assert (folder / "session.yaml.damaged").read_bytes() == damage
    assert again.add(Prompt(text="red")) == "2"


def test_a_picture_that_is_damaged_costs_its_anchor_or_its_object_and_no_other(folder):
    life = Life(folder)
    life.add(Prompt("red", mask=rectangle(HERE), image=scene(("red", HERE))))
    life.add(Prompt(mask=rectangle(HERE), image=scene(("blue", HERE))))
    life.add(Prompt(text="green"))
    life.die()
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(b"no picture")
    again = Life(folder)
    assert [(o.id, o.prompt) for o in again.tracker.objects] == [("1", "red"), ("3", "green")]
    assert len(again.faults) == 2 and "1.png" in again.faults[0] and "2.png" in again.faults[1]


def test_a_full_disk_keeps_the_session_of_before_and_is_tried_again(folder, monkeypatch):
    life = Life(folder)
    life.add(Prompt(text="red"))
    real = os.replace

    def full(part, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SourceError, match="No space left"):
        life.add(Prompt(mask=rectangle(HERE), image=scene(("blue", HERE))))
    monkeypatch.setattr(os, "replace", real)
    life.memory.flush()
    life.die()
    assert [o.id for o in Life(folder).tracker.objects] == ["1", "2"]


def test_nothing_is_written_while_nothing_changes(folder):
    life = Life(folder)
    life.add(Prompt(text="red"))
    life.show(("red", HERE))
    life.memory.flush()
    before = (folder / "session.yaml").stat().st_mtime_ns
    for _ in range(20):
        life.show(("red", HERE))
        life.memory.flush()
    assert (folder / "session.yaml").stat().st_mtime_ns == before


WORKER = """
import sys
from test_remembering import Life, HERE, rectangle, scene
from uniref_model import Prompt
life = Life(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    number += 1
    if number % 3 == 0:
        name = life.add(Prompt(mask=rectangle(HERE), image=scene(("red", HERE))))
    else:
        name = life.add(Prompt(text=f"red {number}"), f"{sys.argv[2]}-{number}" if number % 3 == 1 else None)
    print("added", name, flush=True)
    life.show(("red", HERE))
    if number % 4 == 0:
        gone = life.tracker.object_ids[0]
        life.tracker.remove(gone)
        life.memory.flush()
        print("removed", gone, flush=True)
    if len(life.tracker.objects) > 6:
        for gone in life.tracker.object_ids[:4]:
            life.tracker.remove(gone)
            life.memory.flush()
            print("removed", gone, flush=True)
"""


def kill_at_random(folder: Path, kills: int, seed: int) -> None:
    """Kill whoever adds and removes objects, at random moments: what was said to be done is done."""
    rng = np.random.default_rng(seed)
    there: set[str] = set()
    ever: set[str] = set()
    paths = (ROOT, ROOT / "test", Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    for kill in range(kills):
        command = [sys.executable, "-c", WORKER, str(folder), f"k{kill}"]
        child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.2))
        child.send_signal(signal.SIGKILL)
        said = [line.split(" ", 1) for line in child.stdout.read().splitlines()]
        child.wait()
        added, removed = ({name for what, name in said if what == verb} for verb in ("added", "removed"))
        assert not added & ever, "no id was given out twice"
        ever |= added
        there = (there | added) - removed
        life = Life(folder)
        assert not life.faults
        found = set(life.tracker.object_ids)
        assert there <= found | removing(there, found), f"kill {kill}: {sorted(there - found)} is lost"
        assert not found & removed, "what was said to be removed stays away"
        there = found
        ever |= found
        life.die()


def removing(there: set[str], found: set[str]) -> set[str]:
    """What may have been removed just when it was killed, before that was said: one object."""
    gone = there - found
    return gone if len(gone) <= 1 else set()


def test_a_killed_process_loses_no_object_and_reuses_no_id(folder):
    kill_at_random(folder, 6, seed=3)


@pytest.mark.slow
def test_two_hundred_killed_processes_lose_no_object_and_reuse_no_id(folder):
    kill_at_random(folder, 200, seed=4)


def test_the_list_of_ids_does_not_grow_with_every_object_there_ever_was(folder, monkeypatch):
    monkeypatch.setattr(remembering, "_TIDY", 20)
    life = Life(folder)
    life.ids.claim("mine")
    for number in range(1, 206):
        assert life.ids.claim() == str(number)
    assert len((folder / session.IDS).read_text().splitlines()) < 25
    life.die()
    again = Life(folder)
    assert again.ids.claim() == "206" and again.ids.was_given("mine") and not life.faults
    again.die()


def test_a_session_that_could_not_be_read_again_is_said_and_the_last_one_stays(folder, monkeypatch):
    life = Life(folder)
    life.add(Prompt(text="red"))
    before = (folder / session.RECORD).read_bytes()
    monkeypatch.setattr(session, "_MOST_BYTES", len(before) + 50)
    with pytest.raises(UniRefError, match=r"bytes of session\.yaml, more than the limit"):
        life.add(Prompt(text="a very long name of a thing " * 10))
    assert (folder / session.RECORD).read_bytes() == before
    life.die()
    assert [item.prompt for item in Life(folder).tracker.objects] == ["red"]


def test_an_id_of_which_half_is_on_disk_is_said(folder, monkeypatch):
    life = Life(folder)
    monkeypatch.setattr(session.os, "write", lambda handle, data: len(data) - 1)
    assert life.ids.claim() == "1"
    assert "may be given out again" in life.faults[0] and "No space left" in life.faults[0]
