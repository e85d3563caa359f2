"""Converting the authors' checkpoints: every key accounted for, everything else refused by name."""

# ruff: noqa: E402 (imports follow the check that their packages are installed)
from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

for module in ("torch", "timm", "transformers", "safetensors"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the converter needs {module} (extra: train)", allow_module_level=True)

import numpy as np
import torch
from golden_reader import Golden
from typer.testing import CliRunner

from uniref_model.cli import app
from uniref_model.errors import ModelFileError
from uniref_model.network import convert, loading
from uniref_model.runtime.text import PromptTokenizer

DATA = Path(__file__).parents[1] / "golden"


def checkpoint(backbone: str = "r50", language: str = "bert-base") -> dict[str, torch.Tensor]:
    """A full-size state dict in the authors' keys that takes no memory: each tensor repeats one number."""
    manifest = json.loads((DATA / f"manifest_{backbone}_{language}.json").read_text())["entries"]
    kinds = {"float32": torch.float32, "int64": torch.int64}
    numbers = {
        key: torch.full((1,), index, dtype=kinds[e["dtype"]])
        for index, (key, e) in enumerate(manifest.items())
    }
    return {
        key: numbers[entry.get("alias_of") or key].expand(entry["shape"] or [])
        if entry["shape"]
        else numbers[key][0]
        for key, entry in manifest.items()
    }


@pytest.fixture
def written(monkeypatch):
    """Catches what would be written, so that tests need not write 800 MB."""
    caught = {}
    monkeypatch.setattr(
        loading, "save_weights", lambda weights, config, path: caught.update(weights=weights, config=config)
    )
    return caught


def save(tmp_path, content) -> Path:
    path = tmp_path / "model_final.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "backbone, language, name",
    [
        ("r50", "bert-base", "uniref_r50"),
        ("r50", "roberta-base", "uniref_r50"),
        ("swinl", "bert-base", "uniref_swin_l"),
    ],
)
def test_every_key_is_accounted_for(tmp_path, written, backbone, language, name):
    source = checkpoint(backbone, language)
    path = save(tmp_path, {"model": source, "iteration": 3, "trainer": {"iteration": 3}})
    report = convert.convert_checkpoint(path, name, tmp_path / "out.safetensors")
    assert report.converted + report.duplicates + len(report.unused) == len(source)
    assert report.duplicates == 56 and report.allowed == ()
    assert report.text_encoder == language == written["config"].text.encoder
    assert all(
        "pooler" in key or "num_batches" in key or "_iter" in key or "index" in key for key in report.unused
    )
    # a few by hand, one of each kind of renaming
    places = {
        "detr.detr.transformer.encoder.layers.5.norm2.bias": "encoder.layers.5.norm2.bias",
        "value_encoder.fuser5.attention.SpatialGate.spatial.conv.bias": (
            "value_encoder.fusers.3.attention.spatial.bias"
        ),
        "value_encoder.layer4.1.bn2.running_var": "value_encoder.layers.3.1.bn2.running_var",
        "detr.mask_head.jia_dcn.weight": "mask_head.dcn.weight",
        "detr.fusion_module.adaLN_modulation.1.weight": "fusion.modulation.weight",
        "detr.detr.class_embed.6.bias": "class_embed.6.bias",
    }
    if backbone == "r50":
        places["detr.detr.backbone.0.backbone.res5.0.shortcut.norm.bias"] = (
            "backbone.body.layer4.0.downsample.1.bias"
        )
        places["detr.detr.backbone.0.backbone.res2.2.conv3.norm.weight"] = "backbone.body.layer1.2.bn3.weight"
    else:
        places["detr.detr.backbone.0.backbone.norm3.weight"] = "backbone.body.norms.3.weight"
    for theirs, ours in places.items():
        assert torch.equal(written["weights"][ours], source[theirs]), theirs


def test_bare_and_prefixed_files_are_the_same(tmp_path, written):
    source = checkpoint()
    for content in (source, {"model": {f"module.{key}": value for key, value in source.items()}}):
        convert.convert_checkpoint(save(tmp_path, content), "uniref_r50", tmp_path / "out.safetensors")
        found = written["weights"]["level_embed"]
        assert torch.equal(found, source["detr.detr.transformer.level_embed"])
        written.clear()


def refused(tmp_path, written, source, name="uniref_r50", **options) -> str:
    with pytest.raises(ModelFileError) as error:
        convert.convert_checkpoint(save(tmp_path, source), name, tmp_path / "out.safetensors", **options)
    assert not written and not (tmp_path / "out.safetensors").exists()
    return str(error.value)


def test_missing_extra_and_misshapen_keys_are_listed(tmp_path, written):
    source = checkpoint()
    del source["resizer.fc.bias"]
    source["detr.sam_decoder.weight"] = torch.zeros(3)
    source["detr.detr.transformer.encoder.layers.6.norm1.weight"] = torch.zeros(256)
    source["detr.lateral_conv.bias"] = torch.zeros(9)
    message = refused(tmp_path, written, source)
    assert "1 missing:\n  resizer.fc.bias" in message
    assert "2 not known:\n  detr.sam_decoder.weight\n  encoder.layers.6.norm1.weight" in message
    assert "1 of another shape:\n  mask_head.lateral_conv.bias: expected (8,), found (9,)" in message


