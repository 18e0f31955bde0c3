"""Losses of voxel labels: their order, their values by hand, and their place in fastai."""

import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastai.losses import CrossEntropyLossFlat

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.losses import (
    CrossEntropyLoss3D,
    DiceCELoss3D,
    DiceLoss3D,
    FocalLoss3D,
    MCCLoss,
    TverskyLoss3D,
)

SHAPE = (2, 3, 4)
COUNT = 3


def squared_dice():
    return DiceLoss3D(squared=True)


LOSSES = [CrossEntropyLoss3D, FocalLoss3D, DiceLoss3D, squared_dice, TverskyLoss3D, DiceCELoss3D, MCCLoss]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def target():
    """(2, 2, 3, 4): labels 0, 1, 2 in turn, the two items differently."""
    return torch.arange(2 * math.prod(SHAPE)).reshape(2, *SHAPE).div(5).long() % COUNT


def logits_of(labels, count=COUNT, scale=20.0):
    """Scores of a network that is sure of these labels."""
    return scale * F.one_hot(labels, count).movedim(-1, 1).float()


@pytest.mark.parametrize("loss", LOSSES)
class TestEveryLoss:
    def test_orders_perfect_random_and_wrong(self, loss, target):
        perfect = loss()(logits_of(target), target)
        random = loss()(torch.randn(2, COUNT, *SHAPE), target)
        wrong = loss()(logits_of((target + 1) % COUNT), target)
        assert 0 <= perfect < 1e-4
        assert perfect < random < wrong

    def test_does_not_change_when_the_logits_are_shifted(self, loss, target):
        scores = torch.randn(2, COUNT, *SHAPE)
        assert torch.allclose(loss()(scores + 7, target), loss()(scores, target), atol=1e-5)

    def test_does_not_depend_on_where_the_voxels_lie(self, loss, target):
        scores = torch.randn(2, COUNT, *SHAPE)
        turned = loss()(scores.permute(0, 1, 4, 2, 3), target.permute(0, 3, 1, 2))
        assert torch.allclose(turned, loss()(scores, target))

    def test_a_class_that_is_absent_costs_a_perfect_prediction_nothing(self, loss):
        empty = torch.zeros(2, *SHAPE, dtype=torch.int64)
        assert loss()(logits_of(empty), empty) < 1e-4
        assert loss()(logits_of(empty + 1), empty) > 0.5

    def test_has_a_finite_gradient_everywhere(self, loss, target):
        for labels in (target, torch.zeros_like(target)):
            for scores in (torch.randn(2, COUNT, *SHAPE), torch.zeros(2, COUNT, *SHAPE), logits_of(labels, scale=1e4)):
                scores.requires_grad_()
                loss()(scores, labels).backward()
                assert scores.grad.isfinite().all()

    def test_takes_half_precision_types_of_this_package_and_masks_with_a_channel(self, loss, target):
        scores = torch.randn(2, COUNT, *SHAPE)
        plain = loss()(scores, target)
        assert torch.allclose(loss()(TensorDicom3D(scores), TensorMask3D(target.float())), plain)
        assert torch.allclose(loss()(scores, target[:, None]), plain)
        assert loss()(scores.bfloat16(), target).isfinite()

    def test_activates_and_decodes_as_fastai_asks(self, loss):
        scores = torch.randn(2, COUNT, *SHAPE)
        assert torch.allclose(loss().activation(scores).sum(1), torch.ones(2, *SHAPE))
        assert torch.equal(loss().decodes(scores), scores.argmax(1))

    def test_reductions(self, loss, target):
        scores, made = torch.randn(2, COUNT, *SHAPE), loss()
        mean = made(scores, target)
        made.reduction = "none"
        assert torch.allclose(made(scores, target).reshape(2, -1).mean(), mean)
        made.reduction = "sum"
        assert made(scores, target) > mean

    def test_can_be_pickled(self, loss, target):
        scores = torch.randn(2, COUNT, *SHAPE)
        assert torch.equal(pickle.loads(pickle.dumps(loss()))(scores, target), loss()(scores, target))

    def test_refuses_shapes_that_do_not_belong_together(self, loss, target):
        with pytest.raises(ValueError, match=r"need labels \(2, 2, 3, 4\) \(B, D, H, W\), got \(2, 2, 3\)"):
            loss()(torch.randn(2, COUNT, *SHAPE), target[..., 0])
        with pytest.raises(ValueError, match=r"expected scores \(B, C, D, H, W\), got \(2, 3\)"):
            loss()(torch.randn(2, COUNT), torch.zeros(2))


