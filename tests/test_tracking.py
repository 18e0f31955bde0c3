"""The tracking table: after any operation the geometry is exact or absent."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coordinates import LOPSIDED, OTHER, check, entries, world
from fastai.data.load import fa_collate
from fasttransform import Transform
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import default_collate

import faimed3d
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.geometry import Geometry
from faimed3d.tracking import rules

BIG = Geometry((4, 6, 8), spacing=(1, 2, 3), origin=(-7, 11, 5), direction=LOPSIDED.direction)


def volume(axis):
    return world(BIG, axis)


def channels(axis):
    return world(BIG, axis)[None].expand(3, -1, -1, -1).clone()


def batch(axis):
    """(2, 1, D, H, W), two items of different grids."""
    return torch.stack([world(LOPSIDED, axis), world(OTHER, axis)])[:, None]


def labels(axis):
    """(2, D, H, W), two items of different grids."""
    return torch.stack([world(LOPSIDED, axis, TensorMask3D), world(OTHER, axis, TensorMask3D)])


INPUTS = {
    "volume": (volume, [BIG]),
    "channels": (channels, [BIG]),
    "batch": (batch, [LOPSIDED, OTHER]),
    "labels": (labels, [LOPSIDED, OTHER]),
}

# name: (operation, does the geometry stay for volume, channels, batch, labels)
OPERATIONS = {
    "slice": (lambda t: t[..., 1:, :2, 1:3], "1111"),
    "step": (lambda t: t[..., ::2, 1::2, ::3], "1111"),
    "negative slice": (lambda t: t[..., -2:, :-1, -3:-1], "1111"),
    "empty slice": (lambda t: t[..., 2:2, :, :], "0000"),
    "ellipsis": (lambda t: t[...], "1111"),
    "int on the last axis": (lambda t: t[..., 1], "0000"),
    "int on the first axis": (lambda t: t[1], "0111"),
    "negative int": (lambda t: t[-1], "0111"),
    "numpy int": (lambda t: t[np.int64(1)], "0111"),
    "tensor int": (lambda t: t[torch.tensor(1)], "0111"),
    "None first": (lambda t: t[None], "1111"),
    "None last": (lambda t: t[..., None], "0000"),
    "None before D": (lambda t: t[..., None, :, :, :], "1111"),
    "None inside": (lambda t: t[..., None, :], "0000"),
    "list": (lambda t: t[[1, 0]], "1111"),
    "list with gaps": (lambda t: t[..., [0, 1, 3]], "0000"),
    "even list": (lambda t: t[..., [3, 1]], "1111"),
    "integer tensor": (lambda t: t[..., torch.tensor([1, 2, 3])], "1111"),
    "negative integer tensor": (lambda t: t[..., torch.tensor([-1, -2])], "1111"),
    "repeated index": (lambda t: t[..., [1, 1]], "0000"),
    "numpy index": (lambda t: t[..., np.array([0, 2]), :], "1111"),
    "two index arrays": (lambda t: t[..., [0, 1], [0, 1]], "0000"),
    "index array and None": (lambda t: t[None, ..., [0, 2]], "1111"),
    "boolean on an axis": (lambda t: t[..., torch.arange(t.shape[-1]) % 2 == 0], "1111"),
    "uneven boolean": (lambda t: t[..., torch.tensor([k in (0, 1, 3) for k in range(t.shape[-1])])], "0000"),
    "boolean on the first axis": (lambda t: t[torch.arange(t.shape[0]) > 0], "1111"),
    "full boolean": (lambda t: t[torch.ones(t.shape, dtype=torch.bool)], "0000"),
    "boolean scalar": (lambda t: t[True], "0000"),
    "select": (lambda t: t.select(0, 1), "0111"),
    "narrow": (lambda t: t.narrow(-1, 1, 2), "1111"),
    "narrow first": (lambda t: torch.narrow(t, 0, 0, 1), "1111"),
    "index_select": (lambda t: t.index_select(t.ndim - 2, torch.tensor([2, 0])), "1111"),
    "gather": (lambda t: t.gather(0, torch.zeros_like(t, dtype=torch.long).as_subclass(torch.Tensor)), "0000"),
    "take_along_dim": (lambda t: t.take_along_dim(torch.zeros(t.shape, dtype=torch.long), 0), "0000"),
    "flip D": (lambda t: t.flip(-3), "1111"),
    "flip all": (lambda t: torch.flip(t, (-1, -2, -3)), "1111"),
    "flip first": (lambda t: t.flip(0), "1111"),
    "flip keyword": (lambda t: t.flip(dims=(-1,)), "1111"),
    "fliplr": (lambda t: t.fliplr(), "1111"),
    "flipud": (lambda t: torch.flipud(t), "1111"),
    "reversed": (lambda t: reversed(t), "1111"),
    "transpose": (lambda t: t.transpose(-1, -3), "1111"),
    "transpose first": (lambda t: t.transpose(0, -1), "1000"),
    "swapaxes": (lambda t: torch.swapaxes(t, -1, -2), "1111"),
    "mT": (lambda t: t.mT, "1111"),
    "permute": (lambda t: t.permute(*range(t.ndim - 3), t.ndim - 1, t.ndim - 3, t.ndim - 2), "1111"),
    "permute list": (lambda t: torch.permute(t, [*range(t.ndim - 3), -1, -2, -3]), "1111"),
    "permute channels last": (lambda t: t.permute(*range(1, t.ndim), 0), "1000"),
    "movedim": (lambda t: t.movedim(-1, -3), "1111"),
    "movedim several": (lambda t: torch.movedim(t, (-1, -2), (-3, -1)), "1111"),
    "moveaxis out": (lambda t: t.moveaxis(0, -1), "1000"),
    "rot90": (lambda t: t.rot90(1, (-1, -2)), "1111"),
    "rot90 back": (lambda t: torch.rot90(t, -1, (-3, -1)), "1111"),
    "rot90 twice": (lambda t: t.rot90(2, (-3, -2)), "1111"),
    "rot90 none": (lambda t: t.rot90(4, (-3, -2)), "1111"),
    "roll": (lambda t: t.roll(1, -1), "0000"),
    "roll flat": (lambda t: t.roll(1), "0000"),
    "roll first": (lambda t: t.roll(1, 0), "0111"),
    "roll by the size": (lambda t: t.roll((t.shape[-1], 1), (-1, -1)).roll(-1, -1), None),
    "roll whole": (lambda t: t.roll(t.shape[-1], -1), "1111"),
    "unsqueeze": (lambda t: t.unsqueeze(0), "1111"),
    "unsqueeze before D": (lambda t: t.unsqueeze(-4), "1111"),
    "unsqueeze last": (lambda t: t.unsqueeze(-1), "0000"),
    "squeeze": (lambda t: t[None].squeeze(), "1111"),
    "squeeze first": (lambda t: t[None].squeeze(0), "1111"),
    "squeeze a spatial axis": (lambda t: t[..., :1].squeeze(), "0000"),
    "squeeze channel": (lambda t: t.unsqueeze(-4).squeeze(-4), "1111"),
    "reshape leading": (lambda t: t.reshape(-1, *t.shape[-3:]), "1111"),
    "view leading": (lambda t: t.contiguous().view(1, -1, *t.shape[-3:]), "1111"),
    "flatten": (lambda t: t.flatten(), "0000"),
    "flatten leading": (lambda t: t[None, None].flatten(0, 2 if t.ndim > 3 else 1), "1111"),
    "flatten spatial": (lambda t: t.flatten(-2), "0000"),
    "unflatten": (lambda t: t[None].unflatten(0, (1, 1)), "1111"),
    "reshape spatial": (lambda t: t.reshape(*t.shape[:-3], *reversed(t.shape[-3:])), "0000"),
    "view_as": (lambda t: t.view_as(t), "1111"),
    "expand": (lambda t: t[None].expand(5, *[-1] * t.ndim), "1111"),
    "expand a spatial axis": (lambda t: t[..., :1].expand(*[-1] * (t.ndim - 1), 5), "0000"),
    "repeat": (lambda t: t.repeat(*[2] * (t.ndim - 3), 1, 1, 1), "1111"),
    "repeat spatial": (lambda t: t.repeat(*[1] * (t.ndim - 1), 2), "0000"),
    "repeat_interleave": (lambda t: t.repeat_interleave(2, 0), "0000"),
    "stack": (lambda t: torch.stack([t, t]), "1111"),
    "stack before D": (lambda t: torch.stack([t, t], dim=t.ndim - 3), "1111"),
    "stack last": (lambda t: torch.stack([t, t], -1), "0000"),
    "stack turned": (lambda t: torch.stack([t, t.flip(-1)]), "1111"),
    "cat first": (lambda t: torch.cat([t[:1], t[1:]]), "1111"),
    "cat back along W": (lambda t: torch.cat([t[..., :1], t[..., 1:]], -1), "1100"),
    "cat the wrong way": (lambda t: torch.cat([t[..., 1:], t[..., :1]], -1), "0000"),
    "cat with a gap": (lambda t: torch.cat([t[..., :1], t[..., 2:]], dim=-1), "0000"),
    "cat twice": (lambda t: torch.cat([t, t], -1), "0000"),
    "unbind": (lambda t: t.unbind(0), "0111"),
    "iterate": (lambda t: list(t), "0111"),
    "unbind last": (lambda t: t.unbind(-1), "0000"),
    "split": (lambda t: t.split(1, -1), "1111"),
    "split sizes": (lambda t: torch.split(t, [1, t.shape[-2] - 1], dim=-2), "1111"),
    "split first": (lambda t: t.split(1), "1111"),
    "chunk": (lambda t: t.chunk(2, dim=-3), "1111"),
    "tensor_split": (lambda t: t.tensor_split(2, -1), "1111"),
    "unfold": (lambda t: t.unfold(-1, 2, 1), "0000"),
    "diagonal": (lambda t: t.diagonal(dim1=-1, dim2=-2), "0000"),
    "pad": (lambda t: F.pad(t, (1, 2, 0, 3, 2, 1), value=9.0), "1111"),
    "pad one axis": (lambda t: F.pad(t, (1, 2)), "1111"),
    "pad negative": (lambda t: F.pad(t, (-1, -1, 1, -2)), "1111"),
    "pad reflect": (lambda t: F.pad(t.reshape(-1, 1, *t.shape[-3:]), (1, 1, 1, 1, 1, 1), mode="reflect"), "1111"),
    "pad leading": (lambda t: F.pad(t, (0, 0) * (t.ndim - 1) + (0, 1))[: len(t)], "1100"),
    "clone": (lambda t: t.clone(), "1111"),
    "detach": (lambda t: t.detach(), "1111"),
    "contiguous": (lambda t: t.flip(-1).contiguous(), "1111"),
    "to": (lambda t: t.to(torch.float64, copy=True), "1111"),
    "cpu": (lambda t: t.cpu(), "1111"),
    "data": (lambda t: t.data, "1111"),
    "deepcopy": (copy.deepcopy, "1111"),
    "pickle": (lambda t: pickle.loads(pickle.dumps(t)), "1111"),
    "times one": (lambda t: t * 1, "1111"),
    "add a plain tensor": (lambda t: torch.zeros(t.shape) + t, "1111"),
    "where": (lambda t: torch.where(t > 0, t, t), "1111"),
    "clamp": (lambda t: t.clamp(-1e9, 1e9), "1111"),
    "broadcast up": (lambda t: t + torch.zeros(5, *t.shape), "1111"),
    "broadcast a channel value": (lambda t: t * torch.ones(t.shape[0], *[1] * (t.ndim - 1)), "1111"),
    "mean over the first axis": (lambda t: t.mean(0), "0100"),
    "max over the first axis": (lambda t: t.max(0).values, "0100"),
    "amax keepdim": (lambda t: t.amax(0, keepdim=True), "0100"),
    "mean over the channel": (lambda t: t.unsqueeze(-4).mean(-4), "1111"),
    "mean of all": (lambda t: t.mean(), "0000"),
    "sort": (lambda t: t.sort(0).values, "0000"),
    "cumulated": (lambda t: t.cumsum(0)[..., :1, :1, :1] * 0 + t[..., :1, :1, :1], "1100"),
    "cumulated along W": (lambda t: t.cumsum(-1) * 0 + t, "1111"),
    "cumulated over items of one grid": (lambda t: torch.stack([t, t]).cumsum(0) * 0 + t, "1111"),
    "softmax over channels": (lambda t: t.unsqueeze(-4).softmax(-4) * 0 + t.unsqueeze(-4), "1111"),
    "sum with the rolled": (lambda t: t * 0 + t.roll(1, -1), "0000"),
    "sum with the turned": (lambda t: t * 0 + t.flip(-1), "0000"),
    "where of the turned": (lambda t: torch.where(torch.ones(t.shape, dtype=torch.bool), t.flip(-2), t), "0000"),
    "fold": (lambda t: torch.fft.fftshift(t), "0000"),
    "triu": (lambda t: t.triu(), "0000"),
}


# Resampling: the values are compared where the result lies inside its source
RESAMPLING = {
    "trilinear": (lambda t: F.interpolate(five(t), (5, 4, 9), mode="trilinear"), True),
    "trilinear aligned": (lambda t: F.interpolate(five(t), (5, 4, 9), mode="trilinear", align_corners=True), True),
    "aligned to one voxel": (lambda t: F.interpolate(five(t), (1, 4, 9), mode="trilinear", align_corners=True), True),
    "aligned from one voxel": (
        lambda t: F.interpolate(five(t)[..., :1], (5, 4, 9), mode="trilinear", align_corners=True),
        False,
    ),
    "scale factor": (lambda t: F.interpolate(five(t), scale_factor=1.3, mode="trilinear"), True),
    "scale factors": (lambda t: F.interpolate(five(t), scale_factor=(1.3, 0.7, 1), mode="trilinear"), True),
    "scale factor recomputed": (
        lambda t: F.interpolate(five(t), scale_factor=1.3, mode="trilinear", recompute_scale_factor=True),
        True,
    ),
    "bilinear of a channel volume": (lambda t: F.interpolate(five(t)[0], (5, 9), mode="bilinear"), True),
    "linear of a volume": (lambda t: F.interpolate(five(t)[0, 0], 5, mode="linear", align_corners=True), True),
    "upsample module": (lambda t: torch.nn.Upsample(scale_factor=2, mode="trilinear")(five(t)), True),
    "nearest-exact by even steps": (lambda t: F.interpolate(five(t), (2, 3, 4), mode="nearest-exact"), True),
    "nearest-exact by uneven steps": (lambda t: F.interpolate(five(t), (3, 4, 5), mode="nearest-exact"), False),
    "nearest by uneven steps": (lambda t: F.interpolate(five(t), (3, 4, 5)), False),
    "nearest down by whole steps": (lambda t: F.interpolate(five(t), (2, 3, 4)), True),
    "area by whole windows": (lambda t: F.interpolate(five(t), (2, 3, 4), mode="area"), True),
    "area by uneven windows": (lambda t: F.interpolate(five(t), (3, 4, 5), mode="area"), False),
    "avg_pool3d": (lambda t: F.avg_pool3d(five(t), 2), True),
    "avg_pool3d with strides": (lambda t: F.avg_pool3d(five(t), (2, 3, 2), stride=(1, 2, 1)), True),
    "avg_pool3d padded": (
        lambda t: F.avg_pool3d(five(t), 3, 1, 1, count_include_pad=False)[..., 1:-1, 1:-1, 1:-1],
        True,
    ),
    "avg_pool2d of a volume": (lambda t: F.avg_pool2d(five(t)[0, 0], 2), True),
    "avg_pool1d of a volume": (lambda t: F.avg_pool1d(five(t)[0, 0], 2), True),
    "adaptive_avg_pool3d": (lambda t: F.adaptive_avg_pool3d(five(t), (2, 3, 4)), True),
    "adaptive_avg_pool3d uneven": (lambda t: F.adaptive_avg_pool3d(five(t), (3, 4, 5)), False),
    "grid_sample": (
        lambda t: F.grid_sample(five(t), torch.rand(1, 2, 3, 4, 3, dtype=t.dtype) * 2 - 1, align_corners=True),
        False,
    ),
    "conv3d": (lambda t: F.conv3d(five(t), torch.ones(1, 1, 2, 2, 2, dtype=t.dtype)), False),
}


def five(t):
    return t.reshape(1, 1, *t.shape)


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_geometry_is_exact_or_absent(name, kind):
    operate, stays = OPERATIONS[name]
    make, sources = INPUTS[kind]
    kept = None if stays is None else stays[list(INPUTS).index(kind)] == "1"
    compared = check(make, operate, sources, kept)
    assert compared > 0 or not kept


@pytest.mark.parametrize("name", RESAMPLING)
def test_resampled_geometry_is_exact_or_absent(name):
    operate, kept = RESAMPLING[name]
    compared = check(volume, operate, [BIG], kept)
    assert compared > 0 or not kept


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("size", [(8, 12, 16), (12, 6, 8)])
def test_nearest_by_whole_ratios_cuts_voxels_into_equal_parts(size, mode):
    index = np.stack(np.meshgrid(*map(np.arange, BIG.shape), indexing="ij"), -1)
    for axis in range(3):
        indices = TensorDicom3D(torch.from_numpy(index[..., axis].astype(float)), BIG)
        result = F.interpolate(five(indices), size, mode=mode)[0, 0]
        at = BIG.world_to_index(
            result.geometry.index_to_world(np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1))
        )
        assert np.abs(at[..., axis] - result.numpy()).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("pool", [F.max_pool3d, F.adaptive_max_pool3d, F.lp_pool3d])
def test_maxima_and_powers_are_on_the_grid_of_averages(pool):
    t = five(volume(0))
    args = {F.max_pool3d: (2,), F.adaptive_max_pool3d: ((2, 3, 4),), F.lp_pool3d: (2, 2)}[pool]
    assert pool(t, *args).geometry == F.avg_pool3d(t, 2).geometry
    assert F.avg_pool3d(t, 2).geometry.origin == pytest.approx(tuple(BIG.index_to_world((0.5, 0.5, 0.5))))


def test_dilated_pooling_lies_at_the_centre_of_its_window():
    values, indices = F.max_pool3d(five(volume(0)), (2, 2, 3), stride=1, dilation=(1, 2, 2), return_indices=True)
    assert values.geometry.origin == pytest.approx(tuple(BIG.index_to_world((0.5, 1, 2))))
    assert indices.geometry == values.geometry


def test_padded_pooling_starts_before_the_volume():
    t = F.max_pool3d(five(volume(0)), 2, padding=1)
    assert t.geometry.origin == pytest.approx(tuple(BIG.index_to_world((-0.5, -0.5, -0.5))))


class TestInPlace:
    def test_numbers_written_into_a_volume_leave_its_grid(self):
        t = volume(0)
        t[1] = 0
        t[t > 3] *= 2
        t += 1
        t.clamp_(0).mul_(2)
        assert t.geometry == BIG

    def test_its_own_part_written_back_leaves_its_grid(self):
        t = volume(0)
        t[:, 1:3] = t[:, 1:3] * 2
        assert t.geometry == BIG

    @pytest.mark.parametrize(
        "write",
        [
            lambda t: t.__setitem__(slice(None), t.flip(0)),
            lambda t: t.__setitem__(slice(None), t.roll(1, 0)),
            lambda t: t.__setitem__(slice(0, 1), t[1:2].clone()),
            lambda t: t.__setitem__(0, t[1].clone()),
            lambda t: t.copy_(t.flip(1)),
            lambda t: t.copy_(t.roll(1, 0)),
            lambda t: t.mul_(0).add_(t.flip(2)),
            lambda t: setattr(t, "data", t.data.flip(0).roll(1, 0)),
            lambda t: t.index_copy_(0, torch.tensor([0, 1]), t[2:4].clone()),
            lambda t: torch.add(t * 0, t.flip(0), out=t),
            lambda t: t.resize_(4, 8, 6),
        ],
    )
    def test_a_volume_of_another_grid_written_into_it_drops_its_grid(self, write):
        t = volume(0)
        write(t)
        assert t.geometry is None

    @pytest.mark.parametrize(
        "move",
        [
            lambda t: t.transpose_(0, 2),
            lambda t: t.swapaxes_(1, 2),
            lambda t: t.unsqueeze_(0),
            lambda t: t.unsqueeze_(0).squeeze_(0),
            lambda t: t.unsqueeze_(0).squeeze_(),
        ],
    )
    def test_axes_moved_in_place_are_followed(self, move):
        check(volume, lambda t: (move(t), t)[1], [BIG], kept=True)

    def test_setting_the_data_takes_over_its_grid(self):
        t = volume(0)
        t.data = volume(0).flip(0)
        assert t.geometry == volume(0).flip(0).geometry

    def test_an_operation_that_returns_its_input_does_not_touch_it(self):
        t = volume(0)
        assert torch.atleast_3d(t) is t
        assert t.geometry == BIG


class TestSharedNowhere:
    """A change to one tensor's geometry reaches no other."""

    @pytest.mark.parametrize(
        "derive",
        [
            lambda t: t + 1,
            lambda t: t[:],
            copy.copy,
            copy.deepcopy,
            lambda t: t.clone(),
            TensorDicom3D,
            lambda t: t.detach(),
        ],
    )
    def test_set_spacing(self, derive):
        t = volume(0)
        other = derive(t)
        other.set_spacing((9, 9, 9))
        assert t.get_spacing() == (1, 2, 3)
        assert other.get_spacing() == (9, 9, 9)

    def test_wrapping_does_not_reset_the_source(self):
        t = volume(0)
        assert TensorDicom3D.create(t).geometry == BIG
        assert t.geometry == BIG


