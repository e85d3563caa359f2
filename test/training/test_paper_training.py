"""The paper's training: what a step changes, runs, resuming, files, the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import paper_packages  # noqa: F401 - skips all of this where something is missing
import pytest
import torch
import training_sets as published

from uniref_model.errors import ModelFileError, UniRefError
from uniref_model.network import text
from uniref_model.network.loading import load_model, save_weights
from uniref_model.network.torchvision_shim import import_timm
from uniref_model.runtime import find_model
from uniref_model.training import checkpoints, log
from uniref_model.training.paper.batches import Collate
from uniref_model.training.paper.config import StageConfig
from uniref_model.training.paper.optimiser import build_optimiser, rate_of, set_rates
from uniref_model.training.paper.progress import check
from uniref_model.training.paper.samples import SampleStream
from uniref_model.training.paper.sampling import MultiDatasetBatches
from uniref_model.training.paper.sets import open_dataset
from uniref_model.training.paper.start import (
    StartOptions,
    build_network,
    load_backbone,
    load_text,
    open_tokenizer,
)
from uniref_model.training.paper.step import StageModel
from uniref_model.training.recipes.paper import StageRun, train_stage

CONFIGS = Path(__file__).resolve().parents[2] / "config" / "training"
STAGES = ("stage1_vg", "stage2_refcoco", "stage3_video")
MINILM = text._BERT_SIZES["minilm-l6"]


# nothing here is large enough for a second thread to be worth its start
pytestmark = pytest.mark.usefixtures("one_thread")


# ---- a stage on tiny data ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("paper")
    published.make_all(folder / "data")
    published.write_tiny_model(folder / "tiny.yaml", published.TINY_TEXT["hidden_size"])
    published.write_tiny_model(folder / "minilm.yaml", 384)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(text._BERT_SIZES, "minilm-l6", published.TINY_TEXT)
        yield folder


def tiny(folder: Path, stage: str, **changes) -> StageConfig:
    """A stage as shipped, but with a narrow network and small pictures."""
    settings = {"model": str(folder / "tiny.yaml"), "text_encoder": "minilm-l6"} | changes
    config = StageConfig.from_yaml(CONFIGS / f"{stage}.yaml", settings)
    small = tuple(replace(item, short_side=(64, 64), long_side=96) for item in config.datasets)
    return replace(config, datasets=small)


def batches_of(folder: Path, config: StageConfig, count: int) -> list:
    sets = [open_dataset(item, folder / "data", config.frame_range) for item in config.datasets]
    stream = SampleStream(sets, config.datasets, config.seed)
    collate = Collate(open_tokenizer(config, StartOptions())[0])
    keys = islice(MultiDatasetBatches(sets, config.datasets, config.seed), count)
    return [collate([stream[key] for key in group]) for group in keys]


def changed_by_a_step(folder: Path, config: StageConfig, count: int) -> tuple[StageModel, set[str]]:
    """Names of the network's parameters that one optimiser step on `count` batches moves."""
    model = StageModel(build_network(config, StartOptions()), config).train()
    with torch.no_grad():  # at the start, zero weights keep gradients from what lies before them
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    optimiser = build_optimiser(model, config)
    before = {name: value.detach().clone() for name, value in model.network.named_parameters()}
    for batch in batches_of(folder, config, count):
        loss, _ = model(batch)
        loss.backward()
    optimiser.step()
    after = dict(model.network.named_parameters())
    return model, {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_moves_what_the_stage_trains_and_nothing_else(folder: Path, stage: str) -> None:
    config = tiny(folder, stage)
    model, changed = changed_by_a_step(folder, config, 8 if stage == "stage3_video" else 1)
    video = stage == "stage3_video"
    for name, parameter in model.network.named_parameters():
        frozen = name.startswith(("backbone.body.conv1.", "backbone.body.layer1."))
        frozen |= name.startswith("text_encoder.") and video
        frozen |= name.startswith("value_encoder.") and not video
        assert parameter.requires_grad == (not frozen), name
        assert (name in changed) == (not frozen), name


def test_a_frozen_text_encoder_has_no_dropout(folder: Path) -> None:
    config = tiny(folder, "stage3_video")
    model = StageModel(build_network(config, StartOptions()), config).train()
    assert model.network.decoder.training and not model.network.text_encoder.training
    trained = tiny(folder, "stage1_vg")
    assert StageModel(model.network, trained).train().network.text_encoder.training


def test_rates_are_the_authors_and_fall_by_ten_at_the_step(folder: Path) -> None:
    config = tiny(folder, "stage1_vg")
    names = {
        "backbone.body.layer2.0.conv1.weight": 2e-5,
        "encoder.layers.0.self_attn.sampling_offsets.weight": 2e-5,
        "text_encoder.embeddings.word_embeddings.weight": 1e-5,
        "fusion.attn.q_proj.weight": 2e-4,
        "value_encoder.conv1.weight": 2e-4,
    }
    assert {name: rate_of(name, config) for name in names} == pytest.approx(names)
    model = StageModel(build_network(config, StartOptions()), config)
    optimiser = build_optimiser(model, config)
    assert {group["weight_decay"] for group in optimiser.param_groups} == {config.weight_decay}
    for iteration, factor in ((0, 1), (79999, 1), (80000, 0.1), (89999, 0.1)):
        set_rates(optimiser, config, iteration)
        rates = sorted(group["lr"] for group in optimiser.param_groups)
        assert rates == pytest.approx([1e-5 * factor, 2e-5 * factor, 2e-4 * factor])


def test_every_decoder_layer_and_the_proposals_are_supervised(folder: Path) -> None:
    config = tiny(folder, "stage2_refcoco", text_dropout=0.0, text_encoder_frozen=True)
    model = StageModel(build_network(config, StartOptions()), config).train()
    (batch,) = batches_of(folder, config, 1)
    loss, _ = model(batch)
    loss.backward()
    grads = {name: p.grad for name, p in model.network.named_parameters()}
    for layer in range(3):  # two decoder layers and the two-stage head
        assert grads[f"class_embed.{layer}.weight"].abs().sum() > 0
        assert grads[f"bbox_embed.{layer}.layers.2.weight"].abs().sum() > 0


def test_padding_does_not_change_the_targets_loss_terms(folder: Path) -> None:
    """A clip in a batch with a larger one gets the boxes' losses in fractions of its own picture."""
    config = tiny(folder, "stage2_refcoco", text_dropout=0.0, text_encoder_frozen=True)
    model = StageModel(build_network(config, StartOptions()), config).train()
    for batch in batches_of(folder, config, 4):
        output = model.respond(batch)
        valid = (~batch.current.padding).float()
        sizes = torch.stack([valid[:, :, 0].sum(1), valid[:, 0].sum(1)], 1)
        x0 = (batch.boxes[:, 0] - batch.boxes[:, 2] / 2) * sizes[:, 1]
        y1 = (batch.boxes[:, 1] + batch.boxes[:, 3] / 2) * sizes[:, 0]
        for row, mask in enumerate(batch.current.masks):
            rows, columns = torch.nonzero(mask, as_tuple=True)
            assert float(x0[row]) == pytest.approx(float(columns.min()), abs=1e-3)
            assert float(y1[row]) == pytest.approx(float(rows.max()) + 1, abs=1e-3)
        assert ((output.boxes >= 0) & (output.boxes <= 1)).all()


@pytest.mark.parametrize("stage", ["stage1_vg", "stage3_video"])
def test_a_few_steps_on_one_batch_lower_the_loss(folder: Path, stage: str) -> None:
    config = tiny(folder, stage, text_dropout=0.0, text_encoder_frozen=True)
    model = StageModel(build_network(config, StartOptions()), config).train()
    batch = next(b for b in batches_of(folder, config, 12) if stage == "stage1_vg" or b.reference is not None)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser, values = torch.optim.AdamW(trained, lr=2e-3), []
    for _ in range(8):
        loss, figures = model(batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.85 * values[0], values
    assert set(figures) > {"class", "l1", "giou", "proposals", "iou", "loss"}


def test_bf16_gives_a_finite_loss_near_the_float32_one(folder: Path) -> None:
    config = tiny(folder, "stage3_video")
    model = StageModel(build_network(config, StartOptions()), config).train()
    for batch in batches_of(folder, config, 2):
        with torch.no_grad():
            whole, _ = model(batch)
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = model(batch)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(whole), rel=0.2)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# ---- runs ----


@pytest.fixture(scope="module")
def runs(folder: Path) -> Path:
    """Stage III for four iterations in one go (`whole`), and in two runs of two (`parts`)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "EVERY", 1)
        config = tiny(folder, "stage3_video", checkpoint_iterations=5, max_iterations=4)
        run = StageRun(folder / "whole", folder / "data", workers=0, threads=1, accumulate=2)
        train_stage(config, run)
        run = replace(run, output=folder / "parts")
        train_stage(replace(config, max_iterations=2), run)
        with (run.output / "log.jsonl").open(
            "a"
        ) as file:  # as if it had gone on for a while before it stopped
            file.write('{"iteration": 3, "loss": 1.0}\n')
        train_stage(config, replace(run, resume=folder / "parts"))
    return folder


def rows_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_resumed_run_has_the_same_losses_and_weights(runs: Path) -> None:
    whole, parts = rows_of(runs / "whole"), rows_of(runs / "parts")
    assert [row["iteration"] for row in parts] == [1, 2, 3, 4]
    assert [row["loss"] for row in parts] == [row["loss"] for row in whole]
    one, other = (load_model(runs / name / "model.safetensors").state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_run_leaves_what_the_commands_take(runs: Path) -> None:
    from uniref_model.runtime.pytorch import TorchRuntime

    run = runs / "whole"
    assert {"checkpoints", "log.jsonl", "model.safetensors", "tokenizer.json"} <= {
        p.name for p in run.iterdir()
    }
    with TorchRuntime(run / "model.safetensors", size=(64, 96)) as runtime:
        words = runtime.encode_text("the red box").words
        frame = runtime.encode_image(np.zeros((64, 96, 3), np.uint8))
        assert words.shape == (12, 32) and len(frame.features.levels) == 4


def test_the_curves_are_in_tensorboard(runs: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(runs / "whole" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]


def test_a_run_is_not_resumed_with_other_settings(runs: Path) -> None:
    config = tiny(runs, "stage3_video", max_iterations=4)
    path = checkpoints.find(runs / "whole")
    assert path.name == "00000004" and check(path, config, 1, 2).iteration == 4
    with pytest.raises(ModelFileError, match=r"learning_rate 0\.0001, this run has 0\.01"):
        check(path, replace(config, learning_rate=0.01), 1, 2)
    with pytest.raises(ModelFileError, match="1 processes that accumulate 2 batches, this run has 4 and 2"):
        check(path, config, 4, 2)
    with pytest.raises(ModelFileError, match="no checkpoint at"):
        checkpoints.find(runs / "data")


def test_a_folder_with_a_run_is_not_written_over(runs: Path) -> None:
    config = tiny(runs, "stage3_video", max_iterations=4)
    run = StageRun(runs / "whole", runs / "data", workers=0)
    for resume in (None, runs / "parts"):
        with pytest.raises(ModelFileError, match=r"whole holds a run up to .*00000004: resume from there"):
            train_stage(config, replace(run, resume=resume))


def test_samples_without_reference_ignore_those_of_others(folder: Path) -> None:
    config = tiny(folder, "stage3_video")
    model = StageModel(build_network(config, StartOptions()), config).eval()
    batch = next(
        b for b in batches_of(folder, config, 40) if sorted(b.reference_row.tolist()) == [-1, 0]
    )  # one of two has a mask
    row = batch.reference_row.tolist().index(-1)
    with torch.no_grad():
        before = model.respond(batch).logits
        batch.reference.masks.logical_not_()
        after = model.respond(batch).logits
    assert torch.equal(before[row], after[row]) and not torch.equal(before[1 - row], after[1 - row])


def test_the_next_stage_starts_from_the_weights_of_the_one_before(runs: Path) -> None:
    weights = runs / "whole" / "model.safetensors"
    config = tiny(runs, "stage3_video")
    network = build_network(config, StartOptions(init=weights))
    for name, value in load_model(weights).state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name
    with pytest.raises(ModelFileError, match="minilm-l6, the stage wants bert-base: set text_encoder"):
        build_network(tiny(runs, "stage3_video", text_encoder="bert-base"), StartOptions(init=weights))


def test_weights_without_text_encoder_leave_it_to_the_text_weights(runs: Path, tmp_path: Path) -> None:
    model = load_model(runs / "whole" / "model.safetensors")
    kept = {k: v for k, v in model.state_dict().items() if not k.startswith("text_encoder.")}
    save_weights(kept, model.config, tmp_path / "model.safetensors")
    network = build_network(tiny(runs, "stage2_refcoco"), StartOptions(init=tmp_path / "model.safetensors"))
    assert network.text_encoder is not None
    assert torch.equal(network.query_embed.weight, model.query_embed.weight)


def test_published_backbones_and_text_encoders_are_loaded(folder: Path, tmp_path: Path) -> None:
    config = tiny(folder, "stage1_vg")
    network = build_network(config, StartOptions())
    classifier = import_timm().create_model("test_resnet", pretrained=False)
    torch.nn.init.normal_(classifier.layer2[0].conv1.weight)
    torch.save({"state_dict": classifier.state_dict()}, tmp_path / "backbone.pth")
    load_backbone(network, tmp_path / "backbone.pth")
    assert torch.equal(network.backbone.body.layer2[0].conv1.weight, classifier.layer2[0].conv1.weight)
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ModelFileError, match=r"other\.pth: \d+ backbone weights are missing, first"):
        load_backbone(network, tmp_path / "other.pth")

    source = build_network(replace(config, seed=5), StartOptions()).text_encoder
    source.save_pretrained(tmp_path / "text")
    load_text(network, tmp_path / "text")
    for name, value in source.state_dict().items():
        assert torch.equal(value, network.text_encoder.state_dict()[name])
    with pytest.raises(ModelFileError, match=r"missing file .*config\.json"):
        load_text(network, tmp_path)


def test_roberta_needs_its_tokenizer(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no tokenizer\.json for roberta-base"):
        open_tokenizer(tiny(folder, "stage1_vg", text_encoder="roberta-base"), StartOptions())
    # a resumed run has it in its folder
    shutil.copyfile(find_model("uniref_nano") / "tokenizer.json", tmp_path / "tokenizer.json")
    config = tiny(folder, "stage1_vg", text_encoder="roberta-base")
    assert open_tokenizer(config, StartOptions(), tmp_path)[1] == tmp_path / "tokenizer.json"


def test_gradients_are_clipped_before_the_optimiser_sees_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms, step = [], torch.optim.AdamW.step

    def spy(optimiser, *arguments, **options):
        grads = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(grads)))
        return step(optimiser, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    config = tiny(folder, "stage2_refcoco", max_iterations=2)
    train_stage(config, StageRun(folder / "clipped", folder / "data", workers=0, threads=1, accumulate=1))
    assert rows_of(folder / "clipped")[-1]["gradient"] > 1  # the norm before
    assert norms == pytest.approx([0.1, 0.1], rel=1e-3)


def test_two_processes_make_the_step_of_one_that_accumulates(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that depends on who shares a batch is switched off: then the mean gradients agree."""
    monkeypatch.setitem(text._BERT_SIZES, "minilm-l6", MINILM)  # other processes have no smaller one
    config = tiny(
        folder,
        "stage2_refcoco",
        matcher="hungarian",
        text_encoder_frozen=True,
        text_dropout=0.0,
        max_iterations=1,
        model=str(folder / "minilm.yaml"),
    )
    # one size: pictures are padded alike
    config = replace(config, datasets=tuple(replace(d, short_side=(64, 64)) for d in config.datasets))
    run = StageRun(folder / "one", folder / "data", workers=0, threads=1, accumulate=2)
    train_stage(config, run)
    train_stage(config, replace(run, output=folder / "two", processes=2, accumulate=1))
    norms = [rows_of(folder / name)[-1]["gradient"] for name in ("one", "two")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert (folder / "two" / "checkpoints" / "00000001" / "random_states_1.pkl").is_file()


def test_an_error_in_a_process_is_told(folder: Path, tmp_path: Path) -> None:
    run = StageRun(tmp_path / "run", tmp_path, workers=0, threads=1, accumulate=1, processes=2)
    with pytest.raises(UniRefError, match=r"process \d failed: DatasetError: missing folder .*refcoco"):
        train_stage(tiny(folder, "stage2_refcoco"), run)


# ---- the command ----


def test_the_command_trains_a_stage(folder: Path, capsys: pytest.CaptureFixture) -> None:
    from uniref_model.cli import main

    sets = (
        "[{name: visual_genome, task: RIS, weight: 1, batch_size: 2, short_side: [64, 96], long_side: 128}]"
    )
    arguments = ["train", str(CONFIGS / "stage1_vg.yaml"), "--output", str(folder / "run")]
    changes = [
        f"model={folder / 'tiny.yaml'}",
        "text_encoder=minilm-l6",
        "max_iterations=1",
        f"datasets={sets}",
    ]
    options = [part for change in changes for part in ("--set", change)]
    extra = ["--data", str(folder / "data"), "--accumulate", "1", "--workers", "1", "--threads", "1"]
    assert main([*arguments, *extra, *options]) == 0
    assert "model.safetensors" in capsys.readouterr().out.replace("\n", "")
    assert load_model(folder / "run" / "model.safetensors").config.name == "tiny"

    assert main([*arguments, "--minutes", "3"]) == 1
    assert "--minutes does not apply to" in capsys.readouterr().err
    assert main([*arguments, "--data", str(folder / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert main(["train", str(CONFIGS / "nano.yaml"), "--output", "x", "--precision", "bf16"]) == 1
    assert "--precision does not apply to" in capsys.readouterr().err
    (folder / "pack.npz").write_bytes(b"no pack")
    pack = ["--pack", str(folder / "pack.npz")]
    assert main(["train", str(CONFIGS / "nano.yaml"), "--output", str(folder / "clips"), *pack]) == 1
    assert "pack.npz is no sprite pack" in capsys.readouterr().err and not (folder / "clips").exists()