class TestCrossEntropyAndFocal:
    def test_agree_with_torch_on_volumes(self, target):
        scores, weight = torch.randn(2, COUNT, *SHAPE), torch.tensor([1.0, 2.0, 3.0])
        assert torch.allclose(CrossEntropyLoss3D()(scores, target), F.cross_entropy(scores, target))
        weighted = F.cross_entropy(scores, target, weight, ignore_index=1, label_smoothing=0.1)
        assert torch.allclose(
            CrossEntropyLoss3D(weight=weight, ignore_index=1, label_smoothing=0.1)(scores, target), weighted
        )
        assert torch.allclose(FocalLoss3D(gamma=0.0)(scores, target), F.cross_entropy(scores, target))

    def test_the_one_for_pictures_pairs_the_voxels_of_volumes_wrongly(self, target):
        perfect = logits_of(target)
        assert CrossEntropyLoss3D()(perfect, target) < 1e-4
        assert CrossEntropyLossFlat(axis=1)(perfect, target) > 1

    def test_focal_loss_by_hand(self):
        scores = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1, 1)
        p = math.e / (1 + math.e)
        loss = FocalLoss3D(gamma=2.0)(scores, torch.ones(1, 1, 1, 1))
        assert loss.item() == pytest.approx((1 - p) ** 2 * -math.log(p))


class TestTversky:
    def test_by_hand(self):
        # one item of four voxels, two classes; probabilities of class 1: 0.75, 0.5, 0.5, 0.25
        p = torch.tensor([0.75, 0.5, 0.5, 0.25])
        scores = torch.stack([torch.zeros(4), torch.log(p / (1 - p))]).reshape(1, 2, 1, 2, 2)
        labels = torch.tensor([1, 1, 0, 0]).reshape(1, 1, 2, 2)
        # class 1: true 1.25, wrong 0.75, missed 0.75; class 0 likewise
        dice = 1 - 1.25 / (1.25 + 0.5 * 0.75 + 0.5 * 0.75)
        assert DiceLoss3D(smooth=0)(scores, labels).item() == pytest.approx(dice)
        assert TverskyLoss3D(0.2, 0.8, smooth=0)(scores, labels).item() == pytest.approx(1 - 1.25 / 2.0)

    def test_beta_punishes_what_is_missed(self):
        labels = torch.zeros(1, *SHAPE, dtype=torch.int64)
        labels[:, :, 1] = 1
        missing, too_much = labels.clone(), labels.clone()
        missing[:, 0, 1] = 0
        too_much[:, 0, 0] = 1
        strict = TverskyLoss3D(0.1, 0.9, include_background=False)
        assert strict(logits_of(missing), labels) > strict(logits_of(too_much), labels)

    def test_classes_are_weighted_and_background_left_out(self, target):
        half = logits_of(torch.where(target == 2, 0, target))  # class 2 is never found
        by_class = [DiceLoss3D(weight=weight)(half, target).item() for weight in ([1, 0, 0], [0, 1, 0], [0, 0, 1])]
        assert by_class[1] < 1e-4
        assert by_class[2] > 0.99
        assert DiceLoss3D(include_background=False)(half, target).item() == pytest.approx(sum(by_class[1:]) / 2)

    def test_without_background_an_empty_item_costs_what_is_predicted_in_it(self):
        empty = torch.zeros(1, *SHAPE, dtype=torch.int64)
        loss = DiceLoss3D(include_background=False)
        one_wrong = empty.clone()
        one_wrong[0, 0, 0, 0] = 2
        costs = [loss(logits_of(labels), empty).item() for labels in (empty, one_wrong, empty + 2)]
        assert costs == sorted(costs)
        assert costs[0] < 1e-6
        assert costs[1] == pytest.approx(1 / (2 * math.prod(SHAPE)), rel=1e-3)

    @pytest.mark.parametrize("loss", [DiceLoss3D, TverskyLoss3D, DiceCELoss3D, MCCLoss])
    def test_ignored_voxels_count_nowhere(self, loss, target):
        scores = torch.randn(2, COUNT, *SHAPE)
        holed = target.clone()
        holed[:, 0] = 255
        expected = loss()(scores[:, :, 1:], target[:, 1:])
        assert torch.allclose(loss(ignore_index=255)(scores, holed), expected)
        nothing = loss(ignore_index=255)(scores.requires_grad_(), torch.full_like(target, 255))
        nothing.backward()
        assert nothing.item() == pytest.approx(0)
        assert scores.grad.isfinite().all()

    def test_refuses_what_it_cannot_use(self, target):
        with pytest.raises(ValueError, match="alpha and beta must not be negative, nor both 0; got 0 and 0"):
            TverskyLoss3D(0, 0)
        with pytest.raises(ValueError, match=r"labels must lie in 0..1 for scores of 2 classes, got 0..2"):
            DiceLoss3D()(torch.randn(2, 2, *SHAPE), target)
        with pytest.raises(ValueError, match=r"at least two classes \(background is one\), got 1"):
            DiceLoss3D()(torch.randn(2, 1, *SHAPE), target)
        with pytest.raises(ValueError, match="one number per class: the model gives 3, got 2"):
            DiceLoss3D(weight=[1, 2])(torch.randn(2, COUNT, *SHAPE), target)
        with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none', got 'max'"):
            DiceLoss3D(reduction="max")(torch.randn(2, COUNT, *SHAPE), target)


