"""The network's own behaviour; that it equals the authors' is test_golden.py's business."""

# ruff: noqa: E402 (imports follow the check that their packages are installed)
from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

for module in ("torch", "timm", "transformers"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the network needs {module} (extra: train)", allow_module_level=True)

import torch

from uniref_model.network.backbone import Backbone, load_backbone_weights, load_efficientnet_lite0
from uniref_model.network.config import FUSION_MODES, ModelConfig
from uniref_model.network.mask_head import aligned_bilinear
from uniref_model.network.model import UniRef
from uniref_model.network.torchvision_shim import import_timm
from uniref_model.network.two_stage import anchor_logits
from uniref_model.network.value_encoder import MaskReference

SIZE = (128, 192)


def small_config(**transformer) -> ModelConfig:
    values = ModelConfig.from_name("uniref_nano").to_dict()
    values["transformer"].update(transformer)
    return ModelConfig.from_dict(values)


def build(config: ModelConfig | None = None) -> UniRef:
    torch.manual_seed(0)
    model = UniRef(config or ModelConfig.from_name("uniref_nano"), with_text=False).eval()
    # norms with made-up statistics, so that what depends on them shows
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return model


@pytest.fixture(scope="module")
def nano() -> UniRef:
    return build()


@pytest.fixture
def inputs(nano):
    """Features of two frames, words and two mask references of two objects."""
    return make_inputs(nano)


def make_inputs(model, size=SIZE):
    torch.manual_seed(1)
    features = model.encode_image(torch.randn(2, 3, *size))
    attention = torch.zeros(2, 24, dtype=torch.long)
    attention[0, :5], attention[1, :9] = 1, 1
    language = model.embed_words(torch.randn(2, 24, 384), attention)
    references = [model.encode_reference(features, (torch.rand(2, 1, *size) > 0.7).float()) for _ in range(2)]
    return features, language, references


# ---- sizes ----

# the parts of the manifests' parameter counts, as prefixes of our keys
PARTS = {
    "backbone": ("backbone.",),
    "input_proj": ("input_proj.",),
    "transformer encoder": ("encoder.",),
    "transformer decoder": ("decoder.",),
    "class/box heads (7+7)": ("class_embed.", "bbox_embed."),
    "two-stage, level/query embeds": ("two_stage.", "level_embed", "query_embed."),
    "UniFusion": ("fusion.",),
    "mask head + controller": ("mask_head.",),
    "value (mask) encoder": ("value_encoder.",),
    "resizer": ("resizer.",),
}


@pytest.mark.parametrize("name, backbone", [("uniref_r50", "r50"), ("uniref_swin_l", "swinl")])
def test_every_part_has_as_many_parameters_as_the_authors(name, backbone):
    manifest = Path(__file__).parents[1] / "golden" / f"manifest_{backbone}_bert-base.json"
    wanted = json.loads(manifest.read_text())["meta"]["parameters"]
    with torch.device("meta"):
        model = UniRef(ModelConfig.from_name(name))
    for part, prefixes in PARTS.items():
        found = sum(value.numel() for key, value in model.named_parameters() if key.startswith(prefixes))
        assert found == wanted[part], part
    text = sum(value.numel() for value in model.text_encoder.parameters())
    pooler = 768 * 768 + 768  # the authors keep BERT's pooler, which nothing uses
    assert text + pooler == wanted["text encoder"]
    frozen = wanted.get("backbone (frozen BN buffers)", 0)
    assert sum(value.numel() for key, value in model.backbone.named_buffers() if "index" not in key) == frozen


@pytest.mark.parametrize("size", ModelConfig.from_name("uniref_nano").input.sizes)
def test_nano_shapes(nano, size):
    height, width = size
    with torch.inference_mode():
        features, language, references = make_inputs(nano, size)
        output = nano.segment(features, language, MaskReference.join(references), masks="all")
    assert [tuple(x.shape[1:]) for x in features.levels] == [
        (64, height // stride, width // stride) for stride in (8, 16, 32, 64)
    ]
    assert features.lateral.shape == (2, 8, height // 4, width // 4)
    # level 0's references live on a grid pooled by two
    assert [key.shape[1] for key in references[0].keys] == [
        height * width // stride**2 for stride in (16, 16, 32, 64)
    ]
    assert [value.shape for value in references[0].values] == [key.shape for key in references[0].keys]
    assert output.logits.shape == (2, 30) and output.boxes.shape == (2, 30, 4)
    assert output.mask_logits.shape == (2, 30, height // 4, width // 4)
    assert len(output.aux) == 2 and torch.equal(output.aux[-1].logits, output.logits)


# ---- references ----


@torch.inference_mode()
def test_absent_references_contribute_exactly_nothing(nano, inputs):
    features, language, (first, previous) = inputs
    zero = torch.zeros(2)
    absent = MaskReference.join([first, previous], torch.zeros(2, 2))
    nothing = nano.segment(features)
    gated = nano.segment(features, language, absent, use_language=zero, use_mask=zero)
    assert torch.equal(gated.logits, nothing.logits)
    assert torch.equal(gated.mask_logits, nothing.mask_logits)
    only_words = nano.segment(features, language, absent, use_mask=zero)
    assert torch.equal(only_words.mask_logits, nano.segment(features, language).mask_logits)
    assert not torch.equal(only_words.mask_logits, nothing.mask_logits)


@torch.inference_mode()
def test_joining_with_one_absent_reference_is_the_other_alone(nano, inputs):
    features, _, (first, previous) = inputs
    for weights, alone in (([1.0, 0.0], first), ([0.0, 1.0], previous)):
        joined = MaskReference.join([first, previous], torch.tensor([weights, weights]))
        a, b = (nano.segment(features, mask=reference).mask_logits for reference in (joined, alone))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_the_same_reference_twice_is_the_same_as_once(nano, inputs):
    features, _, (first, _) = inputs
    twice = nano.segment(features, mask=MaskReference.join([first, first])).mask_logits
    torch.testing.assert_close(twice, nano.segment(features, mask=first).mask_logits, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_the_mask_reaches_only_the_values(nano, inputs):
    _, _, (first, previous) = inputs
    for a, b in zip(first.keys + first.embeds, previous.keys + previous.embeds, strict=True):
        assert torch.equal(a, b)
    assert all(not torch.equal(a, b) for a, b in zip(first.values, previous.values, strict=True))


@torch.inference_mode()
def test_rows_of_a_batch_do_not_see_each_other(nano, inputs):
    features, language, (first, previous) = inputs
    joined = MaskReference.join([first, previous], torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    use = torch.tensor([1.0, 0.0])
    both = nano.segment(features, language, joined, use_language=use)
    for row in range(2):
        index = torch.tensor([row])
        one = nano.segment(features.select(index), language.select(index), joined.select(index), use[index])
        torch.testing.assert_close(one.logits[0], both.logits[row], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.mask_logits[0], both.mask_logits[row], rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_features_of_one_frame_serve_many_masks(nano, inputs):
    features = inputs[0].select(torch.tensor([0]))
    masks = (torch.rand(3, 1, *SIZE) > 0.5).float()
    together = nano.encode_reference(features, masks)
    for index in range(3):
        alone = nano.encode_reference(features, masks[index : index + 1])
        for level in range(4):
            torch.testing.assert_close(
                together.values[level][index], alone.values[level][0], rtol=1e-4, atol=1e-4
            )


def test_masks_and_frames_must_match(nano, inputs):
    with pytest.raises(ValueError, match="3 masks need features of 1 or 3 frames, found 2"):
        nano.encode_reference(inputs[0], torch.zeros(3, 1, *SIZE))


# ---- fusion ----


@torch.inference_mode()
def test_fusion_modes_are_what_they_say(nano, inputs):
    _, language, (mask, _) = inputs
    x = torch.randn(2, 10, 64)

    def fuse(x, mode="parallel", words=None, seen=None, use_language=None, use_mask=None):
        return nano.fusion.fuse(x, 1, words, seen, use_language, use_mask, mode)

    words, seen = fuse(x, words=language), fuse(x, seen=mask)
    wanted = {
        "parallel": words + seen - x,
        "parallel_multiply": words * seen,
        "mask_then_language": fuse(seen, words=language),
        "language_then_mask": fuse(words, seen=mask),
    }
    assert set(wanted) == set(FUSION_MODES)
    for mode, value in wanted.items():
        torch.testing.assert_close(fuse(x, mode, language, mask), value, rtol=1e-4, atol=1e-5)
    # a product with an absent reference is no product
    use = torch.tensor([1.0, 0.0])
    half = fuse(x, "parallel_multiply", language, mask, None, use)
    torch.testing.assert_close(half[0], wanted["parallel_multiply"][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(half[1], words[1], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="unknown fusion mode 'sum'"):
        fuse(x, "sum", language, mask)


# ---- learning ----


def test_every_part_learns_from_the_first_step():
    model = build().train()
    features, language, references = make_inputs(model)
    output = model.segment(features, language, MaskReference.join(references), masks="all")
    loss = (
        output.mask_logits.sigmoid().mean()
        + output.proposals.logits.mean()
        + output.proposals.boxes.square().mean()
        + output.scores.mean()
    )
    for layer in output.aux:
        loss = loss + layer.logits.sigmoid().mean() + layer.boxes.square().mean()
    loss.backward()
    # what nouns are compared with is given, not learned
    learned = {name: value for name, value in model.named_parameters() if value.requires_grad}
    for name, parameter in learned.items():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    silent = {name for name, parameter in learned.items() if not parameter.grad.any()}
    # behind what starts at zero: boxes' last layers, the positions that only steer sampling offsets, and
    # looks that have no say yet
    late = ("level_embed", "bbox_embed", "likeness.project")
    assert all(name.startswith(late) for name in silent), silent
    assert model.fusion.attn.q_proj.weight.grad.abs().max() > 0
    assert model.fusion.modulation.weight.grad.abs().max() > 0


def test_first_scores_are_the_prior(nano, inputs):
    with torch.inference_mode():
        scores = nano.segment(inputs[0], inputs[1]).logits.sigmoid()
    assert 0.001 < scores.mean() < 0.05


def test_a_box_loss_reaches_one_layer_back_and_no_further():
    model = build(small_config(decoder_layers=3)).train()
    output = model.segment(make_inputs(model)[0], masks=None)
    output.aux[2].boxes.sum().backward()
    reached = [head.layers[-1].bias.grad is not None for head in model.bbox_embed[:3]]
    assert reached == [False, True, True]


def test_frozen_norms_stay_while_training():
    model = build().train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items() if "running" in key}
    assert before
    model.encode_image(torch.randn(2, 3, *SIZE) * 5)
    after = model.backbone.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert not any("bn" in name for name, _ in model.backbone.named_parameters())


# ---- masks ----


@torch.inference_mode()
def test_masks_for_chosen_queries_are_those_of_all(nano, inputs):
    features, language, _ = inputs
    output = nano.segment(features, language, masks="all")
    index = torch.tensor([[3, 0], [7, 29]])
    chosen = nano.masks_for(output, index)
    wanted = torch.stack([output.mask_logits[row, index[row]] for row in range(2)])
    torch.testing.assert_close(chosen, wanted, rtol=1e-4, atol=1e-4)
    best = nano.segment(features, language)
    torch.testing.assert_close(
        best.mask_logits[0], output.mask_logits[0, output.best[0]], rtol=1e-4, atol=1e-4
    )
    assert torch.equal(output.scores, output.logits.max(1).values.sigmoid())


@torch.inference_mode()
@pytest.mark.parametrize("span", [None, 10.0])
def test_images_of_different_sizes_share_a_batch(span):
    """Each of them gets what it gets alone on a canvas of that size."""
    torch.manual_seed(0)
    model = build().eval()
    model.mask_head.coordinate_span = span
    images, padding = torch.randn(2, 3, *SIZE), torch.zeros(2, *SIZE, dtype=torch.bool)
    padding[0, -20:], padding[1, :, -60:] = True, True
    images = images.masked_fill(padding[:, None], 0.0)
    masks = torch.zeros(2, 1, *SIZE)
    masks[:, :, 20:60, 20:70] = 1

    def respond(index):
        features = model.encode_image(images[index], padding[index])
        reference = model.encode_reference(features, masks[index])
        return model.segment(features.select(torch.arange(len(index))), mask=reference)

    together = respond([0, 1])
    assert together.image_size.tolist() == [[SIZE[0] - 20, SIZE[1]], [SIZE[0], SIZE[1] - 60]]
    for row in (0, 1):
        alone = respond([row])
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.mask_logits[row], alone.mask_logits[0], rtol=1e-3, atol=1e-3)


def test_aligned_bilinear_is_sampling_two_pixels_back():
    """Row Y of the result is the input at max((Y - 2) / 4, 0), the upper neighbour clamped."""
    x = torch.randn(1, 1, 7, 5, dtype=torch.float64)
    result = aligned_bilinear(x, 4)

    def weights(size):
        at = ((torch.arange(4 * size, dtype=torch.float64) - 2) / 4).clamp(min=0)
        low = at.floor().long()
        matrix = torch.zeros(4 * size, size, dtype=torch.float64)
        matrix[torch.arange(4 * size), low] += 1 - (at - low)
        matrix[torch.arange(4 * size), (low + 1).clamp(max=size - 1)] += at - low
        return matrix

    torch.testing.assert_close(result[0, 0], weights(7) @ x[0, 0] @ weights(5).T)


def test_proposals_at_the_border_are_unusable():
    like = torch.zeros(1)
    logits, usable = anchor_logits([(60, 108)], 0, None, like)  # 0.5 / 60 < 0.01
    usable = usable.reshape(60, 108)
    assert not usable[0].any() and not usable[:, 0].any() and usable[1:-1, 1:-1].all()
    assert logits.reshape(60, 108, 4)[0].isinf().all()
    logits, usable = anchor_logits([(16, 28), (8, 14), (4, 7)], 1, None, like)  # nano's: nothing to leave out
    assert usable is None and logits.isfinite().all()


# ---- errors and files ----


def test_the_padding_mask_must_fit_the_images(nano):
    padding = torch.zeros(2, *SIZE, dtype=torch.bool)
    with pytest.raises(ValueError, match="pad_mask is"):
        nano.encode_image(torch.zeros(2, 3, *SIZE), padding[:1])


def test_text_needs_the_text_encoder(nano):
    with pytest.raises(RuntimeError, match="with_text=False"):
        nano.encode_text(torch.zeros(1, 24, dtype=torch.long), torch.ones(1, 24))


def test_unknown_mask_choice_is_refused(nano, inputs):
    with pytest.raises(ValueError, match="masks is 'some'"):
        nano.segment(inputs[0], masks="some")


def test_unsuitable_backbones_are_named():
    config = ModelConfig.from_dict({"name": "x", "backbone": {"name": "resnet5"}})
    with pytest.raises(ValueError, match=r"backbone.name is 'resnet5'"):
        Backbone(config.backbone)
    config = ModelConfig.from_dict({"name": "x", "backbone": {"name": "resnet18"}})
    with pytest.raises(ValueError, match=r"resnet18 gives \(64, 128, 256, 512\) channels"):
        Backbone(config.backbone)


def lite0_file_keys() -> list[str]:
    """The key names of the PyPI package's file, in its order."""

    def norm(name):
        return [
            f"{name}.{part}"
            for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        ]

    keys = ["_conv_stem.weight", *norm("_bn0")]
    for block in range(16):
        if block:
            keys += [f"_blocks.{block}._expand_conv.weight", *norm(f"_blocks.{block}._bn0")]
        keys += [f"_blocks.{block}._depthwise_conv.weight", *norm(f"_blocks.{block}._bn1")]
        keys += [f"_blocks.{block}._project_conv.weight", *norm(f"_blocks.{block}._bn2")]
    return [*keys, "_conv_head.weight", *norm("_bn1"), "_fc.weight", "_fc.bias"]


def test_efficientnet_lite0_weights_find_their_places(tmp_path):
    classifier = import_timm().create_model("tf_efficientnet_lite0", pretrained=False)
    own = classifier.state_dict()  # the same layers in the same order, under other names
    path = tmp_path / "lite0.pth"
    torch.save(dict(zip(lite0_file_keys(), own.values(), strict=True)), path)
    weights = load_efficientnet_lite0(path)
    assert list(weights) == list(own)
    assert all(torch.equal(weights[key], own[key]) for key in own)

    backbone = Backbone(ModelConfig.from_name("uniref_nano").backbone).eval()
    left_out = load_backbone_weights(backbone, weights)
    assert {key.split(".")[0] for key in left_out} == {"conv_head", "bn2", "classifier"}
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = classifier.eval().forward_intermediates(image, intermediates_only=True)[1:]
        for a, b in zip(backbone(image), wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)

    del weights["conv_stem.weight"]
    with pytest.raises(ValueError, match=r"1 backbone weights are missing, first 'conv_stem\.weight'"):
        load_backbone_weights(backbone, weights)
    torch.save({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not an EfficientNet-Lite0 checkpoint"):
        load_efficientnet_lite0(path)


def test_nouns_reach_rows_with_words_only(nano, inputs):
    """The classes' map matters to a row with words, and to no other, to the last bit."""
    features, language, references = inputs
    assert features.classes.shape == (2, 1282, SIZE[0] // 32, SIZE[1] // 32)
    assert language.noun.shape == (2, 1281)
    mask = MaskReference.join(references)
    use = torch.tensor([1.0, 0.0])

    def fused(classes):
        levels = nano.fusion.fuse_levels(features.levels, language, mask, use, None, "parallel")
        return levels, nano.nouns.add(levels, classes, language.noun, use)

    before, after = fused(features.classes)
    for level in range(3):
        assert (after[level][0] != before[level][0]).any()
        assert torch.equal(after[level][1], before[level][1])
    assert after[3] is before[3]
    logits = nano.segment(features, language, mask, use).logits
    features = replace(features, classes=features.classes.flip(3))
    changed = nano.segment(features, language, mask, use).logits
    assert (changed[0] != logits[0]).any() and torch.equal(changed[1], logits[1])


def test_models_without_nouns_have_no_part_of_them():
    values = ModelConfig.from_name("uniref_nano").to_dict()
    values["nouns"]["features"] = values["likeness"]["width"] = 0
    model = build(ModelConfig.from_dict(values))
    features, language, _ = make_inputs(model)
    assert features.classes is None and language.noun is None
    assert not any(name.startswith(("nouns.", "likeness.")) for name in model.state_dict())
