"""Data sets go round: what `uniref track --export` writes is read back by pycocotools, a YOLO reader and our
own reader of DAVIS, and shows the masks that `--masks` wrote, pixel by pixel."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, scene

pytest.importorskip("pycocotools", reason="pycocotools is not installed here")
pytest.importorskip("PIL", reason="Pillow is not installed here")

from pycocotools.coco import COCO

from uniref_model.cli import main
from uniref_model.datasets.evaluation.davis import Davis
from uniref_model.labels.choice import Chooser, FrameChoice, difference
from uniref_model.labels.part import decode, encode, plain
from uniref_model.labels.polygons import one_polygon
from uniref_model.labels.review import MOST, doubt
from uniref_model.offline import model as model_choice
from uniref_model.tracking import TrackedFrame, TrackedObject, TrackState

COUNT = 8


@pytest.fixture(autouse=True)
def fake(monkeypatch) -> None:
    monkeypatch.setattr(model_choice, "load_runtime", lambda *_, **__: FakeColourRuntime())


@pytest.fixture
def clip(tmp_path) -> Path:
    """A red frame, from the third picture on, and a blue box that goes behind a green bar, in two parts."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for index in range(COUNT):
        patches = [("blue", (20 + 14 * index, 60, 44, 40)), ("green", (100, 0, 12, 128))]
        if index > 1:
            patches += [("red", (120, 20, 80, 80)), ("yellow", (140, 40, 40, 32))]
        cv2.imwrite(str(folder / f"{index:05d}.png"), scene(*patches)[..., ::-1])
    return folder


def export(clip: Path, form: str, *options: object) -> tuple[Path, dict[str, np.ndarray]]:
    """The data set's folder, and the masks by frame."""
    folder, masks = clip.parent / form, clip.parent / "masks"
    given = ["--prompt", "red", "--prompt", "blue", "--masks", masks, "--export", form, folder]
    assert main(["track", "--quiet", *map(str, [clip, *given, *options])]) == 0
    return folder, {path.stem: cv2.imread(str(path), -1) for path in sorted(masks.glob("*.png"))}