class TestBatches:
    @pytest.mark.parametrize("collate", [default_collate, fa_collate])
    def test_each_item_keeps_its_own_grid(self, collate):
        images, masks = collate([(world(g, 0), world(g, 1, TensorMask3D)) for g in (LOPSIDED, OTHER)])
        assert type(images) is TensorDicom3D
        assert type(masks) is TensorMask3D
        assert images.geometry is None
        for items in (images, masks):
            assert [item.geometry for item in items] == [LOPSIDED, OTHER]
        assert images.flip(0)[0].geometry == OTHER
        assert images[torch.tensor([1, 0, 1])][2].geometry == OTHER
        assert images[:1].geometry == LOPSIDED

    def test_a_mask_over_the_items_is_followed(self):
        assert batch(0)[torch.tensor([[False], [True]])].geometry == OTHER

    def test_one_grid_for_all_is_the_grid_of_the_batch(self):
        assert torch.stack([volume(0), volume(1)]).geometry == BIG

    def test_items_without_a_grid_do_not_take_their_neighbours(self):
        t = torch.stack([volume(0), volume(0).roll(1, 0)])
        assert t.geometry is None
        assert t[0].geometry == BIG
        assert t[1].geometry is None

    def test_an_average_over_different_grids_has_none(self):
        assert batch(0).mean(0).geometry is None
        assert batch(0).mean(1)[1].geometry == OTHER

    def test_prediction_by_argmax_keeps_the_items_grids(self):
        scores = torch.cat([batch(0), batch(0) + 1], 1)
        assert [item.geometry for item in scores.argmax(1)] == [LOPSIDED, OTHER]
        assert [item.geometry for item in scores.softmax(1)] == [LOPSIDED, OTHER]

    def test_workers_send_the_grids(self):
        items = [(world(g, 0), world(g, 1, TensorMask3D)) for g in (LOPSIDED, OTHER)] * 2
        loader = torch.utils.data.DataLoader(items, batch_size=2, num_workers=1, multiprocessing_context="fork")
        for images, masks in loader:
            assert [item.geometry for item in images] == [LOPSIDED, OTHER]
            assert type(masks) is TensorMask3D
            torch.testing.assert_close(images[1], world(OTHER, 0))


