"""Known objects on disk: what is taught is there, whole, for everybody, whatever happens to who wrote it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_runtime import rectangle, scene

from uniref_model import KnownObjectError, KnownObjects, SourceError
from uniref_model.known_objects import default_folder, name_key
from uniref_model.limits import MAX_VIEW_PIXELS

HERE = Path(__file__).resolve().parent
BOX = (40, 30, 30, 20)
IMAGE, MASK = scene(("red", BOX)), rectangle(BOX)


@pytest.fixture
def known(tmp_path) -> KnownObjects:
    return KnownObjects(tmp_path / "known")


def numbers(known: KnownObjects, name: str) -> list[int]:
    found = known.find(name)
    return [] if found is None else [view.number for view in found.views]


@pytest.mark.parametrize("text", ["my mug", "Mug", "the MUG.", " a  mug! ", "that mug"])
def test_a_name_is_found_whatever_its_case_article_and_punctuation(known, text):
    known.teach("my mug", IMAGE, MASK)
    assert known.find(text).name == "my mug"
    assert known.find("mug rack") is None and known.find("") is None


def test_what_is_taught_is_read_back_and_people_can_read_it(known):
    known.teach("my mug", IMAGE, MASK)
    (view,) = known.find("mug").views
    image, mask = known.read(view)
    assert (image == IMAGE).all() and (mask == MASK).all()
    folder = known.folder / "mug"
    assert sorted(path.name for path in folder.iterdir()) == ["object.yaml", "view_1.png", "view_1_mask.png"]
    assert "name: my mug" in (folder / "object.yaml").read_text()
    assert cv2.imread(str(folder / "view_1_mask.png"), cv2.IMREAD_UNCHANGED).max() == 255


def test_another_store_of_the_same_folder_sees_it_at_once(known):
    other = KnownObjects(known.folder)
    known.teach("my mug", IMAGE, MASK)
    assert numbers(other, "mug") == [1]
    assert not other.refresh(), "nothing has changed since"
    known.forget("mug")
    assert other.refresh() and other.find("mug") is None


def test_views_are_bounded_and_the_one_to_give_up_is_chosen(tmp_path):
    known = KnownObjects(tmp_path, max_views=3)
    for _ in range(3):
        known.teach("mug", IMAGE, MASK)
    known.teach("mug", IMAGE, MASK, drop=2)
    assert numbers(known, "mug") == [1, 3, 4]
    known.teach("mug", IMAGE, MASK)
    assert numbers(known, "mug") == [3, 4, 5], "else the oldest goes"
    assert len(list((tmp_path / "mug").glob("*.png"))) == 6, "and its files with it"
    known.teach("the Mug", IMAGE, MASK, replace=True)
    assert numbers(known, "mug") == [6] and known.find("mug").name == "the Mug"
    with pytest.raises(ValueError, match="max_views is 0"):
        KnownObjects(tmp_path, max_views=0)


def test_a_view_can_be_forgotten_by_itself_and_the_last_takes_the_name(known):
    known.teach("mug", IMAGE, MASK)
    known.teach("mug", IMAGE, MASK)
    with pytest.raises(KnownObjectError, match="no view 7; there are 1, 2"):
        known.forget_view("mug", 7)
    known.forget_view("mug", 1)
    assert numbers(known, "mug") == [2]
    known.forget_view("mug", 2)
    assert known.objects == () and not (known.folder / "mug").exists()
    with pytest.raises(KnownObjectError, match="no known object has the name 'mug'; there are none"):
        known.forget("mug")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "no letter or digit"),
        ("../..", "no letter or digit"),
        ("…", "no letter or digit"),
        ("a\nb", "control character"),
        ("x" * 61, "61 characters"),
        ("\ud800", "half a character"),
        (7, "must be text"),
    ],
)
def test_bad_names_are_refused(known, name, reason):
    with pytest.raises(KnownObjectError, match=reason):
        known.teach(name, IMAGE, MASK)
    assert not known.folder.exists(), "nothing was made"


@pytest.mark.parametrize(
    "name", ["../mug", "/etc/mug", "..", ".mug", "a/b", "mug\\..", "~", "CON 7", "Müllers Tasse"]
)
def test_no_name_leads_outside_the_folder(tmp_path, name):
    known = KnownObjects(tmp_path / "a" / "known")
    if name_key(name):
        known.teach(name, IMAGE, MASK)
        assert known.find(name) is not None
        assert {path.parent for path in known.folder.glob("*/object.yaml")} == {known.folder / name_key(name)}
    assert {path.name for path in tmp_path.rglob("object.yaml")} <= {"object.yaml"}
    assert not list(tmp_path.glob("*.yaml")) and {path.name for path in tmp_path.iterdir()} <= {"a"}


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((128, 224), bool), "shows nothing"),
        (rectangle((5, 5, 3, 3)), "next to nothing: 9 pixels"),
        (np.ones((128, 224), bool), "everything: the mask covers 100%"),
        (rectangle((10, 10, 20, 20)) | rectangle((150, 80, 20, 20)), "two things"),
    ],
)
def test_what_does_not_show_one_thing_is_refused_with_the_reason(known, mask, reason):
    with pytest.raises(KnownObjectError, match=reason):
        known.teach("mug", IMAGE, mask)
    assert known.find("mug") is None


def test_a_finger_across_a_thing_and_crumbs_beside_it_make_no_two_things(known):
    mask = rectangle((40, 30, 60, 40))
    mask[:, 66:72] = False
    mask |= rectangle((150, 90, 8, 8))
    assert numbers_after(known, mask) == [1]


def numbers_after(known, mask):
    known.teach("mug", IMAGE, mask)
    return numbers(known, "mug")


def test_large_pictures_are_kept_smaller(known):
    image = np.zeros((2000, 3000, 3), np.uint8)
    mask = np.zeros((2000, 3000), bool)
    mask[500:1500, 1000:2000] = True
    known.teach("mug", image, mask)
    kept, shown = known.read(known.find("mug").views[0])
    assert kept.shape[0] * kept.shape[1] <= MAX_VIEW_PIXELS
    assert abs(shown.mean() - mask.mean()) < 0.01


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "object.yaml").write_text("name: [mug"), "object.yaml: "),
        (lambda folder: (folder / "object.yaml").write_text("name: mug\nnext: 2\nviews: []\n"), "0 views"),
        (
            lambda folder: (folder / "object.yaml").write_text("a: &a [x,x]\nb: &b [*a,*a]\n"),
            "unknown setting",
        ),
        (lambda folder: (folder / "object.yaml").write_bytes(b"\xff" * 100), "object.yaml: "),
        (lambda folder: (folder / "object.yaml").write_bytes(b"#" * 100_000), "limit of 65536 bytes"),
        (lambda folder: (folder / "object.yaml").unlink(), "no object.yaml"),
        (lambda folder: [path.unlink() for path in folder.glob("*_mask.png")], "none of its pictures"),
        (lambda folder: (folder / "view_1.png").write_bytes(b""), "none of its pictures"),
        (
            lambda folder: ((folder / "object.yaml").unlink(), os.mkfifo(folder / "object.yaml")),
            "no ordinary file",
        ),
        (
            lambda folder: (folder / "object.yaml").write_text(
                "name: mug\nnext: 2\nviews: [{number: 1, picture: ../x.png, mask: view_1_mask.png}]"
            ),
            "names the file '../x.png'",
        ),
        (lambda folder: folder.rename(folder.parent / "mug copy"), "belongs in another folder"),
    ],
)
def test_what_is_damaged_is_named_and_left_out_and_the_rest_works(known, damage, reason):
    known.teach("tray", IMAGE, MASK)
    known.teach("mug", IMAGE, MASK)
    damage(known.folder / "mug")
    again = KnownObjects(known.folder)
    assert [item.name for item in again.objects] == ["tray"]
    ((name, text),) = [fault for fault in again.damaged.items() if not fault[0].endswith(".png")]
    assert name in ("mug", "mug copy") and reason in text
    again.forget(name)
    assert not again.damaged and [path.name for path in again.folder.iterdir() if path.is_dir()] == ["tray"]


def test_a_view_whose_picture_is_cut_is_found_out_when_read_and_the_others_serve(known):
    known.teach("mug", IMAGE, MASK)
    known.teach("mug", IMAGE, MASK)
    path = known.folder / "mug" / "view_1.png"
    path.write_bytes(path.read_bytes()[:200])
    known.refresh()
    first, second = known.find("mug").views
    with pytest.raises(SourceError, match="cut short"):
        known.read(first)
    assert list(known.damaged) == ["mug/view 1"]
    known.read(second)


def test_a_persons_own_files_stay_and_leftovers_of_killed_writers_go(known):
    known.teach("mug", IMAGE, MASK)
    folder = known.folder / "mug"
    (folder / "notes.txt").write_text("from the shop")
    (folder / "view_9.png").write_bytes(b"left over")
    (folder / ".view_9.abc.png").write_bytes(b"left over")
    (known.folder / ".new-1234").mkdir()
    known.teach("mug", IMAGE, MASK)
    assert sorted(path.name for path in folder.glob("*.png")) == [
        "view_1.png", "view_1_mask.png", "view_2.png", "view_2_mask.png",
    ]  # fmt: skip
    assert (folder / "notes.txt").exists() and not (known.folder / ".new-1234").exists()


def test_a_full_disk_is_said_and_changes_nothing(known, monkeypatch):
    known.teach("mug", IMAGE, MASK)
    real = os.replace

    def full(part, path):
        if str(path).endswith("object.yaml"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(part, path)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SourceError, match="No space left"):
        known.teach("mug", IMAGE, MASK)
    with pytest.raises(SourceError, match="No space left"):
        known.teach("tray", IMAGE, MASK)
    monkeypatch.undo()
    again = KnownObjects(known.folder)
    assert numbers(again, "mug") == [1] and again.find("tray") is None and not again.damaged
    assert not list(known.folder.rglob(".view*")) and not list(known.folder.glob(".new-*"))


def test_a_lock_that_is_a_link_is_not_followed(known, tmp_path):
    known.folder.mkdir()
    (known.folder / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="cannot write"):
        known.teach("mug", IMAGE, MASK)
    assert not (tmp_path / "elsewhere").exists()


def test_the_default_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "uniref_ros" / "known_objects"
    assert KnownObjects().folder == default_folder() and not default_folder().exists()


WRITER = """
import sys, numpy as np
from fake_runtime import rectangle, scene
from uniref_model import KnownObjects
folder, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
known = KnownObjects(folder, max_views=64)
image, mask = scene(("red", (40, 30, 30, 20))), rectangle((40, 30, 30, 20))
print("ready", flush=True)
for number in range(count):
    known.teach("shared mug", image, mask)
    known.teach(f"mug {who} {number}", image, mask)
    print(number, flush=True)
