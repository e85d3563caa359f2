"""`uniref label`: many recordings, one report; what is done stays done, one bad recording stops nothing,
slices, results at an address. With a labelled double for the model."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_runtime import FakeColourRuntime, scene
from label_jobs import contents, make_clips, write_job

pytest.importorskip("pycocotools", reason="pycocotools is not installed here")
pytest.importorskip("PIL", reason="Pillow is not installed here")

from uniref_model.errors import SourceError, UniRefError
from uniref_model.labels import engine
from uniref_model.labels.engine import Done, Failed
from uniref_model.labels.handover import read_handover
from uniref_model.labels.job import plan, read_job
from uniref_model.labels.run import Outcome, run_job
from uniref_model.labels.store import FolderStore, open_store
from uniref_model.offline import model as model_choice
from uniref_model.settings import build


@pytest.fixture(autouse=True)
def fake(monkeypatch) -> None:
    engine._runtime.cache_clear()
    monkeypatch.setattr(model_choice, "load_runtime", lambda *_, **__: FakeColourRuntime())
    yield
    engine._runtime.cache_clear()


class InProcess:
    """An engine that works in this process, where the double is."""

    def run(self, units, store):
        for unit in units:
            events: list = []
            engine.do_unit(unit, store, events.append)
            yield from events


def run(path: Path) -> tuple[Outcome, list[str]]:
    """The outcome, and the tasks that were done now."""
    job, done = read_job(path), []
    store = open_store(job.out, path.parent)
    outcome = run_job(
        job,
        path.parent,
        store,
        InProcess(),
        on_event=lambda event: done.append(event.task) if isinstance(event, Done | Failed) else None,
    )
    return outcome, done


ALL = ["masks", "overlay", "json", "bag", "coco", "yolo", "davis"]


@pytest.fixture
def job(tmp_path) -> Path:
    make_clips(tmp_path / "clips", 4)
    (tmp_path / "clips" / "clip99 <b>.mp4").write_bytes(b"no video")
    sources = [
        {"files": "clips/clip0[012]", "prompts": ["red", {"text": "blue", "label": "sky"}]},
        {"files": "clips/clip03"},
        {"files": "clips/*.mp4"},
    ]
    return write_job(
        tmp_path / "job.yaml", out="out", write=["masks", "coco"], prompts=["red"], sources=sources
    )


def test_everything_is_labelled_and_the_bad_one_is_told(job):
    pytest.importorskip("rosbags", reason="rosbags is not installed here")
    job.write_text(job.read_text().replace("- masks\n- coco\n", "".join(f"- {name}\n" for name in ALL)))
    outcome, _ = run(job)
    out = job.parent / "out"
    assert [result["task"] for result in outcome.results] == [f"clips_clip0{i}" for i in range(4)]
    assert list(outcome.failed) == ["clips_clip99_b_.mp4"]
    for index in range(4):
        task = out / "tasks" / f"clips_clip0{index}"
        assert len(list((task / "masks").glob("*.png"))) == 12
        assert {"overlay.mp4", "objects.json", "bag", "sheet.jpg"} <= {path.name for path in task.iterdir()}
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["tasks"], summary["done"], summary["frames"]) == (5, 4, 48)
    assert "no video that OpenCV can decode" in summary["failed"][0]["reason"]
    red, sky = summary["sources"][0]["objects"]
    assert (red["seen"], red["frames"], red["lost"], red["mean_score"]) == (8, 12, [], 0.9)
    assert (sky["label"], sky["seen"]) == ("sky", 12)
    coco = json.loads((out / "coco" / "annotations" / "instances.json").read_text())
    assert [item["name"] for item in coco["categories"]] == ["red", "sky"]
    assert len(coco["images"]) == 48 and len(coco["videos"]) == 4
    for item in coco["images"]:
        assert cv2.imread(str(out / "coco" / "images" / item["file_name"])) is not None
    assert (out / "yolo" / "data.yaml").is_file() and (out / "davis" / "ImageSets").is_dir()
    page = (out / "index.html").read_text()
    assert "clip99 &lt;b&gt;.mp4" in page and "<b>" not in page and "tasks/clips_clip00/sheet.jpg" in page


def test_bags_that_lie_about_their_size_stop_nothing(tmp_path):
    pytest.importorskip("rosbags", reason="rosbags is not installed here")
    from hostile_bags import mcap, packed

    make_clips(tmp_path / "clips", 2)
    mcap(tmp_path / "clips" / "less.mcap", [(packed(bytes(1 << 20), "zstd"), "zstd", 100)], indexed=True)
    mcap(tmp_path / "clips" / "more.mcap", [(packed(bytes(100), "zstd"), "zstd", 1 << 40)], indexed=True)
    sources = [{"files": "clips/*", "prompts": ["red"]}]
    outcome, _ = run(write_job(tmp_path / "job.yaml", out="out", sources=sources))
    assert [result["frames"] for result in outcome.results] == [12, 12]
    failed = json.loads((tmp_path / "out" / "summary.json").read_text())["failed"]
    less, more = (item["reason"] for item in failed)
    assert less.endswith(
        "less.mcap cannot be read: a chunk unpacks to more than the 100 bytes that it states"
    )
    assert "states a chunk of 1099511627776 bytes, more than the limit of 536870912" in more


@pytest.mark.parametrize("out", ["clips/clip00", "clips/clip00/labels"])
def test_results_are_no_part_of_a_recording(out, tmp_path):
    make_clips(tmp_path / "clips", 1)
    path = write_job(tmp_path / "j.yaml", out=out, sources=[{"files": "clips/clip00", "prompts": ["red"]}])
    with pytest.raises(SourceError, match=rf"results' folder .*{out} lies in the recording .*clip00:"):
        run(path)


def test_a_recording_that_changes_meanwhile_is_told_and_labelled_again(tmp_path, monkeypatch):
    clip = make_clips(tmp_path / "clips", 1) / "clip00"
    path = write_job(tmp_path / "j.yaml", out="out", sources=[{"files": "clips/clip00", "prompts": ["red"]}])
    do = engine.do_unit

    def do_and_record_on(*arguments):
        do(*arguments)
        (clip / "99999.png").write_bytes((clip / "00000.png").read_bytes())

    monkeypatch.setattr(engine, "do_unit", do_and_record_on)
    outcome, _ = run(path)
    assert outcome.failed == {"clips_clip00": "it changed while it was labelled: run the job again"}
    monkeypatch.setattr(engine, "do_unit", do)
    outcome, _ = run(path)
    assert not outcome.failed and outcome.results[0]["frames"] == 13


def test_results_that_do_not_arrive_are_told(tmp_path, monkeypatch):
    make_clips(tmp_path / "clips", 1)
    path = write_job(tmp_path / "j.yaml", out="out", sources=[{"files": "clips/clip00", "prompts": ["red"]}])
    monkeypatch.setattr(FolderStore, "publish", lambda *_: None)
    outcome, told = run(path)
    assert "did not arrive" in outcome.failed["clips_clip00"] and told == ["clips_clip00"] * 2


def test_a_folder_of_known_objects_that_is_not_there_is_an_error(tmp_path):
    make_clips(tmp_path / "clips", 1)
    sources = [{"files": "clips/*", "prompts": ["my mug"]}]
    with pytest.raises(SourceError, match=r"known: there is no folder .*nowhere"):
        run(write_job(tmp_path / "j.yaml", out="out", known="nowhere", sources=sources))


def test_an_interval_in_which_it_was_lost_is_in_the_summary(tmp_path):
    make_clips(tmp_path / "clips", 1, frames=30)  # away from frame 10 to 19
    path = write_job(tmp_path / "j.yaml", out="out", sources=[{"files": "clips/clip00", "prompts": ["red"]}])
    outcome, _ = run(path)
    (item,) = outcome.results[0]["objects"]
    (interval,) = item["lost"]
    assert 10 <= interval[0] <= 16 and interval[1] == 19


def test_what_is_done_stays_done_and_what_failed_is_tried_again(job):
    run(job)
    before = contents(job.parent / "out")
    outcome, done = run(job)
    assert done == ["clips_clip99_b_.mp4"] and len(outcome.results) == 4
    assert contents(job.parent / "out") == before
    bad = job.parent / "clips" / "clip99 <b>.mp4"
    bad.unlink()
    bad.mkdir()
    cv2.imwrite(str(bad / "0.png"), scene(("red", (10, 10, 30, 30))))
    outcome, done = run(job)
    assert done == ["clips_clip99_b_.mp4"] and not outcome.failed and len(outcome.results) == 5


def test_what_is_asked_otherwise_or_of_another_recording_is_done_again(job):
    run(job)
    text = job.read_text()
    job.write_text(text.replace("label: sky", "label: sea"))
    assert run(job)[1] == ["clips_clip00", "clips_clip01", "clips_clip02", "clips_clip99_b_.mp4"]
    cv2.imwrite(str(job.parent / "clips" / "clip03" / "00099.png"), scene())
    assert run(job)[1] == ["clips_clip03", "clips_clip99_b_.mp4"]


def test_results_of_recordings_no_longer_asked_for_are_kept_and_not_counted(job):
    run(job)
    job.write_text(job.read_text().replace("clips/clip03", "clips/clip00/00000.png"))
    outcome, _ = run(job)
    assert "clips_clip03" not in {result["task"] for result in outcome.results}
    assert (job.parent / "out" / "tasks" / "clips_clip03" / "result.json").is_file()


def test_the_same_results_at_an_address(job):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed here")
    run(job)
    away = job.parent / "away"
    other = job.parent / "other.yaml"
    other.write_text(job.read_text().replace("out: out", f"out: file://{away}"))
    run(other)
    assert contents(away) == contents(job.parent / "out")
    assert run(other)[1] == ["clips_clip99_b_.mp4"]
    assert fsspec.filesystem("file").exists(str(away / "tasks" / "clips_clip00" / "result.json"))


@pytest.mark.parametrize("name", ["coco/mine.txt", "tasks/mine.txt", "index.html"])
@pytest.mark.parametrize("place", ["out: out", "out: file://{}"])
def test_what_a_job_would_replace_is_kept_where_no_job_made_it(job, name, place):
    pytest.importorskip("fsspec", reason="fsspec is not installed here")
    mine = job.parent / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    job.write_text(job.read_text().replace("out: out", place.format(job.parent / "out")))
    with pytest.raises(SourceError, match=f"holds {name.split('/')[0]}, and no labelling job of before"):
        run(job)
    assert mine.read_text() == "mine"


def test_half_an_upload_counts_for_nothing(job):
    pytest.importorskip("fsspec", reason="fsspec is not installed here")
    away = job.parent / "away"
    job.write_text(job.read_text().replace("out: out", f"out: file://{away}"))
    run(job)
    before = contents(away)
    (away / "tasks" / "clips_clip01" / "result.json").unlink()  # uploaded last
    (away / "tasks" / "clips_clip02" / "result.json").write_text('{"task": "cl')
    assert run(job)[1] == ["clips_clip01", "clips_clip02", "clips_clip99_b_.mp4"]
    assert contents(away) == before


def test_known_objects_are_called_by_name_and_what_they_are_counts(tmp_path):
    from fake_runtime import rectangle

    from uniref_model import KnownObjects

    make_clips(tmp_path / "clips", 2)
    box = (20, 20, 50, 40)
    KnownObjects(tmp_path / "known").teach("my gripper", scene(("red", box)), rectangle(box))
    sources = [{"files": "clips/*", "prompts": ["my gripper"]}]
    path = write_job(tmp_path / "job.yaml", out="out", known="known", sources=sources)
    outcome, _ = run(path)
    assert [result["objects"][0]["seen"] for result in outcome.results] == [8, 12]
    assert run(path)[1] == []
    KnownObjects(tmp_path / "known").teach("my gripper", scene(("blue", box)), rectangle(box))
    assert len(run(path)[1]) == 2


# ---- slices ----


def sliced(tmp_path: Path, **settings: object) -> Path:
    """A job of a bag of 2 s in which a box is red at first and becomes orange."""
    pytest.importorskip("rosbags", reason="rosbags is not installed here")
    from bag_maker import images, write_bag

    colours = ["red"] * 30 + ["orange"] * 30
    frames = [scene((colour, (20 + index, 40, 40, 40))) for index, colour in enumerate(colours)]
    write_bag(tmp_path / "bag", images(frames))
    source = {"files": "bag", "prompts": ["red"], "slice": 0.5} | settings
    source["slice"] = 1.0
    return write_job(tmp_path / "job.yaml", out="out", write=["masks"], sources=[source])


def test_slices_have_their_own_prompts(tmp_path):
    outcome, done = run(sliced(tmp_path))
    assert done == ["bag.000", "bag.001"]
    assert [result["frames"] for result in outcome.results] == [31, 29]  # 30 a second, nearly
    assert [result["objects"][0]["seen"] for result in outcome.results] == [30, 0]


def test_a_slice_goes_on_from_what_the_one_before_hands_over(tmp_path):
    path = sliced(tmp_path, hand_over=True, prompts=[], clicks=["40,60"])
    outcome, done = run(path)
    assert done == ["bag.000", "bag.001"]
    first, second = (result["objects"][0] for result in outcome.results)
    assert first["seen"] == 30 and second["seen"] == 0  # its red is looked for, there is none
    whole = json.loads((path.parent / "out/tasks/bag.000/handover/objects.json").read_text())
    assert len(whole) == 1
    # the second alone again, from what is there
    import shutil

    shutil.rmtree(path.parent / "out" / "tasks" / "bag.001")
    assert run(path)[1] == ["bag.001"]


@pytest.mark.parametrize("text", ["[" + " " * 5_000_000 + "]", "[" * 100_000, "{", "[1]"])
def test_a_list_that_was_not_handed_over_is_an_error(tmp_path, text):
    (tmp_path / "objects.json").write_text(text)
    with pytest.raises(SourceError, match=r"what was handed over in .* cannot be read"):
        read_handover(tmp_path, 1_000_000)


def test_a_slice_whose_predecessor_failed_fails_with_it(tmp_path, monkeypatch):
    path = sliced(tmp_path, hand_over=True)
    job = read_job(path)
    (unit,) = plan(job, tmp_path)
    events: list = []
    monkeypatch.setattr(engine, "run_task", lambda *_: (_ for _ in ()).throw(SourceError("no")))
    engine.do_unit(unit, FolderStore(tmp_path / "out"), events.append)
    assert events == [Failed("bag.000", "no"), Failed("bag.001", "the slice before it, bag.000, failed")]


# ---- what a job may say ----


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "'out' is missing|'sources' is missing"),
        ({"out": "o", "sources": []}, "sources is empty"),
        ({"out": "o", "sources": [{"files": "x"}]}, r"sources\[0\] has nothing to follow"),
        ({"out": "o", "sources": [{"files": "x", "promts": ["a"]}]}, "unknown setting 'sources.*promts'"),
        ({"out": "o", "write": ["voc"], "prompts": ["a"], "sources": [{"files": "x"}]}, "write has 'voc'"),
        ({"out": "o", "prompts": ["a"], "sources": [{"files": "x", "slice": 0}]}, "slice is 0"),
        ({"out": "o", "prompts": ["a"], "sources": [{"files": "x", "hand_over": True}]}, "one camera"),
        ({"out": "o", "sources": [{"files": "x", "clicks": ["1,2"], "slice": 9}]}, "need hand_over"),
        ({"out": "o", "prompts": ["a"], "sources": [{"files": "x", "start": 3, "end": 2}]}, "not after"),
        ({"out": "o", "prompts": ["a"], "frames": {"every": 0}, "sources": [{"files": "x"}]}, "every is 0"),
        ({"out": "o", "prompts": "a", "sources": [{"files": "x"}]}, "prompts: expected a list"),
        (
            {"out": "o", "prompts": ["a"], "tracker": {"contours": "x"}, "sources": [{"files": "x"}]},
            "contours",
        ),
    ],
)
def test_a_job_that_makes_no_sense_is_refused_by_name(settings, words, tmp_path):
    with pytest.raises(UniRefError, match=words):
        read_job(write_job(tmp_path / "job.yaml", **settings))


def test_no_file_and_no_recording(tmp_path):
    with pytest.raises(SourceError, match="cannot read"):
        read_job(tmp_path / "none.yaml")
    path = write_job(tmp_path / "j.yaml", out="o", prompts=["a"], sources=[{"files": "none/*.mp4"}])
    with pytest.raises(SourceError, match="nothing is found by 'none/"):
        plan(read_job(path), tmp_path)


def test_one_recording_twice_and_two_recordings_of_one_name(tmp_path):
    make_clips(tmp_path / "clips", 1)
    twice = [{"files": "clips/clip00"}, {"files": "clips/*"}]
    path = write_job(tmp_path / "j.yaml", out="o", prompts=["a"], sources=twice)
    with pytest.raises(UniRefError, match="found by two entries"):
        plan(read_job(path), tmp_path)
    for name in ("a b", "a_b", "A?b"):
        (tmp_path / "x" / name).mkdir(parents=True)
    path = write_job(tmp_path / "j.yaml", out="o", prompts=["a"], sources=[{"files": "x/*"}])
    names = [task.name for unit in plan(read_job(path), tmp_path) for task in unit]
    assert len(set(names)) == len({name.lower() for name in names}) == 3


def test_only_one_run_at_a_time(job):
    store = open_store("out", job.parent)
    with store.held(), pytest.raises(SourceError, match="another run works in"):
        run(job)


def test_remains_of_a_run_that_was_killed_are_swept(job):
    (job.parent / "out" / ".work" / "half").mkdir(parents=True)
    run(job)
    assert not (job.parent / "out" / ".work").exists()


def test_settings_take_none_where_they_may():
    from uniref_model.labels.job import SourceSettings

    assert build(SourceSettings, {"files": "x", "end": 3}).end == 3.0
    assert build(SourceSettings, {"files": "x", "end": None}).end is None
    with pytest.raises(ValueError, match="end: expected float"):
        build(SourceSettings, {"files": "x", "end": "soon"})


def test_the_same_pictures_give_the_same_masks_as_track(job):
    from uniref_model.cli import main

    run(job)
    clip, alone = job.parent / "clips" / "clip01", job.parent / "alone"
    assert main(["track", "-q", str(clip), "-p", "red", "-p", "blue", "--masks", str(alone)]) == 0
    for path in alone.glob("*.png"):
        other = job.parent / "out" / "tasks" / "clips_clip01" / "masks" / path.name
        assert np.array_equal(cv2.imread(str(path), -1), cv2.imread(str(other), -1))
