"""`uniref eval`: clips by words, mask, click and box; the tracker and the authors' protocol as predictors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import evaluation_data as data
import numpy as np
import pytest
from fake_runtime import COLOURS, GREY, FakeColourRuntime
from PIL import Image
from typer.testing import CliRunner

from uniref_model.datasets.errors import DatasetError
from uniref_model.errors import UniRefError
from uniref_model.evaluation import clips
from uniref_model.evaluation.predictors import TrackerPredictor
from uniref_model.evaluation.presets import load_preset
from uniref_model.evaluation.runner import run_benchmark
from uniref_model.evaluation.sheets import ContactSheet, SheetWriter
from uniref_model.tracking import TrackedFrame, TrackedObject, TrackState

HEIGHT, WIDTH = 128, 224
BOX = (20, 30, 60, 40)
"""x, y, width, height of the red box in the first frame; it moves right by 10 pixels a frame."""
STEMS = ("00000", "00004", "00008")


def truth(index: int) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    x, y, width, height = BOX
    labels[y : y + height, x + 10 * index : x + 10 * index + width] = 1
    return labels


def make_clip(
    folder: Path, kind: str = "video", expressions: tuple[str, ...] = ("the red box", "red")
) -> Path:
    stems = STEMS if kind == "video" else STEMS[:1]
    for index, stem in enumerate(stems):
        labels = truth(index)
        image = np.where(labels[..., None] == 1, COLOURS["red"], GREY).astype(np.uint8)
        for name, value in (("frames", image), ("masks", labels)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(value).save(folder / name / f"{stem}.png")
    objects = [{"id": 1, "expressions": list(expressions)}]
    data.write_json(folder / "meta.json", {"name": folder.name, "kind": kind, "objects": objects})
    return folder


class FakeTracker:
    """Answers `answer(index of the step)` whatever it is asked, and keeps what it was given."""

    given: list

    def __init__(self, answer: Callable[[int], np.ndarray]) -> None:
        self.answer, self.steps, self.given = answer, 0, []

    def add_text(self, prompt: str) -> str:
        self.given.append(("words", prompt))
        return "7"

    def add_mask(self, mask: np.ndarray, *, prompt: str | None = None) -> str:
        self.given.append(("mask", int(mask.sum()), prompt))
        return "7"

    def add_points(self, points) -> str:
        self.given.append(("click", points))
        return "7"

    def add_box(self, box) -> str:
        self.given.append(("box", box))
        return "7"

    def step(self, image: np.ndarray) -> TrackedFrame:
        mask = self.answer(self.steps).astype(np.uint8) * 255
        self.steps += 1
        box = (0, 0, mask.shape[1], mask.shape[0])
        item = TrackedObject("7", 3, "", "", TrackState.TRACKED, 0.9, box, mask=mask)
        return TrackedFrame(self.steps - 1, mask.shape, (item,), {"total": 5.0})


def evaluate(folder: Path, answer: Callable[[int], np.ndarray], *references: str):
    made: list[FakeTracker] = []

    def make() -> FakeTracker:
        made.append(FakeTracker(answer))
        return made[-1]

    return clips.evaluate_references(clips.load_clip(folder), make, references), made


def test_perfect_shifted_and_empty_trackers(tmp_path):
    folder = make_clip(tmp_path / "clip")
    perfect, _ = evaluate(folder, truth, "words")
    assert perfect["means"]["words"] == {"J": 1.0, "F": 1.0, "J&F": 1.0, "runs": 2}
    shifted, _ = evaluate(folder, lambda i: np.roll(truth(i), 20, axis=1), "words")
    assert shifted["means"]["words"]["J"] == 0.5  # 60 columns, moved by 20
    empty, _ = evaluate(folder, lambda i: np.zeros_like(truth(i)), "words")
    assert empty["means"]["words"]["J&F"] == 0


def test_references_come_from_the_first_mask(tmp_path):
    folder = make_clip(tmp_path / "clip", expressions=("red",))
    result, trackers = evaluate(folder, truth, "words", "mask", "click", "box", "words+mask")
    x, y, width, height = BOX
    kinds = [tracker.given[0] for tracker in trackers]
    assert kinds[0] == ("words", "red")
    assert kinds[1] == ("mask", width * height, None)
    (click_x, click_y), *_ = kinds[2][1]
    assert x + height / 2 - 1 <= click_x <= x + width - height / 2 and abs(click_y - (y + height / 2)) <= 1
    assert kinds[3] == ("box", BOX)
    assert kinds[4] == ("mask", width * height, "red")
    scored = {run["reference"]: [frame["frame"] for frame in run["frames"]] for run in result["runs"]}
    assert scored["words"] == scored["click"] == scored["box"] == list(STEMS)
    assert scored["mask"] == scored["words+mask"] == list(STEMS[1:])  # a given mask is no answer


def test_an_object_that_comes_later_is_pointed_at_when_it_comes(tmp_path):
    folder = make_clip(tmp_path / "clip", expressions=("red",))
    cv2.imwrite(str(folder / "masks" / "00000.png"), np.zeros((HEIGHT, WIDTH), np.uint8))
    result, trackers = evaluate(folder, lambda i: truth(i + 1), "click")
    assert trackers[0].steps == 2
    assert [frame["frame"] for frame in result["runs"][0]["frames"]] == ["00004", "00008"]
    assert result["means"]["click"]["J"] == 1
    words, _ = evaluate(folder, lambda i: truth(i) * (i > 0), "words")
    assert words["means"]["words"]["J"] == 1  # nothing is right where nothing is to be seen


def test_a_still_has_no_mask_run(tmp_path):
    folder = make_clip(tmp_path / "clip", kind="image")
    result, _ = evaluate(folder, truth, "mask", "click")
    assert set(result["means"]) == {"click"}


def test_ignored_pixels(tmp_path):
    folder = make_clip(tmp_path / "clip", kind="image", expressions=("red",))
    labels = truth(0)
    labels[100:, :] = 255
    cv2.imwrite(str(folder / "masks" / "00000.png"), labels)
    result, _ = evaluate(folder, lambda i: labels > 0, "words")
    assert result["means"]["words"]["J"] == 1


def test_real_tracker_on_a_fake_runtime(tmp_path):
    folder = make_clip(tmp_path / "clip")
    sheets = SheetWriter(tmp_path / "sheets", "clip")
    result = clips.evaluate_clip(
        FakeColourRuntime((128, 224)), folder, references=("words", "mask", "box"), on_scored=sheets.add
    )
    assert result["model"]["model"] == "fake"
    assert all(mean["J"] > 0.85 for mean in result["means"].values()), result["means"]
    names = sorted(path.name for path in sheets.save())
    assert names == [
        f"clip-{name}.png" for name in ("box-obj1", "mask-obj1", "words-obj1-expr0", "words-obj1-expr1")
    ]


def test_whole_video_is_tracked_and_annotated_frames_are_scored(tmp_path):
    folder = make_clip(tmp_path / "clip", expressions=("red",))
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write MJPEG video")
    for _ in range(9):
        writer.write(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    writer.release()
    trackers = []

    def make() -> FakeTracker:
        trackers.append(FakeTracker(lambda i: truth(i // 4)))
        return trackers[-1]

    clip = clips.load_clip(folder, tmp_path / "v.avi")
    result = clips.evaluate_references(clip, make, ("words",))
    assert trackers[0].steps == 9
    assert result["means"]["words"]["J"] == 1
    cv2.imwrite(str(folder / "masks" / "00009.png"), truth(0))
    with pytest.raises(DatasetError, match=r"v\.avi ended before frame 00009"):
        clips.evaluate_references(clips.load_clip(folder, tmp_path / "v.avi"), make, ("words",))


def test_bad_clips_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"missing file .*meta\.json: expected a clip's description"):
        clips.load_clip(tmp_path)
    folder = make_clip(tmp_path / "clip")
    (folder / "frames" / "00004.png").unlink()
    with pytest.raises(DatasetError, match=r"masks/00004\.png has no frame"):
        clips.load_clip(folder)
    data.write_json(folder / "meta.json", {"objects": [{"expressions": ["x"]}]})
    with pytest.raises(DatasetError, match='expected "objects"'):
        clips.load_clip(folder)


def test_a_mask_of_another_size_is_named(tmp_path):
    folder = make_clip(tmp_path / "clip")
    cv2.imwrite(str(folder / "masks" / "00004.png"), np.ones((5, 5), np.uint8))
    with pytest.raises(DatasetError, match=r"00004\.png is \(5, 5\) pixels, its frame is \(128, 224\)"):
        evaluate(folder, truth, "words")


def test_unknown_reference(tmp_path):
    with pytest.raises(ValueError, match="unknown reference 'scribble'"):
        evaluate(make_clip(tmp_path / "clip"), truth, "scribble")


def test_contact_sheet_counts_failures():
    sheet = ContactSheet("title")
    image, mask = np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), bool)
    for predicted in (mask, ~mask):
        sheet.add("00000", image, predicted, mask, clips.score_mask(predicted, mask))
    assert sheet.failures == 1
    assert sheet.image().shape[2] == 3
    with pytest.raises(ValueError, match="'none' has no frames"):
        ContactSheet("none").image()


# ---- the tracker and the authors' protocol as predictors ----


def test_tracker_predictor_follows_given_masks(tmp_path):
    root = data.make_davis(tmp_path / "davis")
    predictor = TrackerPredictor(FakeColourRuntime((64, 96)), load_preset("davis17"))
    result = run_benchmark(load_preset("davis17"), root, predictor, tmp_path / "out")
    assert result["scores"]["J"] > 0.7, result
    assert result["run"]["predictor"] == "tracker"


@pytest.mark.parametrize("starts", [{1: 0, 2: 2}, {2: 0, 1: 2}])
def test_tracker_predictor_keeps_the_data_sets_ids(tmp_path, starts):
    root = data.make_youtube_vos(tmp_path / "yt", "train", published=True, starts=starts)
    preset = load_preset("ytbvos18", split="train")
    predictor = TrackerPredictor(FakeColourRuntime((64, 96)), preset)
    result = run_benchmark(preset, root, predictor, tmp_path / "out")
    assert result["scores"]["G"] > 0.7, result


def test_tracker_predictor_follows_words(tmp_path):
    pytest.importorskip("scipy", reason="the assignment of the published rule needs scipy")
    root = data.make_ref_davis(tmp_path / "ref")
    path = root / "meta_expressions" / "valid" / "meta_expressions.json"
    path.write_text(path.read_text().replace("object 1", "the red one").replace("object 2", "the blue one"))
    preset = load_preset("ref_davis17")
    result = run_benchmark(
        preset, root, TrackerPredictor(FakeColourRuntime((64, 96)), preset), tmp_path / "out"
    )
    assert result["scores_by_id"]["J"] > 0.7, result


@pytest.fixture(scope="module")
def small_network():
    pytest.importorskip("torch", reason="the authors' protocol runs in PyTorch")
    import torch

    from uniref_model.network.config import ModelConfig
    from uniref_model.network.model import UniRef

    torch.manual_seed(0)
    return UniRef(ModelConfig.from_name("uniref_nano"), with_text=False).eval()


def authors_predictor(network, preset):
    import torch

    from uniref_model.evaluation.predictors import AuthorsPredictor

    def encode_text(phrase: str):
        length = network.config.text.max_words
        attention = (torch.arange(length) < 3).long()[None]
        return network.embed_words(torch.ones(1, length, network.config.text.hidden), attention)

    return AuthorsPredictor(network, encode_text, preset, {"model": "random"})


def test_authors_protocol_answers_every_frame(tmp_path, small_network):
    """Random weights: only the given mask is a known answer. Sizes, names and order are what is tested."""
    root = data.make_davis(tmp_path / "davis", frames=3)
    preset = load_preset("davis17", short_side=64)
    predictor = authors_predictor(small_network, preset)
    run_benchmark(preset, root, predictor, tmp_path / "out")
    files = sorted((tmp_path / "out" / "predictions" / "bear").iterdir())
    assert [path.name for path in files] == ["00000.png", "00001.png", "00002.png"]
    with Image.open(files[0]) as image:
        assert np.array_equal(np.array(image), data.labels_at(0, (1, 2)))


@pytest.mark.parametrize(
    "name, make", [("ref_youtube_vos", data.make_ref_youtube_vos), ("ref_davis17", data.make_ref_davis)]
)
def test_authors_protocol_on_phrases(tmp_path, small_network, name, make):
    preset = load_preset(name, short_side=64)
    result = run_benchmark(
        preset, make(tmp_path / "data"), authors_predictor(small_network, preset), tmp_path / "out"
    )
    sizes = {Image.open(path).size for path in Path(result["submission"]).rglob("*.png")}
    assert sizes == {(data.WIDTH, data.HEIGHT)}


def test_authors_protocol_on_images(tmp_path, small_network):
    pytest.importorskip("pycocotools", reason="RefCOCO's masks need pycocotools")
    preset = load_preset("refcoco", short_side=64)
    result = run_benchmark(
        preset,
        data.make_refcoco(tmp_path / "refer"),
        authors_predictor(small_network, preset),
        tmp_path / "out",
    )
    assert result["units"] == 3


def test_authors_protocol_from_a_model_file(tmp_path, small_network):
    pytest.importorskip("safetensors", reason="converted models are safetensors files")
    from uniref_model.network.loading import save_weights

    save_weights(small_network.state_dict(), small_network.config, tmp_path / "m.safetensors")
    root = data.make_davis(tmp_path / "davis", frames=3)
    preset = tmp_path / "small.yaml"
    preset.write_text(
        "reader: davis\nprotocol: vos\nscoring: davis\nsplit: val\nthreshold: 0.3\nshort_side: 64\n"
    )
    arguments = [
        "--out",
        str(tmp_path / "out"),
        "--protocol",
        "authors",
        "--weights",
        str(tmp_path / "m.safetensors"),
    ]
    result = invoke("benchmark", str(preset), str(root), *arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert facts["run"]["predictor"] == "authors" and facts["run"]["weights"] == "m.safetensors"
    assert "J&F" in result.output


def test_thresholds_are_the_authors():
    authors = pytest.importorskip(
        "uniref_model.evaluation.authors", reason="the authors' protocol runs in PyTorch"
    )
    names = {"vos-lvos": "lvos", "refytvos": "ref_youtube_vos"}
    for name, threshold in authors.THRESHOLDS.items():
        assert load_preset(names.get(name, name)).threshold == threshold


# ---- command line ----


def invoke(*arguments: str):
    import typer

    from uniref_model.commands.eval import register

    program = typer.Typer()
    register(program)
    program.command("other")(lambda: None)
    return CliRunner().invoke(program, ["eval", *arguments])


def test_list_names_the_benchmarks():
    result = invoke("list")
    assert result.exit_code == 0
    assert "davis17" in result.output and "ref_youtube_vos" in result.output


def test_folder_command_writes_scores_and_sheets(tmp_path, monkeypatch):
    make_clip(tmp_path / "clips" / "one")
    monkeypatch.setattr("uniref_model.runtime.load_runtime", lambda *_: FakeColourRuntime((128, 224)))
    result = invoke("folder", str(tmp_path / "clips"), "--out", str(tmp_path / "out"), "--reference", "words")
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores[0]["means"]["words"]["J"] > 0.85
    assert len(list((tmp_path / "out" / "sheets").glob("*.png"))) == 2


def test_errors_say_what_is_wrong(tmp_path):
    out = str(tmp_path / "out")
    for arguments, text in (
        (("benchmark", "davis", str(tmp_path), "--out", out), "no benchmark 'davis'"),
        (("folder", str(tmp_path), "--out", out), "expected meta.json"),
        (("benchmark", "davis17", str(tmp_path), "--out", out, "--protocol", "authors"), "--weights"),
        (("benchmark", "davis17", str(tmp_path), "--out", out, "--protocol", "theirs"), "'theirs'"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert isinstance(result.exception, UniRefError) and text in str(result.exception)


def test_scoring_needs_no_torch():
    modules = "clips, sheets, runner, predictors"
    code = f"import sys; from uniref_model.evaluation import {modules}; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )
