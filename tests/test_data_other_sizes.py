"""Volumes of different sizes, one in a batch: fastai's methods give a list, one for each volume, or say what to do."""

import fastai.callback.all  # noqa: F401 - gives Learner no_bar
import matplotlib.pyplot as plt
import pytest
import torch
from fastai.data.block import DataBlock
from fastai.data.transforms import IndexSplitter
from fastai.interpret import Interpretation, SegmentationInterpretation
from fastai.learner import Learner
from hypothesis import given, settings
from hypothesis import strategies as st
from small_trainings import Bright

from faimed3d.data import ImageBlock3D, MaskBlock3D
from faimed3d.losses import CrossEntropyLoss3D, DiceCELoss3D, DiceLoss3D, FocalLoss3D, MCCLoss, TverskyLoss3D
from faimed3d.volume import TensorDicom3D, TensorMask3D


def learner(shapes, loss):
    """A learner whose volumes are all in validation but the first."""
    scans = [TensorDicom3D(torch.rand(shape) * 100) for shape in [(2, 3, 4), *shapes]]
    block = DataBlock(
        (ImageBlock3D, MaskBlock3D(["air", "lesion"])),
        get_y=lambda volume: TensorMask3D((volume > 50).byte()),
        splitter=IndexSplitter([*range(1, len(scans))]),
    )
    return Learner(block.dataloaders(scans, bs=1, num_workers=0, device="cpu"), Bright(), loss_func=loss)


LOSSES = [DiceCELoss3D, CrossEntropyLoss3D, FocalLoss3D, DiceLoss3D, TverskyLoss3D, MCCLoss]


@settings(deadline=None)  # a loaded machine takes its time
@given(
    st.sampled_from(LOSSES),
    st.lists(st.tuples(*[st.integers(1, 3)] * 3), min_size=1, max_size=3),
    st.booleans(),
)
def test_get_preds_gives_the_scores_and_labels_of_each_volume(loss, shapes, reorder):
    learn = learner(shapes, loss())
    with learn.no_bar():
        scores, targets, decoded, losses = learn.get_preds(with_decoded=True, with_loss=True, reorder=reorder)
    assert len(losses) == len(shapes)
    for shape, volume, target, found in zip(shapes, scores, targets, decoded, strict=True):
        assert volume.shape == (2, *shape)
        assert volume.sum(0).allclose(torch.ones(()))
        assert torch.equal(found, torch.as_tensor(target))


def test_interpretation_finds_the_largest_losses_and_draws_one_at_a_time():
    learn = learner([(3, 5, 6), (4, 4, 7)], DiceCELoss3D())
    with learn.no_bar():
        for kind in (Interpretation, SegmentationInterpretation):
            interpretation = kind.from_learner(learn)
            assert len(interpretation.top_losses(2)[0]) == 2
            interpretation.plot_top_losses([1])
            interpretation.show_results([0])
            with pytest.raises(ValueError, match=r"draw one at a time, such as interp.plot_top_losses\(\[0\]\)"):
                interpretation.plot_top_losses(2)
            with pytest.raises(ValueError, match="different sizes cannot be drawn in one call"):
                interpretation.show_results([0, 1])
    plt.close("all")
