"""Labels on another grid: by the nearest voxel, by what a voxel holds; and what is lost is said."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.augment import Resample3D, ResampleLike, Resize3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import MatchMask
from faimed3d.masks.labels import label_counts
from faimed3d.spatial import partial_volumes

OBLIQUE = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)


def vessel(line):
    mask = torch.zeros(30, 30, 30, dtype=torch.uint8)
    mask[:, 16, line] = 1
    return TensorMask3D(mask, Geometry(mask.shape, (0.5, 0.5, 0.5), (3, -4, 5), OBLIQUE))


@pytest.mark.parametrize("line", [12, 13, 14, 15])
def test_a_vessel_stays(line):
    fine = vessel(line)
    assert fine.resample((1.5, 1.5, 1.5), labels="present").sum() == 10
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        left = fine.resample((1.5, 1.5, 1.5))
    found = line == 13  # by the nearest voxels: three times as thick
    assert left.sum() == (10 if found else 1)  # 30 voxels of 0.125 mm3 are 1.1 of 3.375
    assert len(said) == (not found)
    assert all("hold nothing of label 1, which keeps its volume" in str(w.message) for w in said)
    with pytest.warns(UserWarning, match="no voxel is left of label 1"):  # a ninth of each voxel
        assert fine.resample((1.5, 1.5, 1.5), labels="linear").sum() == 0


@pytest.mark.filterwarnings("ignore:.*hold nothing of label")
@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*3 * [st.sampled_from([0.4, 1, 1.7, 2.5, 4])]),
    st.lists(st.tuples(*(st.sampled_from([0, n - 1]) for n in (7, 9, 11))), min_size=1, max_size=8, unique=True),
    st.sampled_from([torch.uint8, torch.int64, torch.float32]),
    st.booleans(),
)
def test_no_label_in_view_is_lost(factors, positions, dtype, resize):
    labels = torch.zeros(7, 9, 11, dtype=dtype)
    for label, position in enumerate(positions, 1):
        labels[position] = label
    mask = TensorMask3D(labels, Geometry(labels.shape, (1, 2, 3), (5, -6, 7), OBLIQUE))
    if resize:
        small = mask.resize_3d_tensor(
            [max(2, round(n / factor)) for n, factor in zip(mask.shape, factors, strict=True)]
        )
    else:
        small = mask.resample([mm * factor for mm, factor in zip((1, 2, 3), factors, strict=True)])
    assert small.dtype == dtype
    assert set(label_counts(small)) - {0} == set(range(1, len(positions) + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3, (1, 2, 3)]))
def test_linear_is_the_majority_of_each_block(seed, factor):
    """Against counting the voxels of each block with numpy."""
    steps = (factor,) * 3 if isinstance(factor, int) else factor
    size = (2, 3, 2)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, [n * k for n, k in zip(size, steps, strict=True)]).astype(np.uint8)
    mask = TensorMask3D(labels, Geometry(labels.shape, (1, 2, 3), (5, -6, 7), OBLIQUE))
    target = mask.geometry.regrid(size, steps, [(k - 1) / 2 for k in steps])
    blocks = labels.reshape(size[0], steps[0], size[1], steps[1], size[2], steps[2])
    counts = np.stack([(blocks == k).mean((1, 3, 5)) for k in range(3)])
    found = partial_volumes(mask, target)
    for label, share in found.items():
        np.testing.assert_allclose(share, counts[label], atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linear, present = (mask.resample_like(target, labels=mode).numpy() for mode in ("linear", "present"))
    most = counts.max(0)
    np.testing.assert_allclose(np.take_along_axis(counts, linear[None].astype(int), 0)[0], most, atol=1e-5)
    assert ((present != 0) == (counts[1:].max(0) > 0)).all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32])
@pytest.mark.parametrize("mode", ["linear", "present"])
def test_type_geometry_and_batches_stay(dtype, mode):
    mask = torch.zeros(2, 4, 6, 8)
    mask[:, 1:3, 2:4, 3:7] = 1
    mask = TensorMask3D(mask.to(dtype), Geometry((4, 6, 8), (1, 2, 3)))
    found = mask.resample((1, 2, 3), labels=mode)
    assert torch.equal(found, mask)
    turned = mask.resample_like(mask.flip(-1).permute(0, 3, 1, 2), labels=mode)
    assert torch.equal(turned.reorient("LPS"), mask)
    assert turned.dtype == dtype
    finer = mask.resample_like(mask.geometry.regrid((8, 12, 16), (0.5,) * 3, (-0.25,) * 3), labels=mode)
    volume = mask[0].calc_volume()["class 1"]
    assert finer[0].calc_volume()["class 1"] == pytest.approx(volume, rel=0.1 if mode == "linear" else 1.5)


@pytest.mark.parametrize("mode", ["linear", "present"])
def test_outside_is_the_given_value(mode):
    mask = TensorMask3D(torch.ones(2, 3, 4, dtype=torch.uint8), Geometry((2, 3, 4), (1, 2, 3)))
    wide = mask.resample_like(mask.geometry.regrid((4, 3, 4), offset=(-1, 0, 0)), value=7, labels=mode)
    assert wide[:, 0, 0].tolist() == [7, 1, 1, 7]


@pytest.mark.parametrize("transform", [Resample3D((1.5, 1.5, 1.5), labels="present"), Resize3D(10, labels="present")])
def test_transforms_take_the_mode(transform):
    image, mask = transform((TensorDicom3D(vessel(13).float().numpy(), vessel(13).geometry), vessel(13)))
    assert mask.shape == image.shape == (10, 10, 10)
    assert (mask.flatten(1).sum(1) > 0).all()


def test_masks_may_come_onto_their_images_by_what_voxels_hold():
    image = TensorDicom3D(torch.zeros(10, 10, 10), vessel(13).geometry.regrid((10, 10, 10), (3,) * 3, (1,) * 3))
    _, matched = MatchMask("present")((image, vessel(13)))
    assert matched.sum() == 10
    _, like = ResampleLike(labels="present")((image, vessel(13)))
    assert torch.equal(like, matched)


@pytest.mark.parametrize("kind", [TensorDicom3D, TensorMask3D])
def test_what_lies_apart_is_refused(kind):
    here = kind(torch.ones(2, 3, 4), Geometry((2, 3, 4), (1, 2, 3), direction=OBLIQUE))
    there = here.geometry.regrid((2, 3, 4), offset=(2, 0, 0))
    for call in (here.resample_like, lambda grid: ResampleLike(grid)(here)):
        with pytest.raises(ValueError, match=rf"this {kind.__name__} lies apart from the grid.*lost its origin"):
            call(there)
    assert here.resample_like(here.geometry.regrid((2, 3, 4), offset=(1, 0, 0))).shape == (2, 3, 4)


def test_labels_that_are_cut_off_are_said():
    mask = torch.zeros(2, 3, 4, dtype=torch.uint8)
    mask[0], mask[1] = 1, 5
    mask = TensorMask3D(mask, Geometry((2, 3, 4), (1, 2, 3)))
    with pytest.warns(UserWarning, match="resample_like: no voxel is left of label 5"):
        assert set(label_counts(mask.resample_like(mask[:1].geometry))) == {1}
    with pytest.warns(UserWarning, match="resize_3d_tensor: no voxel is left of label 5"):
        mask.resize_3d_tensor((1, 3, 4))


def test_errors():
    for call in (lambda: vessel(3).resample(1, labels="majority"), lambda: Resize3D(4, labels="majority")):
        with pytest.raises(ValueError, match="labels must be one of 'nearest', 'linear', 'present', got 'majority'"):
            call()
    with pytest.raises(ValueError, match="labels must be one of"):
        MatchMask("majority")
