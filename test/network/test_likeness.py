"""What is found is compared with what was referred to."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("torch") is None:
    pytest.skip("the network needs torch (extra: train)", allow_module_level=True)

import torch

from uniref_model.export.prepare import prepare
from uniref_model.network.config import ModelConfig
from uniref_model.network.likeness import PHRASES, Likeness, Sought
from uniref_model.network.model import UniRef

FEATURES, WIDTH = 6, 4
CELLS = (2, 4)  # of a picture of 64x128


@pytest.fixture
def likeness() -> Likeness:
    """The first features of a cell are its look."""
    made = Likeness(FEATURES, WIDTH).requires_grad_(False)
    made.reset_parameters()
    made.project.weight[:, :, 0, 0] = torch.eye(WIDTH, FEATURES + 1)
    made.say[:] = torch.tensor([1.5, 2.0])
    made.bias[:] = torch.tensor([0.0, -0.5])
    return made


def classes_of(*things: int) -> torch.Tensor:
    """A frame whose left half shows one thing and whose right half another."""
    classes = torch.zeros(1, FEATURES + 2, *CELLS)
    half = CELLS[1] // 2
    classes[:, things[0], :, :half] = 1
    classes[:, things[1], :, half:] = 1
    return classes


def logits_of(half: str) -> torch.Tensor:
    """A mask of one half [1, 16, 32], as logits."""
    logits = torch.full((1, 16, 32), -20.0)
    logits[..., slice(0, 16) if half == "left" else slice(16, 32)] = 20.0
    return logits


def mask_of(half: str) -> torch.Tensor:
    return (logits_of(half).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None] > 0).float()


def said(likeness: Likeness, classes: torch.Tensor, half: str, sought: Sought) -> float:
    return float(likeness(likeness.looks(classes), classes, logits_of(half), sought)[0])


def test_what_looks_unlike_loses_and_what_looks_alike_loses_nothing(likeness):
    shown, seen = (
        classes_of(0, 1),
        classes_of(2, 0),
    )  # the thing on the left of one is on the right of the other
    look = likeness.of_masks(likeness.looks(shown), mask_of("left"))
    alike, unlike = (said(likeness, seen, half, Sought(look=look)) for half in ("right", "left"))
    assert -0.05 < alike <= 0 and unlike < -4
    both = Sought(look=look, use_look=torch.zeros(1))
    assert said(likeness, seen, "left", both) == 0, "a row without such a reference has nothing said of it"


def test_a_phrase_is_compared_with_the_cells_under_the_answer_alone(likeness):
    seen = classes_of(2, 3)
    noun = torch.zeros(1, FEATURES + 1)
    noun[0, 3] = 4.0
    right, left = (said(likeness, seen, half, Sought(noun=noun)) for half in ("right", "left"))
    assert right == pytest.approx(2.0 * 1.0 - 0.5, abs=1e-3) and left == pytest.approx(-0.5, abs=1e-3)


def test_an_empty_mask_looks_like_nothing(likeness):
    classes = classes_of(0, 1)
    look = likeness.of_masks(likeness.looks(classes), torch.zeros(1, 1, 64, 128))
    assert not look.any()
    likeness.requires_grad_(True)
    answer = likeness(likeness.looks(classes), classes, torch.full((1, 16, 32), -200.0), Sought(look=look))
    answer.sum().backward()
    assert answer.isfinite().all() and all(part.grad.isfinite().all() for part in likeness.parameters())


def test_answers_are_not_drawn_otherwise_for_it(likeness):
    likeness.requires_grad_(True)
    classes = classes_of(0, 1)
    logits = logits_of("left").requires_grad_(True)
    look = likeness.of_masks(likeness.looks(classes), mask_of("right"))
    likeness(likeness.looks(classes), classes, logits, Sought(look=look)).sum().backward()
    assert logits.grad is None and likeness.project.weight.grad.any() and likeness.say.grad[0] != 0


def test_what_counts_nothing_is_computed_in_training_only(likeness):
    classes, noun = classes_of(0, 1), torch.ones(1, FEATURES + 1)
    look = likeness.of_masks(likeness.looks(classes), mask_of("right"))
    likeness.say[1] = likeness.bias[1] = 0.0
    given = likeness.looks(classes), classes, logits_of("left"), Sought(look, noun)
    wanted = likeness(*given)
    assert wanted.any() and not likeness.silent
    likeness.leave_out_silent()
    # the phrase would need the classes
    assert torch.equal(likeness(given[0], None, *given[2:]), wanted) and likeness.silent == {PHRASES}
    likeness.bias[1] = 1.0
    likeness.leave_out_silent()
    assert likeness(*given) == wanted + 1 and not likeness.silent


def test_an_exported_network_compares_what_counts_alone():
    network = UniRef(ModelConfig.from_name("uniref_nano"), with_text=False).requires_grad_(False)
    network.likeness.weigh(looks=(2.5, 0.0), phrases=(0.0, 0.0))
    assert prepare(network).likeness.silent == {PHRASES} and not network.likeness.silent


def test_it_needs_a_classifier_to_look_with():
    values = ModelConfig.from_name("uniref_nano").to_dict()
    values["nouns"]["features"] = 0
    with pytest.raises(ValueError, match=r"likeness\.width is 64; expected 0 without nouns\.features"):
        ModelConfig.from_dict(values)
