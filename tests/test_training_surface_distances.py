"""Distances between surfaces, against hand and brute force."""

import math

import fastai.callback.progress  # noqa: F401 - gives Learner no_bar
import numpy as np
import pytest
import torch

from faimed3d.basics import TensorMask3D
from faimed3d.training import (
    SurfaceDice,
    average_surface_distance,
    hausdorff_distance,
    surface_dice,
)
from faimed3d.training.surface_distances import _areas

SPACING = (0.5, 1.5, 3.0)  # x, y, z mm


def box(low, high, shape=(6, 8, 10)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def shell(mask):
    """Positions (z, y, x) in mm of the voxels that have one of six neighbours outside, one by one."""
    padded = np.pad(mask, 1)
    found = []
    for index in np.argwhere(mask):
        d, h, w = index + 1
        neighbours = [padded[d - 1, h, w], padded[d + 1, h, w], padded[d, h - 1, w], padded[d, h + 1, w]]
        if not all([*neighbours, padded[d, h, w - 1], padded[d, h, w + 1]]):
            found.append(index * SPACING[::-1])
    return np.array(found)


def nearest(points, others):
    return np.array([min(math.dist(point, other) for other in others) for point in points])


class TestAgainstBruteForce:
    @pytest.mark.parametrize("seed", range(4))
    def test_surface_of_voxels(self, seed):
        random = np.random.default_rng(seed)
        a, b = (random.random((4, 5, 6)) < share for share in (0.3, 0.6))
        a[0], b[:, 0] = False, False
        there, back = nearest(shell(a), shell(b)), nearest(shell(b), shell(a))
        both = np.concatenate([there, back])
        voxels = {"surface": "voxels"}
        assert hausdorff_distance(a, b, SPACING, 100, **voxels) == pytest.approx(both.max())
        percentile = max(np.percentile(there, 95), np.percentile(back, 95))
        assert hausdorff_distance(a, b, SPACING, **voxels) == pytest.approx(percentile)
        assert average_surface_distance(a, b, SPACING, **voxels) == pytest.approx(both.mean())
        assert surface_dice(a, b, SPACING, 1.0, **voxels) == pytest.approx((both <= 1).mean())

    def test_surface_in_mm2_of_a_single_voxel(self):
        # round one voxel marching cubes draws an octahedron through the six points half a voxel away
        one, two = box((2, 3, 4), (3, 4, 5)), box((2, 3, 4), (3, 4, 7))
        x, y, z = (step / 2 for step in SPACING)
        face = 0.5 * math.sqrt((x * y) ** 2 + (y * z) ** 2 + (z * x) ** 2)
        # two voxels farther on the far end of the other is 1 mm away, and the near half of its own surface 0 mm
        assert surface_dice(one, two, SPACING, 0.49) < 1
        assert hausdorff_distance(one, two, SPACING, 100) == pytest.approx(2 * SPACING[0])
        assert _areas(np.pad(one, 1), SPACING[::-1]).sum() == pytest.approx(8 * face, rel=1e-5)


@pytest.mark.parametrize("surface", ["area", "voxels"])
class TestByHand:
    @pytest.mark.parametrize(("axis", "step"), [(0, 3.0), (1, 1.5), (2, 0.5)])
    def test_a_longer_box_is_as_far_off_as_it_is_longer(self, surface, axis, step):
        high = [4, 5, 6]
        longer = list(high)
        longer[axis] += 2
        a, b = box((1, 1, 1), high), box((1, 1, 1), longer)
        assert hausdorff_distance(a, b, SPACING, 100, surface=surface) == pytest.approx(2 * step)
        assert hausdorff_distance(b, a, SPACING, 100, surface=surface) == pytest.approx(2 * step)
        assert surface_dice(a, b, SPACING, 2 * step, surface=surface) == 1
        assert 0 < surface_dice(a, b, SPACING, step / 2, surface=surface) < 1
        assert 0 < average_surface_distance(a, b, SPACING, surface=surface) < 2 * step

    def test_a_mask_is_no_distance_from_itself_wherever_it_lies(self, surface):
        whole = np.ones((2, 3, 4), bool)
        for mask in (whole, box((0, 0, 0), (1, 1, 1)), box((5, 7, 9), (6, 8, 10))):
            assert hausdorff_distance(mask, mask, SPACING, surface=surface) == 0
            assert average_surface_distance(mask, mask, SPACING, surface=surface) == 0
            assert surface_dice(mask, mask, SPACING, 0, surface=surface) == 1

    def test_empty_masks_have_the_stated_values(self, surface):
        some, none = box((1, 1, 1), (2, 2, 2)), np.zeros((6, 8, 10), bool)
        for a, b in ((some, none), (none, some)):
            assert hausdorff_distance(a, b, SPACING, surface=surface) == math.inf
            assert average_surface_distance(a, b, SPACING, surface=surface) == math.inf
            assert surface_dice(a, b, SPACING, 9, surface=surface) == 0
        assert math.isnan(hausdorff_distance(none, none, SPACING, surface=surface))
        assert math.isnan(average_surface_distance(none, none, SPACING, surface=surface))
        assert math.isnan(surface_dice(none, none, SPACING, 9, surface=surface))

    def test_tensors_are_as_good_as_arrays(self, surface):
        a, b = box((1, 1, 1), (4, 5, 6)), box((1, 1, 2), (4, 5, 8))
        expected = average_surface_distance(a, b, SPACING, surface=surface)
        made = TensorMask3D(torch.tensor(a).float()), torch.tensor(b).int() * 3
        assert average_surface_distance(*made, SPACING, surface=surface) == expected


class TestErrors:
    def test_name_what_is_wrong(self):
        a = box((1, 1, 1), (2, 2, 2))
        with pytest.raises(ValueError, match=r"two masks \(D, H, W\) of one shape, got \(6, 8, 10\) and \(5, 8, 10\)"):
            surface_dice(a, a[1:], SPACING, 1)
        with pytest.raises(ValueError, match=r"spacing must be three positive numbers .* got \(1.0, 2.0\)"):
            surface_dice(a, a, (1, 2), 1)
        with pytest.raises(ValueError, match="surface must be 'area' or 'voxels', got 'skin'"):
            surface_dice(a, a, SPACING, 1, surface="skin")
        with pytest.raises(TypeError, match="SurfaceDice takes no argument missing: a class that only"):
            SurfaceDice(1, missing=3)
