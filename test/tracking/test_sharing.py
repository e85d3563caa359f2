"""Work done once instead of once an object, once a reference or once a query: each saving gives the numbers
of the network as the authors wrote it."""

# ruff: noqa: E402 (imports follow the check that their packages are installed)
from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest

for module in ("torch", "timm", "transformers"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the network needs {module} (extra: train)", allow_module_level=True)

import numpy as np
import torch

from uniref_model.export.graphs import build_graphs
from uniref_model.export.shared import values_of_objects
from uniref_model.network.config import ModelConfig
from uniref_model.network.model import UniRef
from uniref_model.network.text import LanguageReference
from uniref_model.network.value_encoder import MaskReference
from uniref_model.runtime import ObjectReferences
from uniref_model.runtime.attention import group_by_frames
from uniref_model.runtime.base import MaskReference as Reference
from uniref_model.runtime.pytorch import TorchRuntime

SIZE = (64, 128)
NANO = ModelConfig.from_name("uniref_nano")
CONFIGS = {
    "nano": NANO,
    "multiplied": replace(NANO, fusion=replace(NANO.fusion, mode="parallel_multiply")),
    # as in the authors': an attention wider than the model, so that references are kept unprojected
    "wide attention": replace(NANO, fusion=replace(NANO.fusion, heads=4, head_channels=32)),
    "every level updated": replace(NANO, transformer=replace(NANO.transformer, update_from_level=0)),
    "two levels updated": replace(NANO, transformer=replace(NANO.transformer, update_from_level=2)),
    "no nouns": replace(
        NANO, nouns=replace(NANO.nouns, features=0), likeness=replace(NANO.likeness, width=0)
    ),
    "no looks": replace(NANO, likeness=replace(NANO.likeness, width=0)),
}


def network(config: ModelConfig = NANO) -> UniRef:
    """Untrained, but with modulation and deformable offsets that differ from token to token."""
    torch.manual_seed(0)
    model = UniRef(config, with_text=False).eval().requires_grad_(False)
    for part in filter(None, (model.fusion, model.encoder, model.decoder, model.likeness)):
        for weight in part.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-4) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=1e-3)


def inputs(model: UniRef, count: int) -> tuple:
    """Features of a frame, words of N objects, and the same N objects' references on two other frames."""
    frames = [model.encode_image(torch.randn(1, 3, *SIZE)) for _ in range(3)]
    masks = [(torch.rand(count, 1, *SIZE) > 0.6).float() for _ in range(2)]
    words = torch.randn(count, 5, model.config.hidden)
    noun = torch.randn(count, model.config.nouns.features + 1) / 16
    language = LanguageReference(words, torch.rand(count, 5) > 0.8, words.mean(1), noun)
    references = [model.encode_reference(frame, mask) for frame, mask in zip(frames[1:], masks, strict=True)]
    return frames[0], language, references


@pytest.mark.parametrize("chunk", [1 << 22, 3000])
def test_objects_of_the_same_frames_share_their_probabilities(monkeypatch, chunk):
    """Keys once for all objects, features once for all objects, references projected beforehand."""
    monkeypatch.setattr("uniref_model.network.fusion.SHARED_LOGITS", chunk)
    model = network()
    features, language, references = inputs(model, 3)
    joined = MaskReference.join(references)
    wanted = model.segment(features.select(torch.zeros(3, dtype=torch.int64)), language, joined)
    once = model.fusion.project(joined)
    once = replace(once, keys=[key[:1] for key in once.keys], embeds=[embed[:1] for embed in once.embeds])
    found = model.segment(features, language, once)
    close(found.scores, wanted.scores)
    close(found.boxes, wanted.boxes)
    close(found.mask_logits, wanted.mask_logits)
    assert torch.equal(found.best, wanted.best)


