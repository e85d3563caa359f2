"""What people's files are like, and what becomes of them: `uniref track` destroys none, believes no header,
and says what it cannot write. The inputs in test/field were made by ffmpeg, Chromium and Pillow."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, rectangle, scene

from uniref_model import pictures
from uniref_model.cli import main
from uniref_model.errors import MaskError, SourceError
from uniref_model.limits import LimitError
from uniref_model.offline import model as model_choice
from uniref_model.outputs import keep_apart, write_whole
from uniref_model.pictures import read_image, read_masks
from uniref_model.video import VideoWriter, encodable_rate, open_source

FIELD = Path(__file__).parents[1] / "field"
BOX = (40, 32, 48, 40)


@pytest.fixture(autouse=True)
def fake(monkeypatch) -> None:
    monkeypatch.setattr(model_choice, "load_runtime", lambda *_, **__: FakeColourRuntime())


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    for index in range(3):
        cv2.imwrite(str(path / f"f{index}.png"), scene(("red", BOX))[..., ::-1])
    return path


def _link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def _hard_link(path: Path, target: Path) -> Path:
    path.hardlink_to(target)
    return path


def run(*arguments: object) -> int:
    return main(["track", *map(str, arguments)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# ---- outputs and inputs ----


@pytest.mark.parametrize(
    "outputs",
    [
        lambda f, t: ["--masks", f],
        lambda f, t: ["--masks", f / ".." / f.name],
        lambda f, t: ["--masks", _link(t / "other", f)],
        lambda f, t: ["--json", f / "f1.png"],
        lambda f, t: ["--json", _hard_link(t / "a.json", f / "f1.png")],
        lambda f, t: ["--json", t / "a", "--out", _link(t / "a.mp4", t / "a")],
        lambda f, t: ["--masks", t / "m", "--json", t / "m" / "f2.png"],
    ],
)
def test_outputs_destroy_neither_inputs_nor_each_other(outputs, folder, tmp_path, capfd):
    before = contents(folder)
    assert run(folder, "-p", "red", *outputs(folder, tmp_path)) == 1
    error = capfd.readouterr().err
    assert "written over" in error or "are one file" in error
    assert contents(folder) == before


def test_the_source_video_and_the_given_mask_are_kept(tmp_path, capfd):
    video = tmp_path / "in.mp4"
    writer = VideoWriter(video, 10)
    writer.write(scene(("red", BOX)))
    writer.close()
    before = video.read_bytes()
    assert run(video, "-p", "red", "--out", video) == 1
    mask = tmp_path / "first.png"
    cv2.imwrite(str(mask), rectangle(BOX) * np.uint8(255))
    assert run(video, "--mask", mask, "--json", mask) == 1
    assert capfd.readouterr().err.count("which is read") == 2 and video.read_bytes() == before


def test_two_pictures_that_would_share_a_mask_are_refused(folder, tmp_path, capfd):
    cv2.imwrite(str(folder / "f1.jpg"), scene(("red", BOX))[..., ::-1])
    assert run(folder, "-p", "red", "--masks", tmp_path / "out") == 1
    assert "would share the mask f1.png" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_devices_may_be_written_twice_and_new_files_lie_side_by_side(tmp_path):
    keep_apart([Path("/dev/null"), Path("/dev/null"), tmp_path / "a", tmp_path / "b"], [tmp_path / "c"])


# ---- writing ----


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_no_room_for_the_numbers_is_said(folder, capfd):
    assert run(folder, "-p", "red", "--json", "/dev/full") == 1
    error = capfd.readouterr().err
    assert "cannot write /dev/full: No space left on device" in error and "Traceback" not in error


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 kB; only root may make one."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be made by root alone")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_is_an_error_and_leaves_no_half_file(small_disk, tmp_path, capfd):
    noise = tmp_path / "noise"
    noise.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        picture = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
        cv2.imwrite(str(noise / f"{index}.png"), picture)
    for option, name in (("--out", "a.mp4"), ("--out", "a.avi"), ("--json", "a.json"), ("--masks", "masks")):
        filler = small_disk / "filler"
        filler.write_bytes(bytes(48_000 if name.startswith("a.") and option == "--out" else 65_536))
        assert run(noise, "-p", "red", option, small_disk / name) == 1, name
        assert "cannot" in capfd.readouterr().err, name
        filler.unlink()
        assert not [path for path in small_disk.rglob("*") if path.is_file()], name


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    with pytest.raises(SourceError, match="cannot write"):
        write_whole(tmp_path, "x")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half \udcff")
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


# ---- masks ----


@pytest.mark.parametrize("name", ["antialiased", "resized"])
def test_a_soft_mask_is_refused_with_what_to_do_and_is_one_object_when_said(name):
    with pytest.raises(MaskError, match=r"thin rims.*--mask-form object"):
        read_masks(FIELD / f"{name}.png")
    (soft,) = read_masks(FIELD / f"{name}.png", "object")
    (hard,) = read_masks(FIELD / "hard.png")
    assert (soft.mask & hard.mask).sum() > 0.9 * (soft.mask | hard.mask).sum() and hard.label is None


def test_a_mask_saved_as_jpeg_is_refused(tmp_path):
    hard = cv2.imread(str(FIELD / "hard.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "m.jpg"), hard)
    with pytest.raises(MaskError, match="in a JPEG"):
        read_masks(tmp_path / "m.jpg")
    (found,) = read_masks(tmp_path / "m.jpg", "object")
    assert np.array_equal(found.mask, hard > 127)


def test_a_cut_out_is_its_opaque_part(tmp_path):
    rgba = np.full((60, 80, 4), 255, np.uint8)
    rgba[..., 3] = rectangle((20, 10, 30, 20), (60, 80)) * np.uint8(255)
    cv2.imwrite(str(tmp_path / "cut.png"), rgba)
    (found,) = read_masks(tmp_path / "cut.png")
    assert found.mask.sum() == 30 * 20 and found.label is None
    rgba[..., 3] = 0
    cv2.imwrite(str(tmp_path / "none.png"), rgba)
    with pytest.raises(MaskError, match="empty"):
        read_masks(tmp_path / "none.png")


def test_small_and_touching_labels_are_labels(tmp_path):
    labels = np.zeros((60, 80), np.uint8)
    labels[10:13, 10:13], labels[20:40, 20:40], labels[20:40, 40:60], labels[50, 5] = 3, 1, 2, 4
    labels[25:30, 25:30] = 7
    cv2.imwrite(str(tmp_path / "m.png"), labels)
    found = read_masks(tmp_path / "m.png")
    assert [item.label for item in found] == [1, 2, 3, 4, 7]
    assert all((item.mask == (labels == item.label)).all() for item in found)


# ---- reading ----


def huge_png(path: Path, side: int = 30_000) -> Path:
    """A few hundred bytes that state side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def test_a_stated_size_is_checked_before_it_costs_anything(tmp_path):
    path = huge_png(tmp_path / "huge.png")
    code = (
        "import resource, sys; from pathlib import Path; from uniref_model.pictures import read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_image(Path(sys.argv[1]))\n"
        "except Exception as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=100
    )
    message, kilobytes = done.stdout.splitlines()
    assert "30000x30000" in message and "64.0 megapixels" in message and int(kilobytes) < 50_000
    with pytest.raises(LimitError, match=r"more than the limit of 0\.0 megapixels"):
        read_image(FIELD / "hard.png", max_pixels=100)