class TestSaved:
    @pytest.mark.parametrize(
        "make", [lambda: volume(0), lambda: batch(0), lambda: labels(0), lambda: volume(0).roll(1, 0)]
    )
    @pytest.mark.parametrize("weights_only", [True, False])
    def test_torch_save_and_load(self, make, weights_only, tmp_path):
        t = make()
        torch.save({"x": t}, tmp_path / "t.pt")
        back = torch.load(tmp_path / "t.pt", weights_only=weights_only)["x"]
        assert type(back) is type(t)
        assert list(entries(back)) == list(entries(t))
        assert torch.equal(back, t)

    def test_a_view_is_pickled_without_the_storage_behind_it(self):
        t = TensorDicom3D(torch.zeros(100, 100, 100))
        assert len(pickle.dumps(t[:1])) < 50_000
        assert len(pickle.dumps(t)) > 4_000_000

    def test_gradients_are_kept_wanted(self):
        t = volume(0).requires_grad_()
        assert pickle.loads(pickle.dumps(t)).requires_grad
        copied = copy.deepcopy(t)
        assert copied.requires_grad
        assert copied.geometry == BIG
        (t * 2).sum().backward()
        assert t.grad.shape == t.shape

    def test_attributes_travel(self):
        t = volume(0)
        t.side = "left"
        assert pickle.loads(pickle.dumps(t)).side == "left"
        assert (t + 1).side == "left"
        assert copy.deepcopy(t).side == "left"