def test_padding_hides_the_same_keys_from_all_who_share_them():
    model = network()
    q, k, v = torch.randn(1, 9, 64), torch.randn(1, 7, 64), torch.randn(3, 7, 64)
    padding = torch.tensor([[False] * 4 + [True] * 3])
    shared = model.fusion.attn.attend(q, k, v, padding)
    close(shared, model.fusion.attn.attend(q.expand(3, -1, -1), k[:, :4].expand(3, -1, -1), v[:, :4], None))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_graphs_for_shared_attention_answer_as_the_network(name):
    """Rows with words, masks and both; two reference frames, then one."""
    torch.manual_seed(1)
    model = network(CONFIGS[name])
    graphs = build_graphs(model, SIZE)
    whole, shared = graphs["segment"], graphs["segment_shared"]
    for frames in (2, 1):
        given = dict(whole.inputs)
        given["word_mask"] = (torch.rand(given["word_mask"].shape) > 0.4).float()
        given["word_mask"][:, 0] = 1
        given["use_language"] = torch.tensor([1.0, 0.0])
        use = (
            torch.tensor([[1.0, 1.0], [1.0, 1.0]]) if frames == 2 else torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        )
        given["use_reference"] = use
        wanted = whole.module(*given.values())
        attend = graphs[("attend_one", "attend_two")[frames - 1]]
        (attended,) = attend.module(*attend.inputs.values())
        taken = given | {"attended": attended, "query": attend.inputs.get("query")}
        found = shared.module(*(taken[key] for key in shared.inputs))
        for one, other in zip(found, wanted, strict=True):
            close(one, other)


def test_the_graph_on_projected_references_is_the_network():
    """`segment` is fed what encode_image and encode_reference keep; the network makes it all anew."""
    model = network()
    graphs = build_graphs(model, SIZE)
    image, reference, segment = (graphs[name] for name in ("encode_image", "encode_reference", "segment"))
    x = image.module.normalise(reference.inputs["image"])
    features = model.encode_image(x)
    wanted = model.encode_reference(features, reference.inputs["masks"])
    values = reference.module(*reference.inputs.values())
    keys = image.module(reference.inputs["image"])[5:9]
    for level in range(4):
        close(values[level], model.fusion.project_values(wanted.values[level]))
        close(keys[level].expand(2, -1, -1), model.fusion.project_keys(wanted.keys[level]))
    answer = segment.module(*segment.inputs.values())[0]
    assert answer.shape == (2,) and ((answer > 0) & (answer < 1)).all()


def test_the_half_of_the_value_encoder_that_sees_the_frame_runs_once():
    model = network()
    features, masks = model.encode_image(torch.randn(1, 3, *SIZE)), (torch.rand(3, 1, *SIZE) > 0.5).float()
    wanted = model.encode_reference(features, masks).values
    widths: list[int] = []
    model.value_encoder.conv1.register_forward_hook(lambda *_: widths.append(1))
    found = values_of_objects(model.value_encoder, features.images, masks, features.levels)
    assert not widths  # the convolution of image and mask together never runs
    for one, other in zip(found, wanted, strict=True):
        close(one.flatten(2).transpose(1, 2), other)


def test_objects_are_grouped_by_the_frames_they_refer_to():
    def references(*frames):
        return [Reference((), (), (), frame=number) for number in frames]

    a, b = 1, 2
    one, two, three, four = references(a, a, b, b)
    words = object()
    objects = [
        ObjectReferences(first=one, previous=three),
        ObjectReferences(words),
        ObjectReferences(words, two, four),
        ObjectReferences(first=one, previous=one),
        ObjectReferences(previous=two),
        ObjectReferences(first=three, previous=one),
    ]
    groups = list(group_by_frames(objects))
    assert [rows for rows, _ in groups] == [[0, 2], [3, 4], [5]]
    assert groups[1][1] == [(one,), (two,)]  # the same reference in both places counts once


@pytest.mark.parametrize("name", ["nano", "wide attention"])
def test_the_torch_runtime_answers_the_same_with_shared_attention(name):
    model = network(CONFIGS[name])
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
    masks = (rng.random((3, *SIZE)) > 0.5).astype(np.float32)
    answers = []
    for attention in ("batched", "shared"):
        runtime = TorchRuntime(model, size=SIZE, attention=attention)
        frames = [runtime.encode_image(image) for image in images]
        first, previous = (runtime.encode_reference(frame, masks) for frame in frames[:2])
        objects = [ObjectReferences(first=a, previous=b) for a, b in zip(first, previous, strict=True)]
        objects += [ObjectReferences(first=first[0]), ObjectReferences(previous=first[1])]
        answers.append(runtime.segment(frames[2], objects))
    for one, other in zip(*answers, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        close(torch.from_numpy(one.mask_logits), torch.from_numpy(other.mask_logits), 1e-3)
