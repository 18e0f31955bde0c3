"""Scores on several scales: every loss takes them, in any order, with the published weights."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from every_loss import LOSSES
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from faimed3d.losses import CrossEntropyLoss3D, DeepSupervision, DiceCELoss3D, DiceLoss3D
from faimed3d.losses.scales import are_scales, full_resolution, halving_weights, labels_at

SIZES = [(5, 6, 9), (3, 3, 5), (2, 2, 3), (1, 1, 2)]


def nearest(labels, size):
    """An independent answer: torch's nearest-exact."""
    return F.interpolate(labels[:, None].double(), size, mode="nearest-exact")[:, 0].long()


def heads(count, seed=0, classes=3):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(2, classes, *size, generator=random) for size in SIZES[:count]]


def labels(seed=0):
    return torch.randint(0, 3, (2, *SIZES[0]), generator=torch.Generator().manual_seed(seed))


@given(
    loss=st.sampled_from(LOSSES),
    count=st.integers(1, 4),
    kind=st.sampled_from([list, tuple]),
    order=st.randoms(use_true_random=False),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    channel=st.booleans(),
    ignored=st.sampled_from([None, 255, -1]),
    seed=st.integers(0, 99),
)
def test_a_loss_is_the_weighted_sum_over_the_scales(loss, count, kind, order, reduction, channel, ignored, seed):
    scores, target = heads(count, seed), labels(seed)
    if ignored is not None:
        target[torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)) < 0.2] = ignored
    made = loss(reduction=reduction, ignore_index=ignored)
    weights = [2.0**-number for number in range(count)]
    parts = [w / sum(weights) * made(x, nearest(target, x.shape[2:])) for w, x in zip(weights, scores, strict=True)]
    shuffled = kind(order.sample(scores, count))
    found = made(shuffled, target[:, None] if channel else target)
    assert torch.allclose(found, sum(parts), atol=1e-5)


@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_labels_on_a_scale_are_those_of_torchs_nearest_voxel(n, size):
    target = torch.randint(-1, 300, (2, *n), generator=torch.Generator().manual_seed(0))
    assert torch.equal(labels_at(target, size), nearest(target, size))


def test_stacked_scores_of_one_size_are_taken_apart():
    scores = torch.stack([heads(1, seed)[0] for seed in range(3)], 1)  # as of MONAI's DynUNet
    expected = sum(w * DiceCELoss3D()(scores[:, k], labels()) for k, w in enumerate((4 / 7, 2 / 7, 1 / 7)))
    assert torch.allclose(DiceCELoss3D()(scores, labels()), expected)
    assert torch.equal(full_resolution(scores), scores[:, 0])


def test_weights():
    assert halving_weights(1) == [1]
    assert halving_weights(3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


class TestDeepSupervision:
    @pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), F.cross_entropy, CrossEntropyLoss3D()])
    def test_wraps_losses_of_any_kind(self, loss):
        scores, target = heads(2), labels()
        small = nearest(target, SIZES[1])
        expected = 0.75 * F.cross_entropy(scores[0], target) + 0.25 * F.cross_entropy(scores[1], small)
        assert torch.allclose(DeepSupervision(loss, weights=[3, 1])(scores, target), expected)
        assert torch.allclose(DeepSupervision(loss)(scores[0], target), F.cross_entropy(scores[0], target))

    def test_a_weight_of_0_leaves_a_scale_out(self):
        scores = heads(2)
        scores[1] = scores[1] * torch.nan
        assert torch.allclose(
            DeepSupervision(DiceLoss3D(), [1, 0])(scores, labels()), DiceLoss3D()(scores[0], labels())
        )

    def test_has_what_fastai_asks_of_a_loss(self):
        loss = DeepSupervision(DiceCELoss3D(ignore_index=255))
        scores = heads(2)
        assert loss.y_int
        assert loss.ignore_index == 255
        assert torch.equal(loss.activation(scores[::-1]), scores[0].softmax(1))
        assert torch.equal(loss.decodes(scores), scores[0].argmax(1))
        plain = DeepSupervision(nn.CrossEntropyLoss())
        assert torch.equal(plain.activation(scores[0]), scores[0].softmax(1))
        assert torch.equal(plain.decodes(scores[0]), scores[0].argmax(1))
        assert loss.reduction == "mean"
        loss.reduction = "none"
        assert loss(scores, labels()).shape == (2,)
        for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
            assert repr(twin) == "DeepSupervision(DiceCELoss3D(dice_weight=1.0, ce_weight=1.0))"

    def test_refuses_what_it_cannot_use(self):
        for weights in ([], [0, 0], [1, -1]):
            with pytest.raises(ValueError, match="weights must be numbers of 0 or more, not all 0"):
                DeepSupervision(DiceLoss3D(), weights)
        with pytest.raises(ValueError, match="the network gives 2 scales, weights holds 3 numbers"):
            DeepSupervision(DiceLoss3D(), [1, 1, 1])(heads(2), labels())


@pytest.mark.parametrize("loss", LOSSES)
class TestRefusals:
    def test_no_scale_has_the_size_of_the_labels(self, loss):
        words = r"deep supervision: the finest of the 1 scores are \(2, 3, 3, 3, 5\).* the labels are \(2, 5, 6, 9\)"
        with pytest.raises(ValueError, match=words):
            loss()(heads(2)[1:], labels())

    @pytest.mark.parametrize(
        ("scores", "came"),
        [
            ([], r"list of \[\]"),
            ([torch.zeros(2, 3)], r"list of \[\(2, 3\)\]"),
            ([torch.zeros(2, 3, *SIZES[0]), torch.zeros(2, 4, *SIZES[1])], r"\(2, 4, 3, 3, 5\)"),
            ({"out": torch.zeros(2, 3, *SIZES[0])}, "got a dict"),
            (None, "got a NoneType"),
        ],
    )
    def test_what_came_is_named(self, loss, scores, came):
        with pytest.raises(TypeError, match=rf"deep supervision.*{came}"):
            loss()(scores, labels())


def test_other_lists_are_left_as_they_are():
    several = (torch.zeros(2, 3), torch.zeros(2, 3, *SIZES[0]))  # of a network with two tasks
    assert not are_scales(several)
    assert full_resolution(several) is several