class TestPlacesOfTwo:
    def test_grids_that_differ_by_rounding_agree(self):
        near = BIG.replace(origin=[x + 1e-6 for x in BIG.origin])
        assert (volume(0) + TensorDicom3D(torch.zeros(BIG.shape), near)).geometry == BIG

    def test_grids_that_differ_do_not(self):
        far = BIG.replace(origin=[x + 0.1 for x in BIG.origin])
        assert (volume(0) + TensorDicom3D(torch.zeros(BIG.shape), far)).geometry is None

    def test_batches_agree_item_by_item(self):
        mixed = torch.stack([world(LOPSIDED, 0), world(LOPSIDED, 0)])[:, None]
        result = batch(0) + mixed
        assert result[0].geometry == LOPSIDED
        assert result[1].geometry is None


class TestForeignWrites:
    """Voxels of another grid written into the memory of a volume take its grid, through whatever tensor they come."""

    @pytest.mark.parametrize(
        "write",
        [
            lambda t: t[:].copy_(t.flip(0)),
            lambda t: t.data.copy_(t.flip(0)),
            lambda t: t.detach().copy_(t.flip(0)),
            lambda t: t.data.__setitem__(slice(None), t.flip(0)),
            lambda t: [part.copy_(part.flip(-1).clone()) for part in t.split(2)],
            lambda t: torch.lerp(t, t.flip(0), 1.0, out=t),
            lambda t: torch.add(t, t.roll(1, 0) - t, out=t),
            lambda t: torch.split_with_sizes_copy(t.flip(0), (4,), 0, out=[t]),
            lambda t: t.set_(t.flip(0).clone()),
            lambda t: torch._foreach_copy_([t], [t.flip(0).clone()]),
            lambda t: torch._foreach_add_([t], [t.flip(0).clone()]),
            lambda t: setattr(t, "real", t.flip(0).clone()),
            lambda t: t.__setitem__((0, 0), t[0, 1].clone()),
            lambda t: t.masked_scatter_(torch.ones(t.shape, dtype=torch.bool), t.flip(0)),
        ],
    )
    def test_the_volume_has_no_grid_afterwards(self, write):
        t = volume(2)
        view = t[1:]
        write(t)
        assert t.geometry is None
        assert (t + 1).geometry is None
        assert t[1:].geometry is None
        assert view.geometry is None or not torch.equal(view, t[1:])

    def test_a_result_written_into_it_brings_its_grid(self):
        t = volume(2)
        view = t[1:]
        torch.add(t.as_subclass(TensorMask3D).flip(0), 0, out=t)
        assert t.geometry == volume(2).flip(0).geometry
        assert view.geometry is None

    def test_the_grid_can_be_stated_again(self):
        t = volume(0)
        t[:].copy_(t.flip(0))
        t.set_spacing((1, 2, 3))
        assert t.geometry == Geometry(BIG.shape, (1, 2, 3))
        assert (t * 2)[1:].geometry is not None

    def test_items_of_a_batch(self):
        b = batch(0)
        b[0].copy_(b[1])
        assert list(entries(b)) == [] or b[0].geometry is None
        b = torch.stack([world(LOPSIDED, 0), world(OTHER, 0), world(LOPSIDED, 0)])
        b[:] = b[[0, 2, 1]].clone()
        assert b.geometry is None
        assert b[1].geometry is None
        b = batch(0)
        b[:] = b * 2
        assert b[1].geometry == OTHER

    def test_numbers_written_through_a_view_leave_the_grid(self):
        t = volume(0)
        t[0].zero_()
        t.view(-1)[3] = 1
        t.data.clamp_(0)
        t[1:].mul_(2)
        t[:, 1:3].copy_(t[:, 1:3] * 3)
        assert t.geometry == BIG

    def test_inputs_that_come_back_are_left_alone(self):
        a, b = volume(0), volume(1)
        torch.atleast_3d(a, b)
        torch.broadcast_tensors(a, b)
        assert a.geometry == b.geometry == BIG