class TestDiceCE:
    def test_is_the_sum_of_its_parts(self, target):
        scores = torch.randn(2, COUNT, *SHAPE)
        weight = torch.tensor([1.0, 2.0, 3.0])
        dice = DiceLoss3D(weight=weight)(scores, target)
        entropy = torch.stack(
            [F.cross_entropy(x[None], y[None], weight) for x, y in zip(scores, target, strict=True)]
        ).mean()
        both = DiceCELoss3D(dice_weight=0.5, ce_weight=2.0, weight=weight)(scores, target)
        assert torch.allclose(both, 0.5 * dice + 2 * entropy)

    def test_representations_name_the_settings(self):
        assert repr(DiceCELoss3D()) == "DiceCELoss3D(dice_weight=1.0, ce_weight=1.0)"
        assert repr(TverskyLoss3D()) == "TverskyLoss3D(alpha=0.3, beta=0.7)"
        assert repr(DiceLoss3D()) == "DiceLoss3D()"

    def test_drives_scores_to_the_labels(self, target):
        scores = torch.zeros(2, COUNT, *SHAPE, requires_grad=True)
        for _ in range(20):
            (slope,) = torch.autograd.grad(DiceCELoss3D()(scores, target), scores)
            scores = (scores - 10 * slope).detach().requires_grad_()
        assert torch.equal(DiceCELoss3D().decodes(scores), target)


class TestMCC:
    def test_of_labels_is_the_correlation_of_the_masks(self, target):
        guess = (target + (torch.rand(target.shape) < 0.3)) % COUNT
        loss = MCCLoss(reduction="none")(logits_of(guess, scale=60.0), target)
        for item in range(2):
            costs = [
                1 - np.corrcoef((guess[item] == k).flatten(), (target[item] == k).flatten())[0, 1] for k in range(COUNT)
            ]
            assert loss[item] == pytest.approx(np.mean(costs), abs=1e-5)

    def test_of_probabilities_by_hand(self):
        labels = torch.tensor([0, 0, 0, 1]).reshape(1, 1, 1, 4)
        p = torch.tensor([0.1, 0.2, 0.3, 0.6])  # of class 1
        scores = torch.stack([(1 - p).log(), p.log()]).reshape(1, 2, 1, 1, 4)
        tp, fp, fn, tn = 0.6, 0.6, 0.4, 2.4
        expected = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        assert MCCLoss()(scores, labels) == pytest.approx(1 - expected, abs=1e-5)  # of two classes it is the same

    def test_the_opposite_costs_two_and_a_constant_one(self, target):
        two = target.clamp(max=1)
        assert MCCLoss()(logits_of(1 - two, 2), two) == pytest.approx(2, abs=1e-4)
        assert MCCLoss()(torch.zeros(2, 2, *SHAPE), two) == pytest.approx(1, abs=1e-3)
        assert MCCLoss()(logits_of(torch.ones_like(two), 2), two) == pytest.approx(1, abs=1e-2)

    def test_a_class_of_one_voxel_in_a_large_volume(self):
        labels = torch.zeros(1, 40, 100, 100, dtype=torch.int64)
        labels[0, 20, 50, 50] = 1
        assert MCCLoss(include_background=False)(logits_of(labels, 2), labels) < 1e-2
        assert MCCLoss(include_background=False)(logits_of(labels * 0, 2), labels) > 0.99

    def test_falls_as_more_is_right(self):
        labels = torch.zeros(1, *SHAPE, dtype=torch.int64)
        labels[..., 2:] = 1
        guesses = [labels.clone() for _ in range(4)]
        for wrong, guess in enumerate(guesses):
            guess.view(-1)[:wrong] += 1
        found = [MCCLoss()(logits_of(guess % 2, 2), labels).item() for guess in guesses]
        assert found == sorted(found)


class TestSquaredDice:
    def test_by_hand(self):
        labels = torch.tensor([0, 0, 0, 1]).reshape(1, 1, 1, 4)
        p = torch.tensor([0.1, 0.2, 0.3, 0.6])
        scores = torch.stack([(1 - p).log(), p.log()]).reshape(1, 2, 1, 1, 4)
        expected = 1 - 2 * 0.6 / (0.01 + 0.04 + 0.09 + 0.36 + 1)
        loss = DiceLoss3D(squared=True, include_background=False)
        assert loss(scores, labels) == pytest.approx(expected, abs=1e-5)
        assert repr(loss) == "DiceLoss3D(squared=True)"
