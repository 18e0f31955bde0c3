"""Test-time flips of classes that are told apart by side, in every storage order; regions that are mirrored."""

import itertools
import warnings

import pytest
import torch
from fastai.data.block import DataBlock
from fastai.learner import Learner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from faimed3d.augment import RandomAffine3D, RandomDihedral3D, RandomFlip3D, RandomSpatial3D, aug_transforms_3d
from faimed3d.data import ImageBlock3D, MaskBlock3D, RegionBlock3D
from faimed3d.data.done_before import DoneBefore
from faimed3d.data.trained_on import TrainedOn
from faimed3d.geometry import Geometry
from faimed3d.inference import predict_volume
from faimed3d.inference.sides import trained_flips, warn_of_mixed_sides
from faimed3d.losses import DiceCELoss3D, RegionLoss3D
from faimed3d.masks.regions import swap_regions
from faimed3d.volume import TensorDicom3D, TensorMask3D

PLACE = Geometry((4, 6, 8), (1, 1, 3), (5, 6, 7))
LABELS = torch.zeros(4, 6, 8, dtype=torch.uint8)
LABELS[1:3, 2:5, 1:3], LABELS[2:4, 1:4, 5:7] = 1, 2
SCAN = TensorDicom3D((LABELS > 0).float() * 100, PLACE)
MASK = TensorMask3D(LABELS, PLACE)
ORDERS = ["".join(c) for p in itertools.permutations(["RL", "AP", "SI"]) for c in itertools.product(*p)]
SIDES = ["none", "right kidney", "left kidney"]