class TestBatchesOfDisagreeingItems:
    @pytest.mark.parametrize(
        "change",
        [
            lambda b: b.clamp_(0),
            lambda b: b.add_(1).mul_(2).round_(),
            lambda b: b.add_(b),
            lambda b: b.__iadd__(torch.ones(b.shape)),
            lambda b: torch.ceil(b, out=b),
            lambda b: torch.add(b, 1, out=torch.empty_like(b)),
            lambda b: b.unsqueeze_(0)[0],
        ],
    )
    @pytest.mark.parametrize("make", [batch, labels])
    def test_changes_in_place_leave_each_item_its_grid(self, make, change):
        b = change(make(0))
        assert [item.geometry for item in b] == [LOPSIDED, OTHER]

    def test_a_batch_turned_in_place_has_no_grid(self):
        b = batch(0)
        view = b[1]
        b.copy_(b.flip(-1))
        assert list(entries(b)) == []
        assert view.geometry is None

    def test_an_item_without_a_grid_does_not_adopt_one(self):
        x = torch.stack([volume(0), volume(0).roll(1, 0)])
        y = torch.stack([volume(0), volume(0)])
        assert (x + y * 0)[0].geometry == BIG
        assert (x + y * 0)[1].geometry is None

    def test_a_third_operand_does_not_refill_what_two_lost(self):
        ab = torch.stack([world(LOPSIDED, 0), world(OTHER, 0)])
        aa = torch.stack([world(LOPSIDED, 0), world(LOPSIDED, 0)])
        result = torch.where(ab > -1e18, aa, ab)
        assert result[0].geometry == LOPSIDED
        assert result[1].geometry is None

    def test_padding_that_shifts_items_shifts_no_grids(self):
        assert F.pad(batch(0), (0, 0, 0, 0, 0, 0, 0, 0, 1, -1))._grid is None

    def test_overlapping_parts_keep_their_own_items(self):
        b = torch.stack([world(LOPSIDED, 0), world(OTHER, 0), world(LOPSIDED, 0)])
        parts = b.tensor_split((2, 1))
        assert [item.geometry for item in parts[2]] == [OTHER, LOPSIDED]

    def test_sums_over_different_grids_have_none(self):
        assert batch(0).cumsum(0)[1].geometry is None
        assert batch(0).softmax(0)[1].geometry is None

    def test_one_spacing_for_different_grids_is_refused(self):
        with pytest.raises(ValueError, match="items of this batch have different geometries"):
            batch(0).set_spacing((1, 1, 1))


