"""Voxels of a label that is no class: every loss is what it is on the other voxels alone."""

import pytest
import torch
import torch.nn.functional as F
from every_loss import LOSSES
from fastai.losses import CrossEntropyLossFlat
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from faimed3d.losses import (
    CrossEntropyLoss3D,
    DeepSupervision,
    DiceCELoss3D,
    DiceLoss3D,
    FocalLoss3D,
    MCCLoss,
    TverskyLoss3D,
)
from faimed3d.losses.labels import ignored_label

OVERLAP = [DiceLoss3D, TverskyLoss3D, DiceCELoss3D, MCCLoss]
SHAPE = (2, 3, 4)


@given(
    loss=st.sampled_from(LOSSES),
    label=st.sampled_from([255, -1, 3, 100, -100, 32767]),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    count=st.integers(2, 3),
    weighted=st.booleans(),
    channel=st.booleans(),
    dtype=st.sampled_from([torch.int64, torch.int32, torch.int16, torch.float32]),
    seed=st.integers(0, 99),
)
def test_a_loss_is_that_of_the_kept_voxels_alone(loss, label, reduction, count, weighted, channel, dtype, seed):
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, count, *SHAPE, generator=random)
    labels = torch.randint(0, count, (2, *SHAPE), generator=random)
    left_out = torch.rand(SHAPE, generator=random) < 0.4  # the same voxels in both items, so that the rest is a tensor
    left_out[0, 0, 0] = False
    settings = {"reduction": reduction} | ({"weight": torch.rand(count, generator=random) + 0.1} if weighted else {})
    holed = torch.where(left_out, label, labels).to(dtype)
    found = loss(ignore_index=label, **settings)(scores, holed[:, None] if channel else holed)
    kept = ~left_out
    expected = loss(**settings)(scores[:, :, kept], labels[:, kept])
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
class TestEveryLoss:
    def test_nothing_kept_costs_nothing_and_has_a_finite_gradient(self, loss):
        scores = torch.randn(2, 3, *SHAPE, requires_grad=True)
        cost = loss(ignore_index=-1)(scores, torch.full((2, *SHAPE), -1))
        cost.backward()
        assert cost.item() == 0
        assert torch.equal(scores.grad, torch.zeros_like(scores))

    def test_scores_of_voxels_left_out_get_no_gradient(self, loss):
        scores, labels = torch.randn(2, 3, *SHAPE, requires_grad=True), torch.arange(48).reshape(2, *SHAPE) % 3
        labels[:, 0] = 255
        loss(ignore_index=255)(scores, labels).backward()
        assert not scores.grad[:, :, 0].any()
        assert scores.grad[:, :, 1].any()

    @pytest.mark.parametrize("label", [255, -1])
    def test_a_label_that_is_no_class_is_refused_where_nothing_is_said(self, loss, label):
        labels = torch.zeros(1, *SHAPE, dtype=torch.int64)
        labels[0, 0, 0, 0] = label
        words = rf"labels must lie in 0\.\.1 for scores of 2 classes, got .*{label}.*pass ignore_index"
        with pytest.raises(ValueError, match=words):
            loss()(torch.zeros(1, 2, *SHAPE), labels)

    def test_none_is_one_number_for_each_item_and_mean_is_over_them(self, loss):
        scores, labels = torch.randn(2, 3, *SHAPE), torch.arange(48).reshape(2, *SHAPE) % 3
        each = loss(reduction="none")(scores, labels)
        assert each.shape == (2,)
        alone = [loss()(scores[i : i + 1], labels[i : i + 1]) for i in range(2)]
        assert torch.allclose(each, torch.stack(alone))


def test_cross_entropy_is_that_of_torch():
    scores, labels = torch.randn(2, 3, *SHAPE), torch.arange(48).reshape(2, *SHAPE) % 4
    weight = torch.tensor([1.0, 2.0, 0.5])
    for reduction in ("mean", "sum"):
        settings = {"weight": weight, "ignore_index": 3, "label_smoothing": 0.1, "reduction": reduction}
        assert torch.allclose(
            CrossEntropyLoss3D(**settings)(scores, labels), F.cross_entropy(scores, labels, **settings)
        )


def test_half_precision_does_not_overflow():
    scores = torch.randn(1, 2, 50, 60, 70).half()
    labels = torch.zeros(1, 50, 60, 70)
    for loss in (CrossEntropyLoss3D(), FocalLoss3D(), DiceCELoss3D()):
        assert loss(scores, labels).isfinite()


@pytest.mark.parametrize(
    ("loss", "label"),
    [
        (CrossEntropyLoss3D(), -100),
        (CrossEntropyLoss3D(ignore_index=-1), -1),
        (FocalLoss3D(ignore_index=255), 255),
        (DiceCELoss3D(ignore_index=255), 255),
        (DiceLoss3D(), None),
        (nn.CrossEntropyLoss(), -100),
        (nn.CrossEntropyLoss(ignore_index=7), 7),
        (CrossEntropyLossFlat(ignore_index=7), 7),
        (DeepSupervision(nn.CrossEntropyLoss(ignore_index=7)), 7),
        (F.cross_entropy, None),
    ],
)
def test_a_loss_says_which_label_it_leaves_out(loss, label):
    assert ignored_label(loss) == label


class TestHooksOf006:
    @pytest.mark.parametrize("hook", ["compute_loss", "to_one_hot"])
    @pytest.mark.parametrize("loss", OVERLAP)
    def test_what_nothing_calls_is_refused(self, loss, hook):
        with pytest.raises(TypeError, match=rf"Mine\.{hook} is a hook of faimed3d 0\.0\.6.*define costs"):
            type("Mine", (loss,), {hook: lambda self, *args: 123.0})

    def test_an_activation_of_ones_own_is_used(self):
        class Plain(DiceLoss3D):
            def activation(self, x):
                return x

        labels = torch.arange(24).reshape(1, *SHAPE) % 2
        one_hot = F.one_hot(labels, 2).movedim(-1, 1).float()
        assert Plain()(one_hot, labels).item() == pytest.approx(0, abs=1e-6)
        assert DiceLoss3D()(one_hot, labels) > 0.1

    def test_an_activation_that_cross_entropy_would_ignore_is_refused(self):
        with pytest.raises(TypeError, match=r"Mine\.activation would hold for the Dice term alone"):
            type("Mine", (DiceCELoss3D,), {"activation": lambda self, x: x})

    def test_costs_and_call_may_be_overridden(self):
        class Mine(MCCLoss):
            def costs(self, probability, shown):
                return torch.full(probability.shape[:2], 0.25)

        assert Mine()(torch.zeros(1, 2, *SHAPE), torch.zeros(1, *SHAPE)).item() == pytest.approx(0.25)