class Sides(nn.Module):
    """Knows the sides by the place in the array: bright voxels of the first columns are class 1, the others class 2."""

    def __init__(self, background=True):
        super().__init__()
        self.background, self.bias = background, nn.Parameter(torch.zeros(()))

    def forward(self, x):
        first, bright = (torch.arange(x.shape[-1]) < x.shape[-1] // 2).float().expand_as(x), (x > 50).float()
        parts = [bright * first, bright * (1 - first)]
        return torch.cat([1 - bright, *parts] if self.background else parts, 1) * 20 - 10 + self.bias


def learner(target=None, loss=None, item_tfms=None, batch_tfms=None):
    block = DataBlock(
        (ImageBlock3D, target or MaskBlock3D(SIDES)), get_y=lambda _: MASK, item_tfms=item_tfms, batch_tfms=batch_tfms
    )
    dls = block.dataloaders([SCAN] * 3, bs=1, num_workers=0, device="cpu")
    model = Sides(background=target is None or not isinstance(loss, RegionLoss3D))
    return Learner(dls, model, loss_func=loss or DiceCELoss3D(), default_cbs=False)


def regions():
    return RegionBlock3D({"right": 1, "left": 2})


@pytest.mark.parametrize("names", [SIDES, ["none", "cleft", "bright"]])
@pytest.mark.parametrize("axis", [-1, -2, (-3, -1), None])
@pytest.mark.parametrize("pairs", [None, {1: 2}])
@pytest.mark.parametrize("order", ["LPS", "PLS"])
def test_a_training_that_mixes_sides_is_told(names, axis, pairs, order):
    flip = RandomDihedral3D(swap_labels=pairs) if axis is None else RandomFlip3D(axis=axis, swap_labels=pairs)
    learn = learner(MaskBlock3D(names), batch_tfms=[flip])
    learn.model.trained_on = TrainedOn(orientation=order)
    across = axis is None or {"LPS": -1, "PLS": -2}[order] in ([axis] if isinstance(axis, int) else axis)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warn_of_mixed_sides(learn)
    assert len(said) == (names == SIDES and across and pairs is None)
    for one in said:
        assert "(right kidney, left kidney), but training mirrors left and right" in str(one.message)


class TestTestTimeFlips:
    @settings(max_examples=30, deadline=None)  # a loaded machine takes its time
    @given(
        st.sampled_from(ORDERS),
        st.sampled_from([True, (2,), (0, 2), (0, 1)]),
        st.sampled_from([None, (4, 6, 8)]),
        st.sampled_from(["item_tfms", "batch_tfms"]),
    )
    def test_exchange_the_labels_that_training_exchanges(self, order, tta, patch, where):
        learn = learner(**{where: [RandomFlip3D(swap_labels={1: 2})]})
        found = predict_volume(learn, SCAN.reorient(order), patch, tta=tta)
        assert torch.equal(found.reorient("LPS").as_subclass(Tensor), LABELS)

    @pytest.mark.parametrize("order", ["LPS", "RAS", "SRA"])
    def test_exchange_regions_too(self, order):
        learn = learner(regions(), RegionLoss3D(), [RandomDihedral3D(swap_labels={1: 2})])
        found = predict_volume(learn, SCAN.reorient(order), tta=True).reorient("LPS")
        assert torch.equal(found.as_subclass(Tensor), torch.stack([LABELS == 1, LABELS == 2]).byte())

    @pytest.mark.parametrize(("target", "loss"), [(None, None), (regions(), RegionLoss3D())])
    def test_of_classes_named_by_side_are_refused_where_no_pairs_are_known(self, target, loss):
        learn = learner(target, loss)
        with pytest.raises(ValueError, match=r"the axis 2, .* told apart by side \(right.*left.*: pass tta=\(0, 1\)"):
            predict_volume(learn, SCAN, tta=(0, 1, 2))
        found = predict_volume(learn, SCAN, tta=(0, 1))  # as advised
        found = found if loss is None else found[0] + 2 * found[1]
        assert torch.equal(found.as_subclass(Tensor), LABELS)

    def test_of_other_names_stay_as_they_were(self):
        learn = learner(MaskBlock3D(["none", "cleft", "bright"]))
        with pytest.warns(UserWarning, match=r"no transform of training did.*Name axes, such as tta=\(2,\)"):
            assert predict_volume(learn, SCAN, tta=True).shape == SCAN.shape


class TestFlipsOfTraining:
    @pytest.mark.parametrize(
        ("transforms", "axes"),
        [
            ([RandomFlip3D(axis=-1)], (2,)),
            ([RandomSpatial3D(RandomFlip3D(axis=(-1, -3)), RandomAffine3D())], (0, 2)),
            ([RandomSpatial3D(RandomFlip3D(axis=-2), RandomFlip3D(axis=-1))], (1, 2)),
            ([RandomDihedral3D()], (0, 1, 2)),
            (aug_transforms_3d(), (2,)),
        ],
    )
    @pytest.mark.parametrize("where", ["item_tfms", "batch_tfms"])
    def test_are_those_that_tta_makes(self, transforms, axes, where):
        assert trained_flips(learner(**{where: transforms})) == axes

    def test_before_the_loader_count_too(self):
        learn = learner()
        learn.dls.train.after_item.add(DoneBefore([RandomSpatial3D(RandomFlip3D(axis=-2))]))
        assert trained_flips(learn) == (1,)

    def test_mirror_nothing_that_the_network_has_not_seen(self):
        """Mirrored along W this network would say the other side; along D it says the same."""
        learn = learner(batch_tfms=[RandomFlip3D(axis=-3)])
        assert torch.equal(predict_volume(learn, SCAN, tta=True).as_subclass(Tensor), LABELS)


class TestMirroredRegions:
    @settings(max_examples=25, deadline=None)
    @given(st.sampled_from(ORDERS), st.sampled_from(["item_tfms", "batch_tfms"]), st.integers(0, 9))
    def test_hold_0_and_1_and_lie_where_the_labels_lie(self, order, where, seed):
        torch.manual_seed(seed)
        flip = RandomFlip3D(p=1, swap_labels={1: 2})
        labels, masks = MASK.reorient(order), torch.stack([MASK == 1, MASK == 2]).byte()
        masks = TensorMask3D(masks, PLACE).reorient(order)
        image = TensorDicom3D(SCAN.reorient(order))
        if where == "batch_tfms":
            image, labels, masks = image[None, None], labels[None], masks[None]
        torch.manual_seed(seed)
        _, one = flip((image, labels), split_idx=0)
        torch.manual_seed(seed)
        _, several = flip((image, masks), split_idx=0)
        one, several = one.as_subclass(Tensor), several.as_subclass(Tensor)
        assert torch.equal(several, torch.stack([one == 1, one == 2], one.ndim - 3).byte())

    def test_more_pairs_than_regions_are_refused(self):
        with pytest.raises(ValueError, match="names the region 3, but the mask has 2 regions"):
            swap_regions(torch.zeros(2, 2, 3, 4), {1: 3})
