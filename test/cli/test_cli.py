"""`uniref`, run as a person runs it; the network is the double of fake_runtime unless a test says
otherwise."""

from __future__ import annotations

import json
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, overlap, rectangle, scene

from uniref_model import __version__
from uniref_model.cli import main
from uniref_model.offline import model as model_choice
from uniref_model.pictures import read_labels
from uniref_model.video import VideoWriter, open_source

BOXES = [(40 + 8 * step, 32, 48, 40) for step in range(6)]


@pytest.fixture(autouse=True)
def fake(monkeypatch) -> FakeColourRuntime:
    runtime = FakeColourRuntime()
    monkeypatch.setattr(model_choice, "load_runtime", lambda *_, **__: runtime.opened())
    return runtime


@pytest.fixture
def video(tmp_path):
    """Six frames of a red box that moves right, green at rest."""
    path = tmp_path / "in.mp4"
    writer = VideoWriter(path, 10)
    for box in BOXES:
        writer.write(scene(("red", box), ("green", (150, 90, 40, 30))))
    writer.close()
    return path


@pytest.fixture
def folder(tmp_path):
    """The same as images whose names sort naturally, not by character."""
    path = tmp_path / "images"
    path.mkdir()
    for index, box in enumerate(BOXES):
        picture = scene(("red", box), ("green", (150, 90, 40, 30)))
        cv2.imwrite(str(path / f"f{index + 7}.png"), picture[..., ::-1])
    return path


def run(*arguments) -> int:
    return main(["track", *map(str, arguments)])


def test_prompts_give_video_masks_and_json(video, tmp_path, capsys):
    out, masks, numbers = tmp_path / "new" / "out.mp4", tmp_path / "masks", tmp_path / "numbers.json"
    status = run(
        video, "--prompt", "the red box", "--prompt", "green", "--prompt", "blue",
        "--out", out, "--masks", masks, "--json", numbers,
    )  # fmt: skip
    assert status == 0
    assert [path.name for path in sorted(masks.iterdir())] == [f"{index:05d}.png" for index in range(6)]
    for box, path in zip(BOXES, sorted(masks.iterdir()), strict=True):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == np.uint8 and set(np.unique(labels)) == {0, 1, 2}
        assert overlap(labels == 1, rectangle(box)) > 0.8
    frames = json.loads(numbers.read_text())["frames"]
    assert len(frames) == 6
    red, _green, blue = frames[2]["objects"]
    assert (red["id"], red["prompt"], red["state"], red["score"]) == ("1", "the red box", "tracked", 0.9)
    assert abs(red["box"][0] - BOXES[2][0]) <= 3
    assert blue["state"] == "searching" and blue["box"] is None
    drawn = [frame.image for frame in open_source(str(out))]
    assert len(drawn) == 6 and drawn[0].shape == (128, 224, 3)
    summary = capsys.readouterr().out
    assert "the red box" in summary and "6 of 6" in summary and "never" in summary