class TestTransforms:
    def test_a_tracked_result_of_another_type_keeps_its_own_grid(self):
        class Turn(Transform):
            def encodes(self, x: TensorDicom3D) -> TensorMask3D:
                return x.flip(0)

        class Roll(Transform):
            def encodes(self, x: TensorDicom3D) -> TensorMask3D:
                return x.roll(1, 0)

        assert Turn()(volume(0)).geometry == volume(0).flip(0).geometry
        assert Roll()(volume(0)).geometry is None

    def test_attributes_taken_over_do_not_replace_a_grid(self):
        w = volume(0).flip(0)
        w.set_meta(volume(0))
        assert w.geometry == volume(0).flip(0).geometry


class TestArguments:
    """Whatever torch accepts is accepted."""

    @pytest.mark.parametrize(
        "call",
        [
            lambda t: torch.flip(input=t, dims=(0,)),
            lambda t: torch.where(condition=t > 0, input=t, other=t),
            lambda t: torch.polygamma(n=1, input=t.abs() + 1),
            lambda t: torch.mul(input=t, other=t),
            lambda t: t.transpose(dim0=0, dim1=1),
            lambda t: t.permute(dims=(2, 1, 0)),
            lambda t: t.flip(np.int64(0)),
            lambda t: t[None].mean(np.int64(0)),
            lambda t: t.movedim(np.int64(0), np.int64(1)),
            lambda t: t[None].squeeze(np.int64(0)),
            lambda t: F.interpolate(input=five(t), scale_factor=np.float32(2)),
            lambda t: F.avg_pool3d(five(t), np.int64(2)),
            lambda t: torch.stack(tensors=[t, t], dim=0),
            lambda t: torch.cat(tensors=(t[:1], t[1:]), dim=0),
            lambda t: torch.index_select(t, 0, torch.tensor([0, 1]), out=torch.empty(0, dtype=t.dtype)),
            lambda t: torch.multiply(t, 2),
            lambda t: F.softsign(t),
        ],
    )
    def test_keeps_the_geometry(self, call):
        assert call(volume(0)).geometry is not None

    def test_unusual_results(self):
        assert volume(0).to_sparse().is_sparse
        assert F.adaptive_avg_pool3d(five(volume(0)), 0).numel() == 0
        assert type(torch.mul(world(BIG, 0, TensorMask3D), other=volume(0))) is TensorDicom3D

    def test_deepcopy_keeps_the_gradient(self):
        t = volume(0).requires_grad_()
        t.sum().backward()
        assert torch.equal(copy.deepcopy(t).grad, t.grad)


