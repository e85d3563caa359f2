"""Every benchmark runs, in a size that shows nothing but that; what they compute from numbers is right."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed (make test installs it)")
pytest.importorskip("torch", reason="PyTorch is not installed (make test installs it)")

from typer.testing import CliRunner

from benchmarks import machine, results
from benchmarks.__main__ import app
from benchmarks.accuracy import ablation
from benchmarks.accuracy.long_clips import long_clips
from benchmarks.efficiency import table4_figure3
from benchmarks.efficiency.contenders import ABOUT
from benchmarks.efficiency.worker import Stretch
from benchmarks.registry import ENTRIES, Check, Options, Result
from uniref_model.runtime import find_model, load_runtime

SMOKE = Options(smoke=True, threads=1)


def test_every_entry_is_listed_with_what_it_lacks():
    answer = CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"})
    assert answer.exit_code == 0
    assert all(name in answer.output for name in ENTRIES)


def test_an_unknown_entry_is_refused_by_name():
    answer = CliRunner().invoke(app, ["run", "table9"])
    assert answer.exit_code == 2 and "table9" in answer.output


def test_what_is_measured_whole_cannot_be_added_to():
    answer = CliRunner().invoke(app, ["run", "soak", "--add"])
    assert answer.exit_code == 2 and "soak is measured whole" in " ".join(answer.output.split())


def test_a_broken_promise_is_written_and_ends_in_an_error(tmp_path, monkeypatch):
    figure, axis = results.new_figure()
    axis.plot([1, 2])
    checks = [Check("it is flat", np.bool_(False), "+9 %")]  # what comparisons of NumPy's numbers give
    result = Result({"ratio": np.float64("nan")}, {"": figure}, [], checks)
    monkeypatch.setattr(type(ENTRIES["soak"]), "run", lambda *_: result)
    monkeypatch.setattr(type(ENTRIES["soak"]), "missing", lambda *_: [])
    monkeypatch.setitem(ENTRIES, "soak", replace(ENTRIES["soak"], needs=()))
    answer = CliRunner().invoke(app, ["run", "soak", "--out", str(tmp_path)])
    assert answer.exit_code == 1 and "BROKEN" in answer.output
    written = json.loads((tmp_path / "soak.json").read_text())
    assert written["checks"] == [{"claim": "it is flat", "passed": False, "found": "+9 %"}]
    assert written["data"] == {"ratio": None}
    assert written["machine"]["cpu"] and written["command"].startswith("python -m benchmarks run soak")
    assert (tmp_path / "soak.png").stat().st_size and "<svg" in (tmp_path / "soak.svg").read_text()


def test_cost_over_objects_is_split_into_what_is_shared_and_what_each_costs():
    fixed, each = table4_figure3.fit({n: 30.0 + 4.0 * n for n in (1, 2, 4, 8, 16)})
    assert (fixed, each) == pytest.approx((30.0, 4.0))


@pytest.mark.parametrize("key", ABOUT)
def test_each_contender_steps_and_only_a_growing_memory_is_carried_forward(key):
    from benchmarks.efficiency.worker import Worker

    if ABOUT[key].missing:
        pytest.skip(f"{ABOUT[key].title}: {ABOUT[key].package} is not installed (make bench installs it)")
    if key == "r50_torch":
        pytest.skip("UniRef R50 takes too long for a test")
    size = (192, 320) if key == "nano_onnx" else (64, 128)
    with Worker(key, size, "cpu", 1) as worker:
        worker.ready()
        worker.start(2)
        first = worker.run(2, 60.0)
        grown = worker.forward(500)
        after = worker.run(1, 60.0)
    assert grown == (ABOUT[key].memory == "growing")
    assert len(first.wall_ms) == 2 and min(first.wall_ms) > 0
    assert after.first == 3 + (500 if grown else 0)


def test_table4_and_figure3_are_drawn():
    result = ENTRIES["table4_figure3"].run(replace(SMOKE, only=("nano_onnx",)))
    line = result.data["lines"]["nano_onnx"]
    assert line["frames_at_end"] == 8 and len(line["stepped"]) == 2
    assert line["machine_drift"] > 0 and line["machine_drift"] != 1.0  # a control ran in both tenths
    assert set(result.data["objects"]["nano_onnx"]["ms"]) == {1, 2}
    assert set(result.figures) == {"", "objects"}


@pytest.mark.parametrize(
    ("last", "control", "kept"),
    [(12.0, 12.0, True), (11.0, 10.0, False), (10.0, 11.0, False), (10.0, 10.0, True)],
)
def test_flatness_is_measured_against_the_machines_own_drift(last, control, kept):
    line = table4_figure3.Line(ABOUT["nano_onnx"], (192, 320))
    plan = replace(table4_figure3.SMOKE, frames={"nano_onnx": 100}, warm_up=0)
    for part, ms in zip(line.fresh, (10.0, control), strict=True):
        part.append(Stretch(1, [ms] * 5, [ms] * 5, 100.0))
    wall = np.array([10.0] * 50 + [last] * 50)
    time, memory = table4_figure3._flatness(line, wall, last / 10.0, 0.0, plan)
    assert time.passed == kept and memory.passed
    early = table4_figure3._flatness(line, wall[:99], 1.0, 6.0, plan)
    assert not early[0].passed and "stopped before 100" in early[0].found and not early[1].passed


def test_the_work_beside_the_network_is_drawn():
    result = ENTRIES["host_work"].run(SMOKE)
    assert {row["frame"] for row in result.data["rows"]} == {"480p", "720p", "1080p"}
    assert all(row["ms"]["total"]["p50"] > 0 for row in result.data["rows"]) and "" in result.figures


def test_the_runtimes_of_a_cpu_are_drawn_beside_each_other(tmp_path, monkeypatch):
    from benchmarks.efficiency import cpu_runtimes

    monkeypatch.setenv("UNIREF_ENGINES", str(tmp_path))
    monkeypatch.delitem(cpu_runtimes.RUNTIMES, "OpenVINO bf16")  # compiles everything once more
    result = ENTRIES["cpu_runtimes"].run(replace(SMOKE, only=("192x320",)))
    for row in result.data["rows"]:
        assert row["ms"]["p50"] > 0 and (row["part"] == 1.0 or row["runtime"] != "ONNX Runtime")
    assert len(result.data["rows"]) == 4 * len(result.data["runtimes"])
    assert "" in result.figures
    with pytest.raises(ValueError, match="'1x1', expected some of 192x320, 256x448"):
        ENTRIES["cpu_runtimes"].run(replace(SMOKE, only=("1x1",)))


def test_sizes_join_an_earlier_result_and_each_says_when_it_was_measured():
    from benchmarks.efficiency.cpu_runtimes import joined

    earlier = {
        "date": "2026-01-02",
        "machine": {"commit": "abc"},
        "run": {"quiet": False},
        "data": {
            "rows": [{"size": "192x320", "p": 1}, {"size": "256x448", "p": 1}],
            "runtimes": {"one": {}, "two": {}},
        },
    }
    now = {"machine": {"commit": "def"}, "quiet": True}
    rows, facts = joined(earlier, [{"size": "256x448", "p": 2, "measured": now}], {"two": {"threads": "2"}})
    assert [(row["size"], row["p"]) for row in rows] == [("192x320", 1), ("256x448", 2)]
    assert rows[0]["measured"] == {"date": "2026-01-02", "machine": {"commit": "abc"}, "quiet": False}
    assert facts == {"one": {}, "two": {"threads": "2"}}
    told = machine.remarks({row["size"]: row["measured"] for row in rows})
    assert "at commits abc, def" in told[0] and told[1].endswith("running: 192x320.")


def test_every_part_for_a_gpu_runs_by_itself_on_a_cpu():
    from benchmarks.efficiency import gpu

    assert set(gpu.SECONDS) == set(gpu.PARTS) and sum(gpu.SECONDS.values()) < 600
    quick = ("roof", "nano", "stages", "flat_nano", "tensorrt")  # the others need an export, or R50
    result = ENTRIES["gpu"].run(replace(SMOKE, only=quick))
    assert all(text.startswith("done") for text in result.data["parts"].values()), result.data["parts"]
    rows = result.data["rows"]
    by_part = {part: [row for row in rows if row["part"] == part] for part in quick}
    assert {row["stage"] for row in by_part["nano"]} >= {"network", "host", "frame"}
    assert all(row["floor_ms"] > 0 and row["gflop"] > 0 for row in by_part["stages"])
    assert {row["runtime"] for row in by_part["stages"]} == {"PyTorch fp32", "PyTorch bf16"}
    assert by_part["flat_nano"][0]["flat"]["latency_ratio"] > 0
    assert by_part["tensorrt"][0]["refused"] or by_part["tensorrt"][0]["facts"]
    assert any("CPU" in note for note in result.notes) and "" in result.figures


@pytest.mark.slow
def test_the_parts_for_a_gpu_that_take_longer_run_on_a_cpu():
    longer = ("tracked", "flat_torch", "exported")
    result = ENTRIES["gpu"].run(replace(SMOKE, only=longer))
    assert all(text.startswith("done") for text in result.data["parts"].values()), result.data["parts"]
    assert {row["part"] for row in result.data["rows"]} == set(longer)


def test_a_part_for_a_gpu_that_fails_or_lasts_stops_no_other():
    from benchmarks.efficiency import gpu

    plan = gpu.Plan("cpu", 1, (120, 160), ((64, 64),), (), ("uniref_nano", (64, 128)), (1,), 2, 20)
    rows, told = gpu.run_part("nano", plan, 60.0)  # there is no such size
    assert rows == [] and told.startswith("failed with status 1") and "(64, 64)" in told
    rows, told = gpu.run_part("roof", plan, 0.01)
    assert rows == [] and told.startswith("cut off")


def test_a_frame_of_the_network_is_told_by_graph():
    from benchmarks.efficiency.network_work import BETWEEN, multiply_adds

    result = ENTRIES["network_work"].run(SMOKE)
    for row in result.data["rows"]:
        assert row["gflop_per_s"] > 0 and (row["graph"] == BETWEEN or row["unavoidable_ms"] > 0)
    encode, segment = (
        find_model("uniref_nano") / f"{name}_192x320.onnx" for name in ("encode_image", "segment_shared")
    )
    assert multiply_adds(encode, 1) == multiply_adds(encode, 4)
    assert 3 < multiply_adds(segment, 4) / multiply_adds(segment, 1) <= 4


def test_a_stopwatch_counts_the_graphs_of_a_frame():
    from benchmarks.efficiency.authors_order import Stopwatch

    with load_runtime("uniref_nano", "192x320", "onnxruntime", threads=1) as runtime:
        watch = Stopwatch()
        watch.watch(runtime)
        image, masks = np.zeros((192, 320, 3), np.uint8), np.ones((2, 192, 320), np.float32)
        for _ in range(2):
            for _ in range(3):
                frame = runtime.encode_image(image)
            runtime.encode_reference(frame, masks)
            watch.end_frame()
        assert {name: runs for name, (_, runs) in watch.medians(1).items()} == {
            "encode_image": 3,
            "encode_reference": 1,
        }
        assert all(spent > 0 for spent, _ in watch.medians(0).values())


@pytest.mark.slow
def test_the_authors_order_of_work_is_told_by_graph():
    if ENTRIES["authors_order"].missing():
        pytest.skip(f"not installed: {', '.join(ENTRIES['authors_order'].missing())}")
    result = ENTRIES["authors_order"].run(SMOKE)
    assert not result.notes, "every graph runs where it is to run"
    for case in result.data["ratios"]:
        assert 1.2 < case["theirs_mflop"] / case["ours_mflop"] < 4
    texts = [row for row in result.data["stages"] if row["stage"] == "encode text"]
    assert {(row["side"], row["references"]) for row in texts} == {("theirs", "words and masks")}
    images = {
        (row["side"], row["objects"]): row["runs"] for row in result.data["stages"] if "image" in row["stage"]
    }
    assert images == {("ours", 1): 1, ("ours", 4): 1, ("theirs", 1): 2, ("theirs", 4): 5}
    assert "" in result.figures


@pytest.mark.slow
def test_the_cost_of_known_objects_is_drawn():
    result = ENTRIES["known_objects"].run(SMOKE)
    assert result.data["rows"]["views, looked for"] == 4.0 and "" in result.figures


def test_a_contender_that_fails_says_where():
    from benchmarks.efficiency.worker import Worker

    with Worker("nano_onnx", (64, 64), "cpu", 1) as worker, pytest.raises(RuntimeError, match="64"):
        worker.ready()


def test_long_clips_are_the_same_for_the_same_seed_and_their_objects_move():
    one, other = (next(long_clips((64, 128), 8, 5)) for _ in range(2))
    assert np.array_equal(one.images, other.images) and one.phrases == other.phrases
    assert len(set(one.phrases)) == 3
    assert (one.labels[0] != one.labels[-1]).any() and set(np.unique(one.labels)) <= {0, 1, 2, 3}


def test_a_difference_has_an_interval_over_objects():
    base = [ablation.Score(str(i), 0.5, 0.5) for i in range(20)]
    better = [ablation.Score(str(i), 0.6 + 0.001 * i, 0.6) for i in range(20)]
    low, middle, high = ablation.difference(better, base)
    assert 10 < low < middle < high < 12
    with pytest.raises(ValueError, match="different objects"):
        ablation.difference(better[1:], base[:-1])


def test_a_verdict_says_agrees_disagrees_or_undecided():
    def rows(gap, interval):
        row = {"set": "generated", "reference": "words", "objects": 9}
        return [
            row | {"variant": "other", "J&F": 50 + gap, "difference": interval},
            row | {"variant": "mine", "J&F": 50, "difference": [0, 0, 0]},
        ]

    said = [
        ablation.verdict(rows(*case), "mine", "It is best")[0]
        for case in ((-9, [-12, -9, -3]), (9, [3, 9, 12]), (1, [-2, 1, 3]))
    ]
    assert [line.split(": ")[1].rstrip(".") for line in said] == ["agrees", "disagrees", "undecided"]


@pytest.mark.parametrize("name", ["table2_fusion", "table3_references"])
def test_the_ablations_of_the_paper_are_scored(name):
    if find_spec("timm") is None:
        pytest.skip("timm is not installed (make test installs it)")
    result = ENTRIES[name].run(SMOKE)
    scores = result.data["scores"]
    assert {row["set"] for row in scores} >= {"generated"}
    assert all(0 <= row["J&F"] <= 100 for row in scores)
    assert any("biased" in note for note in result.notes) == (name == "table2_fusion")


def test_the_machine_is_described_without_its_name():
    import socket

    facts = machine.describe()
    assert facts["cpu"] and facts["cores"] >= 1 and "numpy" in facts["versions"]
    assert socket.gethostname() not in json.dumps(facts)
    with machine.Watch() as watch:
        sum(range(1000))
    assert watch.report()["seconds"] >= 0