def test_a_label_image_keeps_its_values_and_255_beside_others_is_nobody(folder, tmp_path):
    labels = np.zeros((128, 224), np.uint8)
    labels[rectangle(BOXES[0])] = 5
    labels[90:120, 150:190] = 9
    labels[:4] = 255
    cv2.imwrite(str(tmp_path / "first.png"), labels)
    assert (
        run(folder, "--mask", tmp_path / "first.png", "--prompt", "blue", "--masks", tmp_path / "out", "-q")
        == 0
    )
    names = [f"f{index}.png" for index in range(7, 13)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    first = cv2.imread(str(tmp_path / "out" / "f7.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(first == 5, labels == 5) and np.array_equal(first == 9, labels == 9)
    last = cv2.imread(str(tmp_path / "out" / "f12.png"), cv2.IMREAD_UNCHANGED)
    assert overlap(last == 5, rectangle(BOXES[5])) > 0.8 and overlap(last == 9, labels == 9) > 0.8


def test_a_black_and_white_mask_is_one_object(folder, tmp_path):
    cv2.imwrite(str(tmp_path / "first.png"), rectangle(BOXES[0]) * np.uint8(255))
    assert run(folder, "--mask", tmp_path / "first.png", "--masks", tmp_path / "out", "-q") == 0
    last = cv2.imread(str(tmp_path / "out" / "f12.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(last)) == {0, 1} and overlap(last == 1, rectangle(BOXES[5])) > 0.8


def test_clicks_and_boxes_are_one_object_each(folder, tmp_path, fake):
    fake.spec = type(fake.spec)(**{**vars(fake.spec), "interactive": True})
    x, y, _width, _height = BOXES[0]
    arguments = ["--click", f"{x + 20},{y + 20}", "--box", "145,85,50,40", "--masks", tmp_path / "out", "-q"]
    assert run(folder, *arguments) == 0
    last = cv2.imread(str(tmp_path / "out" / "f12.png"), cv2.IMREAD_UNCHANGED)
    assert overlap(last == 1, rectangle(BOXES[5])) > 0.8
    assert overlap(last == 2, rectangle((150, 90, 40, 30))) > 0.6


def test_more_objects_than_the_default_limit(folder, tmp_path):
    labels = np.zeros((128, 224), np.uint8)
    for value in range(1, 13):
        labels[10 * value : 10 * value + 8 if value < 12 else 128, 4:40] = value
    cv2.imwrite(str(tmp_path / "first.png"), labels)
    status = run(
        folder, "--mask", tmp_path / "first.png", "--masks", tmp_path / "out", "--max-frames", 1, "-q"
    )
    assert status == 0
    (only,) = (tmp_path / "out").iterdir()
    assert np.array_equal(cv2.imread(str(only), cv2.IMREAD_UNCHANGED), labels)


def test_max_frames_and_a_single_image(video, folder, tmp_path):
    assert run(video, "-p", "red", "--max-frames", 2, "--json", tmp_path / "a.json", "-q") == 0
    assert len(json.loads((tmp_path / "a.json").read_text())["frames"]) == 2
    assert run(folder / "f7.png", "-p", "red", "--json", tmp_path / "b.json", "-q") == 0
    (only,) = json.loads((tmp_path / "b.json").read_text())["frames"]
    assert only["name"] == "f7" and only["objects"][0]["state"] == "tracked"


def _text(path, content=b"this is no video"):
    path.write_bytes(content)
    return path


def _png(path, image):
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda t, v: ["/nowhere.mp4", "-p", "red"], "no such file, folder or camera: /nowhere.mp4"),
        (lambda t, v: [_text(t / "bad.mp4"), "-p", "red"], "bad.mp4 cannot be read"),
        (lambda t, v: [_text(t / "bad.png"), "-p", "red"], "bad.png could not be decoded"),
        (lambda t, v: [_text(t / "empty.png", b""), "-p", "red"], "it begins with nothing"),
        (lambda t, v: [t, "-p", "red"], "holds no image"),
        (lambda t, v: [v], "nothing to follow"),
        (lambda t, v: [v, "-p", " ?"], "holds no word"),
        (lambda t, v: [v, "--mask", t / "no.png"], "no.png"),
        (
            lambda t, v: [v, "--mask", _png(t / "m.png", np.ones((10, 20), np.uint8))],
            "(10, 20), expected the frame's",
        ),
        (lambda t, v: [v, "--mask", _png(t / "m.png", np.zeros((128, 224), np.uint8))], "is empty"),
        (lambda t, v: [v, "--mask", _png(t / "m.png", np.ones((128, 224), np.uint16))], "uint16"),
        (lambda t, v: [v, "--mask", _png(t / "m.png", scene(("red", BOXES[0])))], "colour image"),
        (lambda t, v: [v, "--click", "5"], "'5' is not X,Y"),
        (lambda t, v: [v, "--click", "500,5"], "outside the frame of 224x128"),
        (lambda t, v: [v, "--box", "1,2,3,x"], "is not X,Y,W,H"),
        (lambda t, v: [v, "-p", "red", "--out", t / "a.gif"], "a.gif: expected a name that ends in .mp4"),
        (lambda t, v: [v, "-p", "red", "--json", _text(t / "file") / "a.json"], "cannot make the folder"),
        (lambda t, v: [v, "-p", "red", "--references", "both"], "references is 'both'"),
    ],
)
def test_errors_are_one_clear_message_and_status_1(arguments, message, video, tmp_path, capfd):
    place = tmp_path / "place"
    place.mkdir()
    assert run(*arguments(place, video)) == 1
    lines = capfd.readouterr().err.splitlines(keepends=True)
    error = "".join(line for line in lines if not line.startswith("[mov,"))  # FFmpeg's own, before OpenCV 4.6
    assert error.startswith("error: ") and error.count("\n") == 1 and "Traceback" not in error
    assert message in error


def test_a_truncated_video_is_refused(video, tmp_path, capfd):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    assert run(cut, "-p", "red") == 1
    assert "cut.mp4 cannot be read" in capfd.readouterr().err


def test_files_written_until_an_error_are_whole(folder, tmp_path, capfd):
    (folder / "f9.png").write_bytes(b"broken")
    numbers, out = tmp_path / "a.json", tmp_path / "a.mp4"
    assert run(folder, "-p", "red", "--json", numbers, "--out", out) == 1
    assert "f9.png" in capfd.readouterr().err
    assert len(json.loads(numbers.read_text())["frames"]) == 2
    assert sum(1 for _ in open_source(str(out))) == 2


def test_an_unknown_model_lists_what_there_is(monkeypatch, video, capfd):
    monkeypatch.undo()
    assert run(video, "-p", "red", "--model", "nonsense") == 1
    assert "no model 'nonsense'" in capfd.readouterr().err
    assert run(video, "-p", "red", "--runtime", "abacus") == 1
    assert "no runtime 'abacus', expected auto or one of onnxruntime" in capfd.readouterr().err


def test_a_wrong_command_line_is_status_2(capsys):
    assert main(["track"]) == 2
    assert main(["nonsense"]) == 2
    assert main(["track", "0", "--max-frames", "-1"]) == 2


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out
    assert main(["track", "--help"]) == 0
    assert "--prompt" in capsys.readouterr().out


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_masks_are_read_as_indices(tmp_path, bits):
    """DAVIS ships its masks as palette PNGs, which OpenCV would turn into colours."""
    highest = 2**bits - 1
    labels = np.zeros((5, 16), np.uint8)
    labels[1:3, 1:9] = highest
    labels[4, 2] = 1
    path = tmp_path / "palette.png"
    path.write_bytes(_palette_png(labels, bits))
    assert np.array_equal(read_labels(path), labels)


def _palette_png(labels: np.ndarray, bits: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    planes = np.unpackbits(labels[..., None], axis=-1)[..., 8 - bits :].reshape(len(labels), -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(planes, axis=1))
    header = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], bits, 3, 0, 0, 0)
    palette = bytes(range(3 * 2**bits)) if bits < 8 else bytes(768)
    body = chunk(b"IHDR", header) + chunk(b"PLTE", palette) + chunk(b"tRNS", b"\0")
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_info_describes_files_and_refuses_others(tmp_path, capsys):
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    assert main(["info", str(path)]) == 0
    assert "tensors" in capsys.readouterr().out
    assert main(["info", str(_text(tmp_path / "b.safetensors"))]) == 1
    assert main(["info", str(_text(tmp_path / "c.onnx"))]) == 1
    assert main(["info", str(tmp_path / "d")]) == 1
    assert capsys.readouterr().err.count("error: ") == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (struct.pack("<Q", 2**62) + b"{}", "states 4611686018427387904 bytes"),
        (struct.pack("<Q", 2**64 - 1), "states 18446744073709551615 bytes"),
        (struct.pack("<Q", 2) + b"[]", "no mapping"),
        (struct.pack("<Q", 12) + b'{"a": [1, 2]', "not a safetensors file"),
        (struct.pack("<Q", 12) + b'{"a": [1,2]}', "not a safetensors file"),
        (struct.pack("<Q", 9) + b'{"a": {}}', "'shape'"),
        (struct.pack("<Q", 420) + b'{"a": {"shape": [1' + b"0" * 399 + b"]}}", "not a safetensors file"),
        (b"\1\2\3", "not a safetensors file"),
    ],
)
def test_what_a_safetensors_file_states_is_not_believed(content, reason, tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert main(["info", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and reason in error


def test_info_of_what_is_no_ordinary_file_does_not_wait(tmp_path, capsys):
    for name in ("a.safetensors", "a.onnx"):
        os.mkfifo(tmp_path / name)
        assert main(["info", str(tmp_path / name)]) == 1
    assert capsys.readouterr().err.count("no such file") == 2


def test_notes_in_a_safetensors_file_cannot_write_to_the_terminal(tmp_path, capsys):
    header = json.dumps({"__metadata__": {"by": "\x1b[2Jme", "\x1b]0;": "x" * 5000}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and len(out) < 5000