def test_coco_is_loaded_by_pycocotools(clip, capfd):
    folder, masks = export(clip, "coco")
    coco = COCO(str(folder / "annotations" / "instances.json"))
    assert [item["name"] for item in coco.loadCats(coco.getCatIds())] == ["blue", "red"]
    assert [video["name"] for video in coco.dataset["videos"]] == ["clip"]
    assert len(coco.imgs) == COUNT
    for image in coco.imgs.values():
        picture = cv2.imread(str(folder / "images" / image["file_name"]))
        assert picture.shape[:2] == (image["height"], image["width"]) == (128, 224)
        found = np.zeros((128, 224), np.uint8)
        for note in coco.imgToAnns[image["id"]]:
            mask = coco.annToMask(note)
            x, y, w, h = note["bbox"]
            ys, xs = np.nonzero(mask)
            assert (x, y, w, h) == (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
            assert note["area"] == mask.sum() and note["video_id"] == image["video_id"] == 1
            found[mask > 0] = note["track_id"]
        labels = masks[Path(image["file_name"]).stem]
        for track, value in {(n["track_id"], int(n["object"])) for n in coco.anns.values()}:
            assert np.array_equal(found == track, labels == value)
    tracks = {(note["track_id"], note["category_id"]) for note in coco.anns.values()}
    assert len(tracks) == 2 and len({track for track, _ in tracks}) == 2


def read_yolo(folder: Path, split: str) -> dict[str, list[tuple[int, np.ndarray]]]:
    """What a trainer makes of the labels: (class, bool [h,w]) of every line; polygons are cut to whole pixels
    and filled by OpenCV, as usual."""
    found = {}
    for picture in sorted((folder / "images" / split).rglob("*.jpg")):
        height, width = cv2.imread(str(picture)).shape[:2]
        lines = (
            Path(str(picture).replace("/images/", "/labels/")).with_suffix(".txt").read_text().splitlines()
        )
        entries = []
        for line in lines:
            kind, *numbers = line.split()
            points = np.array(numbers, float).reshape(-1, 2)
            assert len(points) >= 3 and points.min() >= 0 and points.max() <= 1
            canvas = np.zeros((height, width), np.uint8)
            cv2.fillPoly(canvas, [(points * (width, height)).astype(np.int32)], 1)
            entries.append((int(kind), canvas > 0))
        found[picture.stem] = entries
    return found


def test_yolo_polygons_show_the_masks_with_their_holes(clip):
    import yaml

    folder, masks = export(clip, "yolo")
    described = yaml.safe_load((folder / "data.yaml").read_text())
    assert described["names"] == {0: "blue", 1: "red"}
    found = read_yolo(folder, "train")
    assert found.keys() == masks.keys()
    with_hole = 0
    for name, labels in masks.items():
        values = {0: 2, 1: 1}  # red was asked for first
        assert {kind for kind, _ in found[name]} == {
            kind for kind, v in values.items() if (labels == v).any()
        }
        for kind, mask in found[name]:
            true = labels == values[kind]
            pieces = cv2.connectedComponents(true.astype(np.uint8))[0] - 1
            with_hole += len(cv2.findContours(true.astype(np.uint8), cv2.RETR_CCOMP, 1)[0]) > pieces
            if pieces == 1:
                assert np.array_equal(mask, true), (name, kind)
            else:  # the cut between pieces is a line
                assert (mask & true).sum() == true.sum() and (mask & ~true).sum() <= 30
    assert with_hole >= COUNT - 3


def test_davis_is_read_by_our_own_reader(clip):
    folder, masks = export(clip, "davis")
    video = Davis(folder, "train").video("clip")
    assert video.frames == tuple(masks) and {item.id for item in video.objects} == {2}
    for stem, picture in video.images():
        assert np.array_equal(video.labels(stem), masks[stem]) and picture.shape == (128, 224, 3)
    first = (folder / "Annotations" / "480p" / "clip" / "00000.png").read_bytes()
    assert b"PLTE" in first
    assert json.loads((folder / "objects.json").read_text())["clip"]["1"] == {"id": "1", "label": "red"}


def test_a_davis_video_begins_where_something_is_seen(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for index in range(4):
        shown = [("red", (40, 40, 40, 40))] if index > 1 else []
        cv2.imwrite(str(folder / f"{index:05d}.png"), scene(*shown)[..., ::-1])
    export(folder, "davis")
    assert Davis(tmp_path / "davis", "train").video("clip").frames == ("00002", "00003")


def test_every_third_frame(clip):
    folder, _ = export(clip, "coco", "--export-every", 3)
    names = sorted(path.name for path in (folder / "images" / "clip").iterdir())
    assert names == ["00000.jpg", "00003.jpg", "00006.jpg"]


def test_frames_that_change_and_frames_that_are_sure(clip, monkeypatch):
    still = scene(("red", (40, 40, 40, 40)))
    moved = scene(("red", (80, 40, 40, 40)))
    chooser = Chooser(FrameChoice(change=0.2))
    assert [chooser.takes(*seen(image)) for image in (still, still, moved, moved, still)] == [1, 0, 1, 0, 1]
    sure = Chooser(FrameChoice(score=0.5))
    assert [sure.takes(*seen(still, score)) for score in (0.9, 0.4, 0.6)] == [True, False, True]


def seen(image: np.ndarray, score: float = 0.9) -> tuple[np.ndarray, TrackedFrame]:
    mask = (image[..., 1] < 100).astype(np.uint8) * 255
    box = (0, 0, mask.shape[1], mask.shape[0])
    item = TrackedObject("1", 1, "red", "red", TrackState.TRACKED, score, box, mask=mask)
    return image, TrackedFrame(0, mask.shape, (item,))


def test_difference_is_0_for_the_same_and_1_for_labels_that_do_not_meet():
    image = np.zeros((48, 64, 3), np.float32)
    one, other = np.zeros((48, 64)), np.zeros((48, 64))
    one[:10], other[20:] = 1, 1
    assert difference((image, one), (image, one)) == 0 and difference((image, one), (image, other)) == 1
    assert difference((image, one * 0), (image + 255, one * 0)) == 1


@pytest.mark.parametrize("bad", [{"every": 0}, {"change": 1.5}, {"score": float("nan")}])
def test_an_impossible_choice_is_refused(bad):
    with pytest.raises(Exception, match="expected"):
        FrameChoice(**bad)


# ---- polygons ----


def filled(line: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [line.astype(np.int32)], 1)
    return canvas > 0


@pytest.mark.parametrize("seed", range(20))
def test_a_polygon_of_one_piece_with_any_holes_is_the_mask_again(seed):
    random = np.random.default_rng(seed)
    mask = cv2.GaussianBlur(random.random((90, 120)), (0, 0), 1.5 + seed % 4) > 0.49
    count, labels = cv2.connectedComponents(mask.astype(np.uint8))
    largest = max(range(1, count), key=lambda value: (labels == value).sum())
    mask = labels == largest
    assert np.array_equal(filled(one_polygon(mask), mask.shape), mask)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (1, 9), (3, 3)])
