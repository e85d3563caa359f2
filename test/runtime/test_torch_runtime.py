"""The torch runtime: from a .safetensors file, also of the authors' model, to masks."""

# ruff: noqa: E402 (imports follow the check that their packages are installed)
from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

for module in ("torch", "timm", "transformers", "safetensors"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the torch runtime needs {module} (extra: train)", allow_module_level=True)

import cv2
import torch

from uniref_model.cli import main
from uniref_model.errors import ModelFileError, PromptError, RuntimeUnavailable
from uniref_model.network.config import FUSION_MODES, ModelConfig
from uniref_model.network.loading import save_weights
from uniref_model.network.model import UniRef
from uniref_model.runtime import LanguageReference, ObjectReferences, load_runtime
from uniref_model.runtime.pytorch import TorchRuntime

SIZE = (64, 128)
DATA = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def network() -> UniRef:
    torch.manual_seed(0)
    model = UniRef(ModelConfig.from_name("uniref_nano"), with_text=False).eval()
    # an untrained score is the prior, 0.01: raise it over every threshold, so that masks count
    torch.nn.init.constant_(model.class_embed[-2].bias, 3.0)
    return model


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    save_weights(network.state_dict(), network.config, path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three frames of 60x90 and a label image with the objects 3 and 7."""
    path = tmp_path / "frames"
    path.mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        image = rng.integers(0, 80, (60, 90, 3), dtype=np.uint8)
        cv2.circle(image, (30 + 4 * index, 30), 12, (30, 30, 220), -1)
        cv2.imwrite(str(path / f"{index:03d}.png"), image)
    labels = np.zeros((60, 90), np.uint8)
    cv2.circle(labels, (30, 30), 12, 7, -1)
    labels[40:56, 60:80] = 3
    cv2.imwrite(str(tmp_path / "labels.png"), labels)
    return path


def track(folder: Path, model: Path, size: str, *options: str) -> list[np.ndarray]:
    out = folder.parent / "masks"
    labels = str(folder.parent / "labels.png")
    arguments = ["--mask", labels, "--masks", str(out), "--model", str(model), "--size", size, "--quiet"]
    assert main(["track", str(folder), *arguments, *options]) == 0
    found = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(out.iterdir())]
    assert [path.name for path in sorted(out.iterdir())] == ["000.png", "001.png", "002.png"]
    for image in found:
        assert image.dtype == np.uint8 and image.shape == (60, 90) and set(np.unique(image)) <= {0, 3, 7}
    return found


def test_a_file_of_weights_tracks_masks(weights, folder):
    given = cv2.imread(str(folder.parent / "labels.png"), cv2.IMREAD_UNCHANGED)
    masks = track(folder, weights, "64x128", "--threads", "1")
    assert np.array_equal(masks[0], given)
    assert masks[1].any()


def test_objects_are_answered_in_order_and_as_if_alone(network):
    rng = np.random.default_rng(0)
    runtime = TorchRuntime(network, size=SIZE)
    frame = runtime.encode_image(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    masks = np.zeros((3, *SIZE), np.float32)
    for row in range(3):
        masks[row, 10 * row : 10 * row + 20, 40 * row : 40 * row + 30] = 1
    one, two, three = runtime.encode_reference(frame, masks)
    objects = [ObjectReferences(first=one), ObjectReferences(first=two, previous=three)]
    objects += [ObjectReferences(previous=three), ObjectReferences(first=two)]
    together = runtime.segment(frame, objects)
    for item, answer in zip(objects, together, strict=True):
        (alone,) = runtime.segment(frame, [item])
        assert answer.score == pytest.approx(alone.score, abs=1e-5)
        np.testing.assert_allclose(answer.box, alone.box, atol=1e-4)
        np.testing.assert_allclose(answer.mask_logits, alone.mask_logits, atol=1e-3)
        assert answer.mask_logits.shape == (16, 32) and answer.box.shape == (4,)
    assert runtime.segment(frame, []) == []
    assert not np.allclose(together[0].mask_logits, together[3].mask_logits)


def test_sizes(network):
    assert TorchRuntime(network).size == (192, 320)
    assert TorchRuntime(network, size="64x192").size == (64, 192)
    for size in ("64x100", "0x64", "64", (60, 128)):
        with pytest.raises(ModelFileError, match="expected HEIGHTxWIDTH, multiples of 64"):
            TorchRuntime(network, size=size)


def test_the_authors_models_keep_the_aspect_at_480(monkeypatch):
    from uniref_model.runtime import pytorch

    config = ModelConfig.from_name("uniref_r50")
    assert pytorch._size(config, None) == (480, 864)
    assert pytorch._size(config, "128x192") == (128, 192)
    spec = pytorch._spec(config, (480, 864))
    assert spec.resize == "shortest_edge" and not spec.interactive and spec.max_words == 77
    assert spec.upsample_for(with_words=True) == "bilinear"
    assert spec.upsample_for(with_words=False) == "aligned"


def test_nano_finds_its_text_encoder_in_its_package(weights):
    with load_runtime(weights, size=SIZE) as runtime:
        one, other, same = (runtime.encode_text(text) for text in ("a mug", "the red box", "A mug!"))
        assert one.words.shape == (24, 64) and one.word_mask.sum() == 4  # [CLS] a mug [SEP]
        assert one.noun is not None and np.array_equal(one.sentence, same.sentence)
        assert not np.allclose(one.sentence, other.sentence, atol=1e-2)


def test_prompts_need_a_tokenizer_and_a_text_encoder(weights, network, tmp_path, monkeypatch):
    monkeypatch.setattr("uniref_model.network.text.MINILM_PACKAGE", "no_such_minilm")
    with load_runtime(weights, size=SIZE) as runtime:
        with pytest.raises(ModelFileError, match="'no-such-minilm', which is not installed: pip install"):
            runtime.encode_text("a mug")
        with pytest.raises(PromptError, match="holds no word"):
            runtime.encode_text("?!")

    def tokenizer(_):
        return np.ones((1, 24), np.int64), np.ones((1, 24), np.int64), False

    with pytest.raises(ModelFileError, match="'no-such-minilm', which is not installed"):
        TorchRuntime(network, size=SIZE, tokenizer=tokenizer).encode_text("a mug")
    values = network.config.to_dict()
    values["text"]["encoder"] = "bert-base"
    monkeypatch.setattr(network, "config", ModelConfig.from_dict(values))
    with pytest.raises(ModelFileError, match="stored without text encoder"):
        TorchRuntime(network, size=SIZE, tokenizer=tokenizer).encode_text("a mug")
    with pytest.raises(
        ModelFileError, match=r"need the tokenizer\.json of bert-base, expected it at the weights"
    ):
        TorchRuntime(network, size=SIZE).encode_text("a mug")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelFileError, match="is not a tokenizer file"):
        TorchRuntime(network, size=SIZE, tokenizer=tmp_path / "tokenizer.json").encode_text("a mug")


def test_what_cannot_be_run_is_refused(weights, network, tmp_path):
    with pytest.raises(ModelFileError, match=r"reads a .safetensors file"):
        load_runtime("uniref_nano", runtime="torch")
    with pytest.raises(ModelFileError, match="no such file"):
        load_runtime(tmp_path / "none.safetensors")
    with pytest.raises(RuntimeUnavailable, match="no device 'tpu'"):
        load_runtime(weights, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeUnavailable, match="sees no CUDA device"):
            load_runtime(weights, device="cuda")
    runtime = TorchRuntime(network, size=SIZE)
    with pytest.raises(ValueError, match="resize before encoding"):
        runtime.encode_image(np.zeros((60, 90, 3), np.uint8))
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeUnavailable, match="is closed"):
        runtime.encode_image(np.zeros((*SIZE, 3), np.uint8))


def test_weights_that_are_not_finite_are_refused(network, tmp_path):
    damaged = {name: value.clone() for name, value in network.state_dict().items()}
    name = next(name for name, value in damaged.items() if value.is_floating_point())
    damaged[name].view(-1)[0] = float("nan")
    save_weights(damaged, network.config, tmp_path / "nan.safetensors")
    with pytest.raises(ModelFileError, match=rf"nan\.safetensors.*{name}.*not finite"):
        load_runtime(tmp_path / "nan.safetensors")


def test_without_torch_it_says_how_to_get_it(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "uniref_model.runtime.pytorch", raising=False)
    with pytest.raises(RuntimeUnavailable, match=r"pip install -e '\.\[train\]'"):
        load_runtime(weights)


def test_the_fusion_can_be_chosen(weights, folder):
    """Another fusion of words and mask gives other scores from the same weights, and says so."""
    scores = {}
    words = np.random.default_rng(0).standard_normal((24, 64)).astype(np.float32)
    noun = np.zeros(1281, np.float32)
    language = LanguageReference(words, np.ones(24, np.float32), words.mean(0), noun=noun)
    image = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)
    for mode in FUSION_MODES:
        with load_runtime(weights, SIZE, fusion=mode) as runtime:
            assert runtime.describe()["fusion"] == mode
            frame = runtime.encode_image(image)
            (mask,) = runtime.encode_reference(frame, np.ones((1, *SIZE), np.float32))
            (answer,) = runtime.segment(frame, [ObjectReferences(language, mask)])
            scores[mode] = float(answer.mask_logits.sum())
    assert len(set(scores.values())) == len(FUSION_MODES), scores
    with pytest.raises(ModelFileError, match=r"'sum'.*parallel_multiply"):
        load_runtime(weights, SIZE, fusion="sum")
    with pytest.raises(RuntimeUnavailable, match="exported graph has its own built in"):
        load_runtime("uniref_nano", fusion="parallel")
    assert (
        main(["track", str(folder), "--model", str(weights), "--click", "30,30", "--fusion", "sum", "-q"])
        == 1
    )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["streaming", "authors"])
def test_the_authors_model_from_checkpoint_to_masks(tmp_path, folder, protocol):
    """800 MB of made-up weights: `uniref convert`, then `uniref track`."""
    sys.path.insert(0, str(DATA))
    import made_up_weights

    manifest = json.loads((DATA / "manifest_r50_bert-base.json").read_text())
    state = made_up_weights.state_dict(manifest, shared_query=True)
    state = {key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}
    torch.save({"model": state}, tmp_path / "model_final.pth")
    model = tmp_path / "r50.safetensors"
    checkpoint = str(tmp_path / "model_final.pth")
    assert main(["convert", checkpoint, "--model", "uniref_r50", "--out", str(model)]) == 0
    masks = track(folder, model, "128x192", "--protocol", protocol, "--mask-threshold", "0.3")
    given = cv2.imread(str(folder.parent / "labels.png"), cv2.IMREAD_UNCHANGED)
    # the authors merge the given mask softly, at model size: only its outline may move
    outline = cv2.morphologyEx(given, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    assert np.array_equal(masks[0][~outline], given[~outline])
    assert protocol == "authors" or np.array_equal(masks[0], given)
    assert masks[1].any()