"""


def writer(folder: Path, who: str, count: int) -> subprocess.Popen:
    root = HERE.parents[1]
    env = {**os.environ, "PYTHONPATH": f"{root}:{root / 'test'}"}
    command = [sys.executable, "-c", WRITER, str(folder), who, str(count)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def test_writers_in_several_processes_lose_nothing(tmp_path):
    writers = [writer(tmp_path, who, 10) for who in "abc"]
    assert [child.wait(120) for child in writers] == [0, 0, 0]
    known = KnownObjects(tmp_path)
    assert numbers(known, "shared mug") == list(range(1, 31))
    assert len(known.objects) == 31 and not known.damaged


def kill_at_random(folder: Path, kills: int, seed: int) -> None:
    """Kill a writer at random moments; all that it said was taught is there, and nothing is half there."""
    rng = np.random.default_rng(seed)
    known = KnownObjects(folder, max_views=64)
    for kill in range(kills):
        said = -1
        child = writer(folder, f"k{kill}", 1000)
        assert child.stdout.readline() == "ready\n"
        deadline = time.monotonic() + rng.uniform(0.0, 0.15)
        while time.monotonic() < deadline:
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        said = int(rest[-1]) if rest else -1
        child.wait()
        known.refresh()
        assert not known.damaged
        there = {item.name for item in known.objects}
        assert {f"mug k{kill} {number}" for number in range(said + 1)} <= there
        for item in known.objects:
            for view in item.views:
                image, mask = view.read()
                assert (image == IMAGE).all() and (mask == MASK).all()
        for item in known.objects:  # begin anew, so that it stays small
            if item.name != "shared mug":
                known.forget(item.name)
    assert numbers(known, "shared mug"), "what is taught again and again is still there"
    known.teach("last", IMAGE, MASK)
    leftovers = [path.name for path in folder.iterdir() if path.name.startswith((".new-", ".old-"))]
    assert not leftovers, "killed writers' leftovers are swept by the next"


def test_a_killed_writer_loses_nothing(tmp_path):
    kill_at_random(tmp_path, 5, seed=1)


@pytest.mark.slow
def test_two_hundred_killed_writers_lose_nothing(tmp_path):
    kill_at_random(tmp_path, 200, seed=2)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text("no folder"), "Not a directory"),
        (os.mkfifo, "Not a directory"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_a_folder_that_cannot_be_read_is_said_and_taken_up_when_it_can(tmp_path, make, reason):
    make(tmp_path / "known")
    known = KnownObjects(tmp_path / "known")
    assert known.objects == () and known.damaged == {"everything": reason}
    (tmp_path / "known").unlink()
    known.refresh()
    assert not known.damaged
    known.teach("mug", IMAGE, MASK)
    assert [item.name for item in known.objects] == ["mug"] and not known.damaged
