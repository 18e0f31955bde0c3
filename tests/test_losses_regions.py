"""The loss of regions against torch's cross-entropy and Dice counted by hand."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.losses import DeepSupervision, RegionLoss3D

SHAPE = (2, 3, 2, 3, 4)  # B, R, D, H, W


def pair(seed=0, shape=SHAPE):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random) * 3, (torch.rand(shape, generator=random) > 0.6).to(torch.uint8)


@settings(deadline=None)  # a loaded machine takes its time
@given(st.integers(0, 99), st.sampled_from([torch.uint8, torch.int64, torch.float32, torch.bool]), st.booleans())
def test_is_cross_entropy_and_dice_of_each_region(seed, dtype, empty):
    scores, truth = pair(seed)
    if empty:
        truth[0, 1] = 0
    expected = []
    for item in range(2):
        probability, inside = scores[item].sigmoid(), truth[item].float()
        dice = [
            2 * (p * t).sum() / (p.sum() + t.sum()) for p, t in zip(probability, inside, strict=True) if t.sum() > 0
        ]
        expected.append(1 - sum(dice) / len(dice) + F.binary_cross_entropy_with_logits(scores[item], inside))
    got = RegionLoss3D(reduction="none")(scores, truth.to(dtype))
    assert got.tolist() == pytest.approx([float(value) for value in expected], rel=1e-4)
    assert float(RegionLoss3D()(scores, truth)) == pytest.approx(float(got.mean()))
    assert float(RegionLoss3D(reduction="sum")(scores, truth)) == pytest.approx(float(got.sum()))


def test_weights_leave_a_region_out():
    scores, truth = pair()
    got = RegionLoss3D(weight=[1, 0, 1])(scores, truth)
    assert float(got) == pytest.approx(float(RegionLoss3D()(scores[:, ::2], truth[:, ::2])))
    with pytest.raises(ValueError, match="one number per region: the model gives 3, got 2"):
        RegionLoss3D(weight=[1, 1])(scores, truth)


def test_labels_are_refused():
    with pytest.raises(ValueError, match=r"RegionBlock3D gives such masks; for labels \(B, D, H, W\) use DiceCELoss3D"):
        RegionLoss3D()(torch.zeros(SHAPE), torch.zeros(2, 2, 3, 4))


@pytest.mark.parametrize("loss", [RegionLoss3D(), DeepSupervision(RegionLoss3D())])
def test_takes_several_scales(loss):
    scores, truth = pair(shape=(2, 3, 4, 6, 8))
    half = F.interpolate(scores, scale_factor=0.5)
    assert float(loss([scores, half], truth)) > 0


def test_half_precision_does_not_overflow():
    scores = torch.full((1, 1, 40, 60, 60), 9.0, dtype=torch.float16)
    assert float(RegionLoss3D()(scores, torch.ones(scores.shape))) < 0.01


def test_learns():
    scores, truth = pair()
    scores.requires_grad_()
    RegionLoss3D()(scores, truth).backward()
    assert ((scores.grad < 0) == (truth == 1)).float().mean() > 0.95


def test_activation_and_decoding_take_lists():
    scores = [torch.randn(3, 2, 3, 4), torch.randn(3, 1, 2, 2)]
    loss = RegionLoss3D()
    found = loss.decodes(loss.activation(scores))
    assert [tuple(mask.shape) for mask in found] == [(3, 2, 3, 4), (3, 1, 2, 2)]
    assert torch.equal(found[0], (scores[0] > 0).to(torch.uint8))