def test_the_smallest_masks_have_polygons(size):
    mask = np.zeros((20, 20), bool)
    mask[5 : 5 + size[0], 7 : 7 + size[1]] = True
    line = one_polygon(mask)
    assert len(line) >= 3 and np.array_equal(filled(line, mask.shape), mask)


def test_run_lengths_go_round():
    mask = np.random.default_rng(0).random((37, 53)) > 0.5
    assert np.array_equal(decode(encode(mask), [53, 37]), mask)


# ---- review ----


def item(state: TrackState, score: float = 0.9, area: int = 100) -> TrackedObject:
    box = (0, 0, 10, 10) if area else None
    return TrackedObject("1", 1, "red", "red", state, score, box, area)


def test_what_is_doubtful():
    tracked, lost = item(TrackState.TRACKED), item(TrackState.LOST, 0.1, 0)
    assert doubt(tracked, tracked) == (pytest.approx(0.1), "score 0.90")
    assert doubt(lost, tracked) == (0.9, "lost here")
    assert doubt(item(TrackState.TRACKED, 0.1, 0), tracked) == (0.7, "not seen")
    assert doubt(tracked, lost) == (0.8, "found again")
    assert doubt(item(TrackState.TRACKED, 0.3), None)[0] == pytest.approx(0.7)
    assert doubt(item(TrackState.TRACKED, area=400), tracked) == (pytest.approx(1.0), "area x4.00")


def test_the_sheet_has_the_most_doubtful_frames_first(clip):
    folder, _ = export(clip, "coco", "--export-every", 100)
    listed = json.loads((folder / "review.json").read_text())
    doubts = [entry["doubt"] for entry in listed]
    assert doubts == sorted(doubts, reverse=True) and 0 < len(listed) <= min(MOST, COUNT)
    assert {entry["name"] for entry in listed} <= {f"{index:05d}" for index in range(COUNT)}
    sheet = cv2.imread(str(folder / "review.png"))
    assert sheet is not None and sheet.shape[1] == min(4, len(listed)) * 320


# ---- what goes wrong ----


def test_nothing_is_written_over_and_nothing_half_is_left(clip, capfd):
    folder, _ = export(clip, "coco")
    given = [str(clip), "--prompt", "red"]
    assert main(["track", *given, "--export", "coco", str(folder)]) == 1
    assert "is there already" in capfd.readouterr().err
    assert main(["track", *given, "--export", "voc", str(clip.parent / "v")]) == 1
    assert "expected one of coco, yolo, davis" in capfd.readouterr().err
    none = clip.parent / "none"
    assert (
        main(["track", *given, "--prompt", "green", "--export", "coco", str(none), "--export-score", "1"])
        == 1
    )
    assert "no frame was chosen" in capfd.readouterr().err and not none.exists()
    assert sorted(path.name for path in clip.parent.iterdir()) == ["clip", "coco", "masks"]


@pytest.mark.parametrize(
    ("module", "form", "said"),
    [("pycocotools", "coco", "pip install pycocotools"), ("PIL", "davis", "Pillow")],
)
def test_without_what_a_format_needs_the_error_says_what_to_install(
    clip, monkeypatch, capfd, module, form, said
):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    assert main(["track", str(clip), "--prompt", "red", "--export", form, str(clip.parent / "c")]) == 1
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "name"), [("a b/../c", "a_b_.._c"), ("...", "video"), ("", "video"), ("grüße", "gr_e")]
)
def test_names_are_plain(text, name):
    assert plain(text) == name
