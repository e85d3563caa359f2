"""The authors' video protocols, where they do not need the authors' weights (those are in test_golden.py)."""

# ruff: noqa: E402 (imports follow the check that their packages are installed)
from __future__ import annotations

import importlib.util

import numpy as np
import pytest

for module in ("torch", "timm"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the network needs {module} (extra: train)", allow_module_level=True)

import torch

from uniref_model.evaluation import authors
from uniref_model.network.config import InputConfig, ModelConfig
from uniref_model.network.model import UniRef

HEIGHT, WIDTH = 64, 128


def model(**fusion) -> UniRef:
    values = ModelConfig.from_name("uniref_nano").to_dict()
    values["fusion"].update(fusion)
    torch.manual_seed(0)
    network = UniRef(ModelConfig.from_dict(values), with_text=False).eval()
    # an untrained score is the prior, 0.01: raise it over every threshold, so that masks count
    torch.nn.init.constant_(network.class_embed[-2].bias, 3.0)
    return network


def frames(count: int, given: dict[int, dict[int, np.ndarray]]) -> list[authors.VideoFrame]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return [authors.VideoFrame(image, given.get(index, {})) for index, image in enumerate(images)]


def disc(y: int, x: int) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return ((rows - y) ** 2 + (columns - x) ** 2 < 200).astype(np.uint8)


@pytest.mark.parametrize(
    "size, wanted",
    [
        ((480, 854), (480, 854)),
        ((720, 1280), (480, 853)),
        ((1080, 1920), (480, 853)),
        ((400, 2000), (267, 1333)),
    ],
)
def test_model_size_is_the_shortest_edge_at_480(size, wanted):
    assert authors.model_size(*size, InputConfig()) == wanted


def test_images_are_padded_after_normalising():
    image = np.full((70, 100, 3), 200, np.uint8)
    x, padding = authors.prepare_image(image, InputConfig(), torch.zeros(1, dtype=torch.float64))
    assert x.shape == (1, 3, 96, 128) and x.dtype == torch.float64
    assert (x[:, :, 70:] == 0).all() and (x[..., 100:] == 0).all()
    assert x[0, 0, 0, 0] == pytest.approx((200 - 123.675) / 58.395)
    assert not padding[0, :70, :100].any() and padding[0, 70:].all() and padding[0, :, 100:].all()


def test_merging_gives_ties_to_the_lower_id():
    maps = {1: torch.tensor([[0.5, 0.7, 0.1, 0.6]]), 3: torch.tensor([[0.5, 0.7, 0.2, 0.9]])}
    # background is the product of what is left: .25, .09, .72, .04
    assert authors.merge(maps).tolist() == [[1, 1, 0, 3]]
    assert authors.merge({2: torch.tensor([[0.5, 0.51]])}).tolist() == [[0, 2]]


def test_frames_before_the_first_object_have_no_labels():
    labels = list(authors.vos(model(), frames(3, {1: {1: disc(30, 40)}}), (HEIGHT, WIDTH), 0.4))
    assert labels[0] is None
    assert labels[1].dtype == np.uint16 and labels[2].shape == (HEIGHT, WIDTH)
    assert np.array_equal(labels[1] == 1, disc(30, 40) == 1)  # a given mask stands as it is


def test_a_score_under_the_threshold_gives_nothing():
    labels = list(authors.vos(model(), frames(2, {0: {1: disc(30, 40)}}), (HEIGHT, WIDTH), 1.0))
    assert not labels[1].any()


def test_an_object_is_given_once():
    video = frames(2, {0: {1: disc(30, 40)}, 1: {1: disc(30, 40)}})
    with pytest.raises(ValueError, match="object 1 is given a second time"):
        list(authors.vos(model(), video, (HEIGHT, WIDTH), 0.4))


def test_the_config_chooses_the_references():
    first, previous = (_reference(fill) for fill in (1.0, 2.0))
    for choice, wanted in (("first", [1.0]), ("previous", [2.0]), ("first+previous", [1.0, 2.0])):
        joined = authors.references(model(references=choice), first, previous)
        assert joined.keys[0][0, :, 0].tolist() == wanted


def _reference(fill: float):
    token = torch.full((1, 1, 64), fill)
    return authors.MaskReference([token] * 4, [token] * 4, None, [token[:, 0]] * 4)


def test_language_finds_then_tracks():
    """Without threshold the first frame always becomes the first reference, so later frames use both."""
    network, kinds = model(), []

    class Watched:
        def __getattr__(self, name):
            return getattr(network, name)

        def segment(self, features, language=None, mask=None):
            kinds.append((language is not None, mask is not None))
            return network.segment(features, language, mask)

    with torch.inference_mode():
        words = network.embed_words(torch.randn(1, 24, 384), torch.ones(1, 24))
    images = [frame.image for frame in frames(3, {})]
    results = list(authors.rvos_vl(Watched(), images, words, (HEIGHT, WIDTH), threshold=None))
    assert kinds == [(True, False), (True, True), (True, True)]
    assert all(mask.dtype == bool and np.array_equal(mask, p > 0.5) for mask, p in results)
    kinds.clear()
    results = list(authors.rvos_vl(Watched(), images, words, (HEIGHT, WIDTH), threshold=1.0))
    assert kinds == [(True, False)] * 3  # nothing counts, so nothing is referred to
    assert not any(mask.any() for mask, _ in results)