def test_extra_keys_can_be_allowed_missing_ones_cannot(tmp_path, written):
    source = checkpoint()
    source["detr.sam_decoder.weight"] = torch.zeros(3)
    report = convert.convert_checkpoint(
        save(tmp_path, source), "uniref_r50", tmp_path / "out.safetensors", allow=["detr.sam_*"]
    )
    assert report.allowed == ("detr.sam_decoder.weight",)
    written.clear()
    del source["resizer.fc.bias"]
    assert "1 missing" in refused(tmp_path, written, source, allow=["*"])


def test_another_model_is_refused(tmp_path, written):
    message = refused(tmp_path, written, checkpoint("swinl"))
    assert "missing" in message and "backbone.body.layer1.0.conv1.weight" in message
    message = refused(tmp_path, written, {"conv1.weight": torch.zeros(3)})
    assert "1 not known:\n  conv1.weight" in message


def test_copies_of_a_head_must_agree(tmp_path, written):
    source = checkpoint()
    source["detr.detr.transformer.decoder.bbox_embed.0.layers.0.bias"] = torch.zeros(256) - 1
    assert "differs from detr.detr.bbox_embed.0.layers.0.bias" in refused(tmp_path, written, source)


def test_files_that_are_no_checkpoint(tmp_path, written):
    with pytest.raises(ModelFileError, match="no such file"):
        convert.read_checkpoint(tmp_path / "none.pth")
    whole = save(tmp_path, {"model": {"a": torch.zeros(5000)}}).read_bytes()
    path = tmp_path / "part.pth"
    for content in (whole[: len(whole) // 2], whole[:10], b"", b"<html>not found</html>"):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"truncated or not|no checkpoint at all"):
            convert.read_checkpoint(path)
    with pytest.raises(ModelFileError, match="expected a dict of tensors, found list"):
        convert.read_checkpoint(save(tmp_path, [torch.zeros(1)]))
    with pytest.raises(ModelFileError, match="'a' is not a tensor"):
        convert.read_checkpoint(save(tmp_path, {"a": 3}))


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_runs_nothing(tmp_path, zipped):
    trap = tmp_path / "trap"
    path = tmp_path / "hostile.pth"
    torch.save(
        {"model": {"a": torch.zeros(1)}, "trainer": Hostile(str(trap))},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(ModelFileError, match="could run code"):
        convert.read_checkpoint(path)
    assert not trap.exists()


def test_model_files_come_back_as_they_were(tmp_path):
    from uniref_model.network.config import ModelConfig
    from uniref_model.network.model import UniRef

    model = UniRef(ModelConfig.from_name("uniref_nano"), with_text=False).eval()
    path = tmp_path / "deep" / "nano.safetensors"
    loading.save_weights(model.state_dict(), model.config, path)
    again = loading.load_model(path, with_text=False)
    assert again.config == model.config and not again.training
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert [file.name for file in path.parent.iterdir()] == ["nano.safetensors"]

    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFileError, match="truncated or not a safetensors file"):
        loading.load_model(path)
    weights = dict(model.state_dict())
    del weights["level_embed"]
    loading.save_weights(weights, model.config, path)
    with pytest.raises(ModelFileError, match="level_embed"):
        loading.load_model(path, with_text=False)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, str(path))
    with pytest.raises(ModelFileError, match="no UniRef config in its header"):
        loading.read_config(path)


def converted_beside(tmp_path, written, language: str = "bert-base") -> tuple[Path, str]:
    """`uniref convert` run; the tokenizer's place and what was printed."""
    path = save(tmp_path, checkpoint(language=language))
    arguments = ["convert", str(path), "--model", "uniref_r50", "-o", str(tmp_path / "r50.safetensors")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return tmp_path / "tokenizer.json", " ".join(result.output.split())


def test_the_tokenizer_is_placed_beside_the_weights(tmp_path, written):
    path, told = converted_beside(tmp_path, written)
    assert "BERT's uncased vocabulary" in told
    golden = Golden(DATA / "a_r50.npz")  # ids of the authors' tokenizer
    ids, attention, truncated = PromptTokenizer(path, 77)(golden.meta["text"])
    wanted = golden.whole("text.ids")
    assert np.array_equal(ids[:, : wanted.shape[1]], wanted) and not ids[:, wanted.shape[1] :].any()
    assert attention.sum() == (wanted != 0).sum() and not truncated
    path.write_text("mine")
    assert "was there" in converted_beside(tmp_path, written)[1] and path.read_text() == "mine"


def test_roberta_needs_a_tokenizer_of_its_own(tmp_path, written):
    path, told = converted_beside(tmp_path, written, "roberta-base")
    assert "roberta-base's tokenizer.json" in told and not path.exists()


@pytest.mark.slow
def test_a_whole_checkpoint_through_the_disk(tmp_path):
    """800 MB: written, read again, and the model runs."""
    output = tmp_path / "r50.safetensors"
    convert.convert_checkpoint(save(tmp_path, checkpoint()), "uniref_r50", output)
    model = loading.load_model(output)
    source = checkpoint()
    assert torch.equal(model.mask_head.dcn.weight, source["detr.mask_head.jia_dcn.weight"])
    assert torch.equal(model.bbox_embed[6].layers[2].bias, source["detr.detr.bbox_embed.6.layers.2.bias"])