# Any chain of operations ---------------------------------------------------------------------------------------------


@st.composite
def index_expressions(draw, shape):
    items = []
    for n in shape:
        kind = draw(st.sampled_from(["slice", "slice", "slice", "int", "list", "mask", "none"]))
        if kind == "none":
            items.append(None)
            kind = "slice"
        if kind == "slice":
            bounds = st.none() | st.integers(-n - 1, n + 1)
            items.append(slice(draw(bounds), draw(bounds), draw(st.none() | st.integers(1, 3))))
        elif kind == "int":
            items.append(draw(st.integers(-n, n - 1)))
        elif kind == "list":
            items.append(torch.tensor(draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=4))))
        else:
            items.append(torch.tensor(draw(st.lists(st.booleans(), min_size=n, max_size=n))))
    items = items[: draw(st.integers(1, len(items)))]
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), Ellipsis)
    return tuple(items)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(INPUTS)))
def test_any_index(data, kind):
    make, sources = INPUTS[kind]
    index = data.draw(index_expressions(make(0).shape))
    try:
        make(0).as_subclass(torch.Tensor)[index]
    except IndexError:
        with pytest.raises(IndexError):
            make(0)[index]
        return
    check(make, lambda t: t[index], sources)


STEPS = {
    "flip": lambda t, a, b, n: t.flip(a),
    "swap": lambda t, a, b, n: t.transpose(a, b),
    "rotate": lambda t, a, b, n: t.rot90(n, (a, b)) if a != b else t,
    "step": lambda t, a, b, n: t.index_select(a, torch.arange(0, t.shape[a], n + 1)),
    "cut": lambda t, a, b, n: t.narrow(a, min(n, t.shape[a] - 1), t.shape[a] - min(n, t.shape[a] - 1)),
    "pad": lambda t, a, b, n: F.pad(t, [n if k == a % 3 else 0 for k in range(3) for _ in "xx"], value=torch.nan),
    "unsqueeze": lambda t, a, b, n: t.unsqueeze(0) if t.ndim < 6 else t,
    "squeeze": lambda t, a, b, n: t.squeeze(a),
    "stack": lambda t, a, b, n: torch.stack([t, t.flip(-1)]) if t.ndim < 6 and 2 not in t.shape[-3:] else t,
    "pick": lambda t, a, b, n: t[n % len(t)] if t.ndim else t,
    "roll": lambda t, a, b, n: t.roll(n, a),
    "cat": lambda t, a, b, n: torch.cat([t, t], a),
    "split": lambda t, a, b, n: t.split(n + 1, a)[-1],
    "flatten": lambda t, a, b, n: t.flatten(0, 1) if t.ndim > 4 else t,
    "reshape": lambda t, a, b, n: t.reshape(-1, *t.shape[-3:]) if t.ndim > 3 else t,
    "resize": lambda t, a, b, n: F.interpolate(
        t.reshape(-1, 1, *t.shape[-3:]), [size + n for size in t.shape[-3:]], mode="trilinear", align_corners=True
    ),
}