def test_what_is_no_ordinary_file_neither_hangs_nor_fills_memory(tmp_path, capfd):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(20 << 30)
    for name, reason in (("pipe", "no ordinary"), ("zero", "no ordinary"), ("sparse", "more than the limit")):
        assert run(tmp_path / f"{name}.png", "-p", "red") == 1
        assert run(FIELD / "base.mp4", "--mask", tmp_path / f"{name}.png") == 1
        assert capfd.readouterr().err.count(reason) == 2, name


def test_a_cut_picture_is_refused(tmp_path):
    with pytest.raises(SourceError, match="cut short"):
        read_image(FIELD / "cut.jpg")
    whole = (FIELD / "frame.png" if (FIELD / "frame.png").exists() else FIELD / "hard.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(SourceError, match="cut short"):
        read_image(tmp_path / "cut.png")


def test_hidden_files_of_a_mac_are_left_out(folder, tmp_path):
    (folder / "._f1.png").write_bytes(b"\0\x05\x16\x07")
    assert run(folder, "-p", "red", "--masks", tmp_path / "out", "-q") == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_folders_are_in_natural_order_everywhere(tmp_path):
    for index in (0, 1, 10, 11, 2):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((4, 4), np.uint8))
    names = [path.stem for path in pictures.list_images(tmp_path)]
    assert names == ["0", "1", "2", "10", "11"]


