"""Losses under their names of faimed3d 0.0.6."""

import pytest
import torch

import faimed3d.losses
from faimed3d.legacy.losses import BaseLoss, DiceLoss
from faimed3d.losses import DiceLoss3D, OverlapLoss3D, TverskyLoss3D


@pytest.fixture
def target():
    return torch.arange(48).reshape(2, 2, 3, 4) % 3


def test_base_loss_is_a_base_to_inherit_from(target):
    assert BaseLoss is OverlapLoss3D
    with pytest.raises(NotImplementedError, match=r"BaseLoss must define costs\(self, probability, shown\)"):
        type("BaseLoss", (OverlapLoss3D,), {})()(torch.randn(2, 3, 2, 3, 4), target)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("simple", DiceLoss3D()), ("miletari", DiceLoss3D(squared=True)), ("tversky", TverskyLoss3D(0.2, 0.8))],
)
def test_methods_of_dice(method, expected, target):
    scores = torch.randn(2, 3, 2, 3, 4)
    loss = DiceLoss(method, alpha=0.2, beta=0.8)
    assert torch.equal(loss(scores, target), expected(scores, target))
    assert DiceLoss(method, weights=[1, 2, 3]).weight.tolist() == [1, 2, 3]


def test_the_default_is_what_it_was():
    assert DiceLoss().squared


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be 'miletari', 'simple' or 'tversky', got 'dice'"):
        DiceLoss("dice")


def test_they_are_found_where_they_were_and_no_star_import_gives_them():
    assert faimed3d.losses.DiceLoss is DiceLoss
    assert faimed3d.losses.BaseLoss is BaseLoss
    assert not {"DiceLoss", "BaseLoss"} & {*faimed3d.losses.__all__}