@settings(max_examples=400, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(-3, 2), st.integers(-3, 2), st.integers(0, 3)), max_size=6
    )
)
def test_any_chain_of_operations(steps):
    def chain(t):
        for name, a, b, n in steps:
            if t.numel() > 50_000:
                break
            try:
                t = STEPS[name](t, a, b, n)
            except (IndexError, RuntimeError):
                continue
        return t

    check(volume, chain, [BIG], atol=1e-6)


# The check itself ----------------------------------------------------------------------------------------------------


class Recorder(dict):
    """The table, noting which rules are looked up."""

    used = frozenset()

    def get(self, func, default=None):
        rule = super().get(func, default)
        self.used |= {rule}
        return rule


def cases():
    """Every (make, operate, sources, kept) of the tables above."""
    for operate, stays in OPERATIONS.values():
        for (make, sources), stay in zip(INPUTS.values(), stays or "", strict=bool(stays)):
            yield make, operate, sources, stay == "1"
    for operate, kept in RESAMPLING.values():
        yield volume, operate, [BIG], kept
    pools = [(F.max_pool1d, 2), (F.max_pool2d, 2), (F.lp_pool1d, 2, 2), (F.lp_pool2d, 2, 2)]
    for pool, *sizes in pools:
        yield volume, lambda t, pool=pool, sizes=sizes: pool(t, *sizes), [], True
    for pool, *sizes in [(F.max_pool3d, 2), (F.lp_pool3d, 2, 2)]:
        yield volume, lambda t, pool=pool, sizes=sizes: pool(five(t), *sizes), [], True
    yield volume, lambda t: t.new_zeros(t.shape), [], True


@pytest.fixture(scope="module")
def users():
    """For each rule, the cases that use it."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for case in cases():
            recorder = Recorder(rules.RULES)
            patch.setattr(rules, "RULES", recorder)
            check(*case)
            for rule in recorder.used:
                found.setdefault(rule, []).append(case)
    return found


RULE_NAMES = {
    rule: f"{rule.__qualname__} for {func}" for func, rule in rules.RULES.items() if rule is not rules.loses_grid
}


@pytest.mark.parametrize("rule", RULE_NAMES, ids=[name.split(" at ")[0] for name in RULE_NAMES.values()])
def test_the_check_fails_when_a_rule_is_removed(rule, users, monkeypatch):
    without = {func: rules.loses_grid if r is rule else r for func, r in rules.RULES.items()}
    monkeypatch.setattr(rules, "RULES", without)
    for case in users.get(rule, ()):
        try:
            check(*case)
        except AssertionError:
            return
    pytest.fail("no case notices that this rule is gone")


# Guards --------------------------------------------------------------------------------------------------------------


def test_a_geometry_for_another_shape_is_not_shown():
    t = volume(0)
    t._grid = LOPSIDED
    assert t.geometry is None


def test_the_table_names_operations_that_exist():
    assert len(rules.RULES) > 150
    assert all(callable(func) for func in rules.RULES)


@pytest.mark.parametrize("name", ["sort", "gather", "unfold", "matmul", "einsum", "masked_scatter"])
def test_operations_outside_the_table_are_found_to_have_no_rule(name):
    rule = rules.RULES.get(getattr(torch, name, None)) or rules._find_rule(
        getattr(torch.Tensor, name, None) or getattr(torch, name)
    )
    assert rule is rules.loses_grid


def test_one_function_attaches_the_grid():
    code = "".join(path.read_text(encoding="utf-8") for path in Path(faimed3d.__file__).parent.rglob("*.py"))
    assert len(re.findall(r"\._grid = ", code)) == 1