@pytest.mark.parametrize(
    ("rate", "written"), [(29.97, 29.97), (1000.0, 25.0), (float("nan"), 25.0), (None, 25.0)]
)
def test_only_rates_that_can_be_are_believed(rate, written):
    assert encodable_rate(rate) == written


@pytest.mark.parametrize("rate", [1.0, 7.3333333, 23.976023976, 59.94005994, 119.88011988, 239.7602398])
def test_odd_rates_can_be_written_and_read(rate, tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", rate)
    for _ in range(5):
        writer.write(scene(("red", BOX)))
    writer.close()
    source = open_source(str(tmp_path / "a.mp4"))
    assert sum(1 for _ in source) == 5 and source.fps == pytest.approx(rate, rel=0.01)
    source.close()


@pytest.mark.parametrize("name", ["browser.webm", "stream.ts", "base.mp4"])
def test_the_overlay_lasts_as_long_as_the_source(name, tmp_path):
    assert run(FIELD / name, "-p", "red", "--out", tmp_path / "a.mp4", "-q") == 0
    source, made = open_source(str(FIELD / name)), open_source(str(tmp_path / "a.mp4"))
    frames = sum(1 for _ in source)
    assert sum(1 for _ in made) == frames > 1
    assert 5 <= made.fps <= 61, f"{frames} frames in {frames / made.fps:.2f} s"


def test_names_that_are_no_utf8_are_errors_and_no_crash(tmp_path):
    """In a process of its own: OpenCV used to end it."""
    name = os.fsencode(tmp_path) + b"/bad\xff.mp4"
    with open(name, "wb") as file:
        file.write((FIELD / "base.mp4").read_bytes())
    for arguments in (
        [name, b"-p", b"red"],
        [os.fsencode(FIELD / "base.mp4"), b"-p", b"red", b"--out", name],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "uniref_model.cli", "track", *arguments], capture_output=True, timeout=100
        )
        assert done.returncode == 1 and b"must be UTF-8" in done.stderr and b"Traceback" not in done.stderr


def test_a_picture_whose_name_is_no_utf8_is_followed(folder, tmp_path):
    os.rename(folder / "f1.png", os.fsencode(folder) + b"/f1\xff.png")
    assert run(folder, "-p", "red", "--json", tmp_path / "a.json", "--masks", tmp_path / "m", "-q") == 0
    names = [frame["name"] for frame in json.loads((tmp_path / "a.json").read_text())["frames"]]
    assert len(names) == 3 and len(list((tmp_path / "m").iterdir())) == 3


@pytest.mark.parametrize("prompt", ["[/a red cup]", "[a, b] red", "[bold]red[/bold]", ":red_circle: red"])
def test_square_brackets_in_words_are_words(prompt, folder, capsys):
    assert run(folder, "--prompt", prompt) == 0
    assert prompt in capsys.readouterr().out


def test_a_camera_device_is_a_camera(monkeypatch):
    """As far as a machine without one can show: it is opened by its number, not called a bad video file."""
    monkeypatch.setattr(Path, "is_char_device", lambda self: str(self) == "/dev/video7")
    with pytest.raises(SourceError, match="the camera /dev/video7 cannot be read"):
        open_source("/dev/video7")
