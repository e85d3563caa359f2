"""The paper's matching and losses, worked out by hand."""

from __future__ import annotations

import math
from itertools import product

import paper_packages  # noqa: F401 - skips all of this where something is missing
import pytest
import torch

from uniref_model.training.paper import losses
from uniref_model.training.paper.batches import NEIGHBOUR_DISTANCE, NEIGHBOURS

# nothing here is large enough for a second thread to be worth its start
pytestmark = pytest.mark.usefixtures("one_thread")


def test_ota_claims_as_many_queries_as_their_overlaps_add_up_to() -> None:
    target = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    same = target.expand(3, 4)
    half = torch.tensor([[0.5, 0.5, 0.4, 0.2]]).expand(2, 4)  # IoU 0.5 each
    far = torch.tensor([[0.1, 0.1, 0.1, 0.1]]).expand(7, 4)
    boxes = torch.cat([far, half, same])[None]
    found = losses.match_ota(torch.zeros(1, 12), boxes, target)
    assert found.valid.sum() == 4  # int(3 * 1 + 2 * 0.5)
    claimed = set(found.index[found.valid].tolist())
    assert {9, 10, 11} < claimed and claimed & {7, 8}


def test_ota_claims_one_query_when_nothing_overlaps() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1]]])
    found = losses.match_ota(torch.zeros(1, 2), boxes, torch.tensor([[0.8, 0.8, 0.1, 0.1]]))
    assert found.valid.sum() == 1 and found.index[0, 0] == 1  # the nearer one


def test_ota_prefers_centres_inside_the_box_and_its_central_square() -> None:
    target = torch.tensor([[0.5, 0.5, 0.6, 0.6]])
    # the same size shifted by 0.05, 0.2 (in the box, out of the square) and 0.35 (out of both); the worse the
    # place, the higher the score, which a cost of 100 or 10000 must outweigh
    boxes = torch.tensor([[[0.55, 0.5, 0.6, 0.6], [0.7, 0.5, 0.6, 0.6], [0.85, 0.5, 0.6, 0.6]]])
    found = losses.match_ota(torch.tensor([[-4.0, 0.0, 4.0]]), boxes, target)
    assert found.index.tolist() == [[0, 1, 2]]
    assert found.valid.sum() == int(0.55 / 0.65 + 0.4 / 0.8 + 0.25 / 0.95)


def masks_of_two() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits [1,2,2,2] of a claimed and an unclaimed query, target [1,2,2], claimed."""
    logits = torch.tensor([[[[1.0, -2.0], [0.5, 3.0]], [[9.0, 9.0], [-9.0, 9.0]]]])
    return logits, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), torch.tensor([[1.0, 0.0]])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_focal_and_dice_by_hand() -> None:
    logits, target, claimed = masks_of_two()
    p = [sigmoid(1), sigmoid(-2), sigmoid(0.5), sigmoid(3)]
    focal = (
        0.25 * (1 - p[0]) ** 2 * -math.log(p[0])
        + 0.75 * p[1] ** 2 * -math.log(1 - p[1])
        + 0.25 * (1 - p[2]) ** 2 * -math.log(p[2])
        + 0.75 * p[3] ** 2 * -math.log(1 - p[3])
    ) / 4
    dice = 1 - (2 * (p[0] + p[2]) + 1) / (sum(p) + 2 + 1)
    found = losses.focal_and_dice(logits, target, claimed)
    assert [float(value) for value in found] == pytest.approx([focal, dice], rel=1e-5)


def test_auxiliary_mask_losses_by_hand() -> None:
    logits, target, claimed = masks_of_two()
    # soft aggregation with the background, as published: softmax over log-odds of (1 - p, p)
    q = [sigmoid(2 * x) for x in (1, -2, 0.5, 3)]
    entropy = [-math.log(q[0]), -math.log(1 - q[1]), -math.log(q[2]), -math.log(1 - q[3])]
    worst = max(entropy)  # 40 % of 4 pixels: 1
    assert float(losses.bootstrapped_entropy(logits, target, claimed)) == pytest.approx(worst, rel=1e-5)
    iou = (q[0] + q[2]) / (1 + q[1] + 1 + q[3])
    assert float(losses.soft_iou_loss(logits, target, claimed)) == pytest.approx(1 - iou, rel=1e-5)


def test_aggregation_is_the_softmax_of_the_log_odds() -> None:
    logits = torch.linspace(-12, 12, 9, dtype=torch.float64)
    p = logits.sigmoid()
    odds = torch.stack([(1 - p) / p, p / (1 - p)]).log()
    assert torch.allclose(losses.aggregated(logits).sigmoid(), odds.softmax(0)[1])


def test_projections_fit_a_box_whatever_the_shape_inside() -> None:
    filled = torch.zeros(1, 8, 8)
    filled[:, 2:6, 1:7] = 1
    diagonal = torch.full((8, 8), -30.0)
    for row, column in zip((2, 2, 3, 4, 5, 5), range(1, 7), strict=True):
        diagonal[row, column] = 30.0
    claimed = torch.ones(1, 1)
    assert losses.projection_loss(diagonal[None, None], filled, claimed) < 1e-4
    one = torch.full((1, 1, 8, 8), -30.0)
    one[0, 0, 2, 1] = 30.0
    by_hand = (1 - 2 / (1 + 4)) + (1 - 2 / (1 + 6))  # 1 of 4 rows, 1 of 6 columns
    assert float(losses.projection_loss(one, filled, claimed)) == pytest.approx(by_hand, abs=1e-4)


def test_pairwise_loss_equals_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 7, generator=generator)
    similar = torch.rand(2, 8, 6, 7, generator=generator) < 0.6
    filled = torch.zeros(2, 6, 7)
    filled[:, 1:5, 2:6] = 1
    claimed = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    p, total, count = logits.sigmoid(), 0.0, 0
    for n, k, (index, (dy, dx)), y, x in product(
        range(2), range(3), enumerate(NEIGHBOURS), range(6), range(7)
    ):
        ny, nx = y + NEIGHBOUR_DISTANCE * dy, x + NEIGHBOUR_DISTANCE * dx
        inside = 0 <= ny < 6 and 0 <= nx < 7
        similar[n, index, y, x] &= inside  # as the data has it
        if claimed[n, k] and filled[n, y, x] and similar[n, index, y, x]:
            a, b = float(p[n, k, y, x]), float(p[n, k, ny, nx])
            total -= math.log(a * b + (1 - a) * (1 - b))
            count += 1
    found = losses.pairwise_loss(logits, similar, filled, claimed)
    assert float(found) == pytest.approx(total / count, rel=1e-4)


def test_losses_of_saturated_masks_are_finite_and_have_gradients() -> None:
    logits = torch.tensor([[[[200.0, -200.0], [-200.0, 200.0]]]], requires_grad=True)
    target, claimed = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), torch.ones(1, 1)
    similar = torch.ones(1, 8, 2, 2, dtype=torch.bool)
    terms = [
        *losses.focal_and_dice(logits, target, claimed),
        losses.bootstrapped_entropy(logits, target, claimed),
        losses.soft_iou_loss(logits, target, claimed),
        losses.projection_loss(logits, target, claimed),
        losses.pairwise_loss(logits, similar, target, claimed),
    ]
    sum(terms).backward()
    assert all(torch.isfinite(term) for term in terms) and torch.isfinite(logits.grad).all()
