"""Runtimes: model files, prompts, and the ONNX graphs behind the runtime interface."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from uniref_model.errors import ModelFileError, PromptError, RuntimeUnavailable
from uniref_model.limits import MAX_THREADS, LimitError
from uniref_model.runtime import (
    RUNTIMES,
    ModelSpec,
    ObjectReferences,
    available_runtimes,
    contract,
    load_runtime,
)
from uniref_model.runtime.base import LanguageReference
from uniref_model.runtime.files import WEIGHTS, choose_size, find_model, sha256_of, verify_files
from uniref_model.runtime.onnx import load_onnx
from uniref_model.runtime.text import PromptCache, normalise_prompt

MODEL = Path(os.environ.get("UNIREF_TEST_MODEL", WEIGHTS / "uniref_nano"))
needs_model = pytest.mark.skipif(
    not (MODEL / "model.json").is_file(), reason=f"no exported model in {MODEL} (set UNIREF_TEST_MODEL)"
)

SPEC = {
    "version": contract.VERSION,
    "name": "tiny",
    "hidden": 64,
    "max_words": 24,
    "sizes": [[256, 448], [192, 320]],
    "graphs": contract.to_json(
        contract.describe(projected=True, nouns=True, looks=True, shared=True, text=True)
    ),
}


# --- prompts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Red Mug", "the red mug"),
        ('  a "big", round(ish) #1 thing: it\'s; *that*! ', "a big roundish 1 thing its that"),
        ("left-most and/or top", "left most and or top"),
        ("die größte Tasse", "die größte tasse"),
        ("红色的杯子", "红色的杯子"),
    ],
)
def test_prompts_are_normalised_as_the_authors_do(text, expected):
    assert normalise_prompt(text) == expected


@pytest.mark.parametrize("text", ["", "  ", "?!.", "--//", "'", None, 5])
def test_a_prompt_without_words_is_refused(text):
    with pytest.raises(PromptError):
        normalise_prompt(text)


def test_the_prompt_cache_keeps_the_newest_and_no_more():
    encoded = []

    def encode(text):
        encoded.append(text)
        return LanguageReference(np.zeros(1), np.ones(1), np.zeros(1))

    cache = PromptCache(encode, capacity=2)
    assert cache("Red mug") is cache("red MUG!")
    cache("a"), cache("red mug"), cache("b"), cache("red mug"), cache("a")
    assert encoded == ["red mug", "a", "b", "a"]


# --- model files -------------------------------------------------------------------------------------------


def test_a_spec_has_defaults_and_keeps_what_it_does_not_know():
    spec = ModelSpec.from_dict(SPEC | {"score_thresholds": {"mask": 0.5}, "tokens": {"x": 1}})
    assert spec.sizes == ((256, 448), (192, 320))
    assert (spec.mask_threshold, spec.language_threshold, spec.interactive) == (0.5, 0.3, False)
    assert spec.extra == {"tokens": {"x": 1}}


HEX = "0" * 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 5}, "name is '5', expected a text"),
        ({"name": "a\nb"}, "name is .*, expected .* printable"),
        ({"hidden": None}, "hidden is 'null', expected a whole number"),
        ({"hidden": True}, "hidden is 'true'"),
        ({"hidden": -64}, "hidden is '-64'"),
        ({"max_words": 1.5}, "max_words is '1.5'"),
        ({"sizes": []}, "sizes is .*, expected a list that is not empty"),
        ({"sizes": [5]}, "sizes is .*, expected 2 values"),
        ({"sizes": "256x448"}, "sizes is"),
        ({"sizes": [[0, 320]]}, "sizes is .*, expected a whole number from 32"),
        ({"sizes": [[30000, 30000]]}, "sizes is .* pixels"),
        ({"mean": [float("nan"), 1, 1]}, "mean is .*NaN.*, expected a number"),
        ({"mean": 5}, "mean is '5', expected 3 values"),
        ({"std": [0, 1, 1]}, "std is"),
        ({"std": [1, 1, float("inf")]}, "std is .*Infinity"),
        ({"std": [1, 1]}, "std is .*, expected 3 values"),
        ({"resize": "crop"}, "resize is .*crop.*, expected one of stretch, shortest_edge"),
        ({"resize": ["stretch"]}, "resize is"),
        ({"mask_upsample": "cubic"}, "mask_upsample is .*cubic"),
        ({"contours": None}, "contours is 'null'"),
        ({"interactive": "no"}, "interactive is .*, expected true or false"),
        ({"score_thresholds": 0.4}, "score_thresholds is '0.4', expected an object"),
        ({"score_thresholds": {"mask": "high"}}, "score_thresholds.mask is"),
        ({"score_thresholds": {"language": float("nan")}}, "score_thresholds.language is 'NaN'"),
        ({"buckets": [0]}, "buckets is"),
        ({"buckets": []}, "buckets is"),
        ({"buckets": [1e9]}, "buckets is"),
        ({"text": "minilm"}, "text is .*, expected an object"),
        ({"text": {"encoder": 5}}, "text.encoder is '5'"),
        ({"graphs": []}, "graphs is .*, expected an object"),
        ({"engines": []}, "engines is"),
        ({"engines": {"precision": "int8"}}, "engines.precision is .*, expected one of fp32, fp16, bf16"),
        ({"engines": {"attention": "gather"}}, "engines.attention is"),
        ({"exporter": {}}, "exporter is"),
        ({"sha256": []}, "sha256 is .*, expected an object"),
        ({"sha256": {"a.onnx": "abc"}}, "sha256 is .*, expected 64 hex digits for a.onnx"),
        ({"sha256": {"../a.onnx": HEX}}, "sha256 is .*, expected plain file names, none such as '../a.onnx'"),
        ({"sha256": {"/etc/passwd": HEX}}, "expected plain file names"),
        ({"sha256": {"..": HEX}}, "expected plain file names"),
        ({"sha256": {"a\\b": HEX}}, "expected plain file names"),
    ],
)
def test_a_bad_value_is_refused_with_file_key_value_and_what_was_expected(change, message, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(SPEC | change))
    with pytest.raises(ModelFileError, match=message) as caught:
        ModelSpec.from_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"name": 1e999999}', b" " * (2 << 20)]
)
def test_what_is_no_spec_at_all_is_refused(content, tmp_path):
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.json"):
        ModelSpec.from_file(tmp_path / "model.json")
    with pytest.raises(ModelFileError, match="cannot be read"):
        ModelSpec.from_file(tmp_path)


@needs_model
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": "shortest_edge"}, "resize is 'shortest_edge', expected 'stretch'"),
        ({"sha256": {}}, "sha256 does not list"),
    ],
)
def test_what_graphs_cannot_do_is_refused(tmp_path, change, message):
    folder = shutil.copytree(
        MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors", "*.png")
    )
    spec = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(spec | change))
    with pytest.raises(ModelFileError, match=message):
        load_runtime(folder, runtime="onnxruntime")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_number_of_threads_nobody_has_is_refused(runtime):
    """Before anything is started: 5000 for each operator once became 20,000."""
    with pytest.raises(LimitError, match=f"threads is 5000, expected at most {MAX_THREADS}"):
        load_runtime(runtime=runtime, threads=5000)


def test_a_spec_that_lacks_a_key_names_it(tmp_path):
    with pytest.raises(ModelFileError, match="'max_words'"):
        ModelSpec.from_dict({key: value for key, value in SPEC.items() if key != "max_words"})
    with pytest.raises(ModelFileError, match=r"no model\.json"):
        ModelSpec.from_file(tmp_path / "model.json")
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelFileError, match="not valid JSON"):
        ModelSpec.from_file(tmp_path / "model.json")


def test_sizes_are_chosen_by_name():
    spec = ModelSpec.from_dict(SPEC)
    assert choose_size(spec, None) == (256, 448)
    assert choose_size(spec, "192x320") == choose_size(spec, (192, 320)) == (192, 320)
    for bad in ("448x256", "big", "192", (1, 2, 3)):
        with pytest.raises(ModelFileError, match="256x448, 192x320"):
            choose_size(spec, bad)


def test_damaged_files_are_named_with_what_was_found_and_expected(tmp_path):
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"0123456789")
    expected = sha256_of(path)
    spec = ModelSpec.from_dict(SPEC | {"sha256": {"graph.onnx": expected}})
    verify_files(tmp_path, spec, ["graph.onnx"])
    path.write_bytes(b"01234")
    with pytest.raises(
        ModelFileError, match=f"graph.onnx.*truncated.* 5 bytes.*{sha256_of(path)}.*{expected}"
    ):
        verify_files(tmp_path, spec, [])
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelFileError, match="git lfs pull"):
        verify_files(tmp_path, spec, [])
    path.unlink()
    with pytest.raises(ModelFileError, match=r"lacks the file graph\.onnx"):
        verify_files(tmp_path, spec, [])


def test_an_unknown_model_runtime_or_device_lists_what_exists(tmp_path):
    with pytest.raises(ModelFileError, match="no model 'nonsense'"):
        find_model("nonsense")
    with pytest.raises(RuntimeUnavailable, match="onnxruntime"):
        load_runtime(runtime="abacus")
    with pytest.raises(RuntimeUnavailable, match=r"'tpu'.*cpu, cuda"):
        load_runtime(device="tpu")
    with pytest.raises(ValueError, match="threads is 0"):
        load_runtime(threads=0)
    assert "onnxruntime" in available_runtimes()


# --- the graphs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runtime():
    with load_runtime(MODEL, runtime="onnxruntime", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def frame(runtime):
    generator = np.random.default_rng(0)
    return runtime.encode_image(generator.integers(0, 256, (*runtime.size, 3), np.uint8))


def references(runtime, frame, count):
    masks = np.zeros((count, *runtime.size), np.float32)
    for row in range(count):
        masks[row, 20 + 10 * row : 100 + 10 * row, 40 + 20 * row : 160 + 20 * row] = 1
    return runtime.encode_reference(frame, masks)


def same(one, other, tolerance=2e-4):
    assert abs(one.score - other.score) < tolerance
    np.testing.assert_allclose(one.box, other.box, atol=tolerance)
    np.testing.assert_allclose(one.mask_logits, other.mask_logits, atol=50 * tolerance, rtol=1e-3)


@needs_model
def test_shapes_are_those_of_the_interface(runtime, frame):
    height, width = runtime.size
    language = runtime.encode_text("the red mug")
    hidden, words = runtime.spec.hidden, runtime.spec.max_words
    assert language.words.shape == (words, hidden) and language.sentence.shape == (hidden,)
    assert language.word_mask.tolist() == [1.0] * 5 + [0.0] * (words - 5)  # [CLS] the red mug [SEP]
    (reference,) = references(runtime, frame, 1)
    assert [len(part) for part in (reference.keys, reference.values, reference.embeds)] == [4, 4, 4]
    (answer,) = runtime.segment(frame, [ObjectReferences(language=language)])
    assert answer.mask_logits.shape == (height // 4, width // 4) and answer.box.shape == (4,)
    assert 0.0 <= answer.score <= 1.0 and np.isfinite(answer.mask_logits).all()


@needs_model
@pytest.mark.parametrize("count", [2, 3, 5, 8, 9, 11])
def test_a_batch_gives_what_one_at_a_time_gives(runtime, frame, count):
    masks = references(runtime, frame, count)
    words = [runtime.encode_text(text) for text in ("the red mug", "a box")]
    objects = [
        ObjectReferences(words[row % 2] if row % 3 else None, masks[row], masks[row - 1] if row % 2 else None)
        for row in range(count)
    ]
    together = runtime.segment(frame, objects)
    assert len(together) == count
    for item, answer in zip(objects, together, strict=True):
        same(answer, runtime.segment(frame, [item])[0])


@needs_model
def test_batched_references_are_those_made_one_at_a_time(runtime, frame):
    several = references(runtime, frame, 3)
    masks = np.zeros((1, *runtime.size), np.float32)
    masks[0, 40:120, 80:200] = 1
    (alone,) = runtime.encode_reference(frame, masks)
    for level in range(4):
        np.testing.assert_allclose(several[2].values[level], alone.values[level], atol=1e-3, rtol=1e-3)
        np.testing.assert_allclose(several[2].keys[level], alone.keys[level], atol=1e-3, rtol=1e-3)


@needs_model
def test_nothing_of_one_call_leaks_into_the_next(runtime, frame):
    """Rows of a batch are reused; a reference that is switched off must leave no trace."""
    (mask,) = references(runtime, frame, 1)
    words = runtime.encode_text("the red mug")
    before = runtime.segment(frame, [ObjectReferences(language=words)])[0]
    runtime.segment(frame, [ObjectReferences(runtime.encode_text("a blue car"), mask, mask)])
    same(runtime.segment(frame, [ObjectReferences(language=words)])[0], before, tolerance=1e-6)
    only = runtime.segment(frame, [ObjectReferences(first=mask)])[0]
    runtime.segment(frame, [ObjectReferences(language=words)])
    same(runtime.segment(frame, [ObjectReferences(first=mask)])[0], only, tolerance=1e-6)


@needs_model
def test_the_same_reference_twice_is_the_same_as_once(runtime, frame):
    """On the frame after the first, first and previous are one: the authors join both, the tracker passes
    one."""
    (mask,) = references(runtime, frame, 1)
    once, first_place = ObjectReferences(first=mask, previous=mask), ObjectReferences(first=mask)
    same(runtime.segment(frame, [once])[0], runtime.segment(frame, [first_place])[0], tolerance=1e-3)
    previous_place = ObjectReferences(previous=mask)
    same(
        runtime.segment(frame, [previous_place])[0], runtime.segment(frame, [first_place])[0], tolerance=1e-3
    )


@needs_model
def test_shared_attention_answers_as_batched_attention_does(runtime, frame):
    """Objects of two groups of frames, one alone, words beside them; more of a group than fits a batch."""
    assert runtime.shared
    other = runtime.encode_image(frame.image[::-1].copy())
    masks = np.zeros((9, *runtime.size), np.float32)
    for row in range(9):
        masks[row, 10 * row : 10 * row + 60, 20 * row : 20 * row + 90] = 1
    words = runtime.encode_text("the red mug")
    with load_onnx(MODEL, threads=1, attention="batched") as batched:
        answers = []
        for engine in (runtime, batched):
            first, previous = engine.encode_reference(frame, masks), engine.encode_reference(other, masks)
            objects = [ObjectReferences(None, a, b) for a, b in zip(first, previous, strict=True)]
            objects += [ObjectReferences(words, previous[0], first[1]), ObjectReferences(words)]
            objects += [ObjectReferences(words, first[3]), ObjectReferences(previous=first[4])]
            answers.append(engine.segment(other, objects))
    for one, two in zip(*answers, strict=True):
        same(one, two)


@needs_model
def test_graphs_of_another_version_are_refused_with_what_to_do(tmp_path):
    folder = shutil.copytree(MODEL, tmp_path / "model")
    spec = json.loads((folder / "model.json").read_text())
    del spec["graphs"], spec["version"]  # as the first release wrote it
    (folder / "model.json").write_text(json.dumps(spec))
    with pytest.raises(ModelFileError, match=r"version 1.*version 3.*uniref export"):
        load_runtime(folder)


@needs_model
def test_references_matter(runtime, frame):
    one, other = references(runtime, frame, 2)
    words, others = runtime.encode_text("the red mug"), runtime.encode_text("a dog on the left")
    answers = runtime.segment(
        frame,
        [
            ObjectReferences(first=one),
            ObjectReferences(first=other),
            ObjectReferences(words),
            ObjectReferences(others),
        ],
    )
    logits = [answer.mask_logits for answer in answers]
    assert not np.allclose(logits[0], logits[1], atol=1e-3)
    assert not np.allclose(logits[2], logits[3], atol=1e-3)


@needs_model
def test_a_long_prompt_is_cut_and_says_so(runtime):
    assert runtime.encode_text("a red mug " * 30).truncated
    assert not runtime.encode_text("a red mug").truncated
    assert runtime.encode_text("A red mug!") is runtime.encode_text("a red mug")


@needs_model
def test_wrong_shapes_are_refused(runtime, frame):
    with pytest.raises(ValueError, match="expected uint8"):
        runtime.encode_image(np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(ValueError, match="masks have shape"):
        runtime.encode_reference(frame, np.zeros((1, 10, 10), np.float32))


@needs_model
def test_every_size_of_the_model_loads_and_a_closed_runtime_says_so():
    spec = ModelSpec.from_file(MODEL / "model.json")
    for height, width in spec.sizes:
        with load_runtime(MODEL, f"{height}x{width}", "onnxruntime", threads=1) as loaded:
            loaded.prepare([1, 2])
            assert loaded.describe()["size"] == f"{height}x{width}"
        with pytest.raises(RuntimeUnavailable, match="closed"):
            loaded.encode_image(np.zeros((height, width, 3), np.uint8))


@needs_model
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_model_is_refused_before_anything_runs(tmp_path, damage):
    folder = shutil.copytree(MODEL, tmp_path / "model")
    spec = json.loads((folder / "model.json").read_text())
    victim = folder / max(spec["sha256"], key=lambda name: (folder / name).stat().st_size)
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match=victim.name):
        load_runtime(folder)
