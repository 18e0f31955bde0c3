"""Random spatial transforms: image and mask alike, one resampling, nothing folded."""

import numpy as np
import pytest
import torch
from augment_blobs import ANISOTROPIC, SIZE, blob, frames, warped
from hypothesis import given, settings
from hypothesis import strategies as st
from transforms import plain

from faimed3d.augment import (
    RandomAffine3D,
    RandomCrop3D,
    RandomElastic3D,
    RandomFlip3D,
    RandomPerspective3D,
    RandomRotate3DBy,
    RandomSpatial3D,
    RandomTrapezoid3D,
    RandomWarp3D,
)
from faimed3d.augment import warp as warp_module
from faimed3d.augment.warp import Warp, affine_matrix, apply_warp, sample_3d, sampling_grid
from faimed3d.spatial.axis_matrices import spline_matrix
from faimed3d.volume import TensorDicom3D, TensorMask3D


class TestElastic:
    def test_splines_add_up_to_one_and_reproduce_straight_lines(self):
        weights = spline_matrix(9, 6).double().numpy()
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        lattice = np.linspace(-1 - 2 / 3, 1 + 2 / 3, 6)
        np.testing.assert_allclose(weights @ lattice, (np.arange(9) * 2 + 1) / 9 - 1, atol=1e-6)

    @given(st.integers(0, 10**6))
    @settings(max_examples=5, deadline=None)
    def test_never_folds_space(self, seed):
        torch.manual_seed(seed)
        warp = RandomElastic3D(1, max_displacement=1000, control_points=(4, 5, 7)).draw_warp([ANISOTROPIC])
        grid = sampling_grid(SIZE, frames(ANISOTROPIC), warp)[0].double().numpy()
        jacobian = np.stack([np.stack(np.gradient(grid[..., k]), -1) for k in (2, 1, 0)], -1)
        assert np.linalg.det(jacobian).min() > 0

    def test_displacement_is_held_below_what_could_fold(self):
        torch.manual_seed(0)
        warp = RandomElastic3D(1, max_displacement=1000, control_points=(4, 5, 7)).draw_warp([ANISOTROPIC] * 9)
        largest = warp.displacement.abs().amax((0, 2, 3, 4))
        between = np.array([32 * 1 / 4, 26 * 1.5 / 2, 20 * 2.5 / 1])  # mm from one control point to the next
        assert (largest.numpy() <= 0.4 * between).all()
        assert (largest.numpy() > 0.38 * between).all()

    def test_displacement_is_held_to_its_mm(self):
        torch.manual_seed(0)
        warp = RandomElastic3D(1, max_displacement=(1, 2, 0)).draw_warp([ANISOTROPIC] * 4)
        x, y, z = warp.displacement.abs().amax((0, 2, 3, 4)).tolist()
        assert x == 0
        assert 1.8 < y <= 2
        assert 0.9 < z <= 1

    def test_needs_four_control_points(self):
        with pytest.raises(ValueError, match=r"control_points must be one whole number or three .*, at least 4, got 3"):
            RandomElastic3D(control_points=3)


class NearestImage(TensorDicom3D):
    """An image that is interpolated as a mask is."""

    interpolation = "nearest"


class TestImageAndMask:
    @given(st.integers(0, 10**6))
    @settings(max_examples=10, deadline=None)
    def test_get_the_same_draw(self, seed):
        torch.manual_seed(seed)
        labels = torch.randint(0, 5, (2, *SIZE))
        mask, image = TensorMask3D(labels), NearestImage(labels[:, None].float())
        for transform in (
            RandomSpatial3D(RandomAffine3D(0.7), RandomElastic3D(0.7), RandomFlip3D(), RandomPerspective3D(0.5)),
            RandomCrop3D((5, 30, 7), labels=3),
        ):
            moved_image, moved_mask = transform((image, mask), split_idx=0)
            assert torch.equal(plain(moved_image)[:, 0].long(), plain(moved_mask))

    def test_a_smooth_mask_stays_on_its_image(self):
        image = TensorDicom3D(blob(ANISOTROPIC, (2, 3, -4), 7), ANISOTROPIC)
        mask = TensorMask3D((plain(image) > 0.5).long(), ANISOTROPIC)
        torch.manual_seed(1)
        image, mask = RandomSpatial3D(RandomAffine3D(1), RandomElastic3D(1))((image, mask), split_idx=0)
        overlap = ((plain(image) > 0.5) & (plain(mask) == 1)).sum() / (plain(mask) == 1).sum()
        assert overlap > 0.9

    def test_outside_is_the_minimum_of_each_channel_and_background(self):
        image = torch.rand(2, *SIZE) + torch.tensor([-1000.0, 5]).view(2, 1, 1, 1)
        mask = torch.ones(SIZE, dtype=torch.long)
        transform = RandomAffine3D(1, degrees=0, scale=(0.3, 0.3))
        moved, labels = transform((TensorDicom3D(image), TensorMask3D(mask)), split_idx=0)
        assert moved[:, 0, 0, 0].tolist() == image.amin((1, 2, 3)).tolist()
        assert labels[0, 0, 0] == 0
        assert labels[10, 13, 16] == 1

    def test_outside_can_be_a_number_or_the_edge(self):
        image, mask = TensorDicom3D(torch.ones(SIZE)), TensorMask3D(torch.ones(SIZE))
        shrink = {"p": 1, "degrees": 0, "scale": (0.3, 0.3)}
        moved, labels = RandomAffine3D(**shrink, fill=-7)((image, mask), split_idx=0)
        assert (moved[0, 0, 0], labels[0, 0, 0]) == (-7, 0)
        for fill in ("edge", "reflect"):
            moved, labels = RandomAffine3D(**shrink, fill=fill)((image, mask), split_idx=0)
            assert torch.allclose(plain(moved), torch.ones(SIZE))
            assert (plain(labels) == 1).all()
        with pytest.raises(ValueError, match=r"fill must be a number, None, 'edge' or 'reflect', got 'wrap'"):
            sample_3d(torch.ones(1, 1, *SIZE), torch.zeros(1, *SIZE, 3), fill="wrap")

    @pytest.mark.parametrize("fill", ["wrap", (0, 1)])
    def test_a_fill_that_is_none_is_refused_before_training(self, fill):
        for build in (RandomAffine3D, RandomElastic3D, RandomWarp3D, RandomSpatial3D):
            with pytest.raises(ValueError, match="fill must be a number, None, 'edge' or 'reflect', got"):
                build(fill=fill)

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int64, torch.float32])
    def test_labels_keep_type_and_large_values(self, dtype):
        label = 2**24 + 1 if dtype == torch.int64 else 1
        mask = TensorMask3D(torch.full(SIZE, label, dtype=dtype))
        moved = RandomAffine3D(1)(mask, split_idx=0)
        assert moved.dtype == dtype
        assert set(plain(moved).unique().tolist()) <= {0, label}

    def test_nan_and_infinity_do_not_reach_the_outside(self):
        image = torch.zeros(SIZE)
        image[0, 0, 0], image[10, 13, 16] = -torch.inf, torch.nan
        moved = plain(RandomAffine3D(1, degrees=0, scale=(0.5, 0.5))(TensorDicom3D(image), split_idx=0))
        assert moved[0, 0, 0] == 0
        assert moved.isnan().sum() > 0
        assert moved.isnan().sum() < 30

    @pytest.mark.parametrize("dtype", [torch.float16, torch.int16, torch.float64])
    def test_images_of_other_types_are_interpolated(self, dtype):
        image = (torch.rand(SIZE) * 100).to(dtype)
        moved = RandomRotate3DBy(1)(TensorDicom3D(image), split_idx=0)
        assert moved.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)

    def test_of_different_size_are_refused(self):
        pair = TensorDicom3D(torch.zeros(4, 5, 6)), TensorMask3D(torch.zeros(4, 5, 7))
        with pytest.raises(ValueError, match=r"RandomAffine3D .* the same size: got \(4, 5, 6\) and \(4, 5, 7\)"):
            RandomAffine3D(1)(pair, split_idx=0)
        with pytest.raises(ValueError, match=r"RandomCrop3D .* the same size: got \[\(4, 5, 6\), \(4, 5, 7\)\]"):
            RandomCrop3D(2)(pair, split_idx=0)


class TestMergedTransforms:
    def test_need_one_resampling(self, monkeypatch):
        calls, grids = [], []
        sample, build = warp_module.sample_3d, warp_module.sampling_grid
        monkeypatch.setattr(warp_module, "sample_3d", lambda *args: calls.append(1) or sample(*args))
        monkeypatch.setattr(warp_module, "sampling_grid", lambda *args: grids.append(1) or build(*args))
        parts = RandomAffine3D(1), RandomElastic3D(1), RandomFlip3D(1), RandomWarp3D(1), RandomTrapezoid3D(1)
        pair = TensorDicom3D(torch.rand(SIZE)), TensorMask3D(torch.ones(SIZE))
        RandomSpatial3D(*parts)(pair, split_idx=0)
        assert len(calls) == 2  # the image and the mask
        assert len(grids) == 1  # for both

    def test_act_one_after_the_other(self):
        image = blob(ANISOTROPIC, (5, 2, -3))
        turn, flip = affine_matrix([(30, 0, 0)]), torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))[None]
        merged = Warp.of(1, matrix=turn, shift=[[1, 2, 3]]).then(Warp.of(1, matrix=flip))
        found = apply_warp(image[None, None], frames(ANISOTROPIC), merged)[0, 0]
        wanted = warped(image, ANISOTROPIC, matrix=turn[0], shift=(1, 2, 3)).flip(-1)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)

    def test_add_up_what_is_not_affine(self):
        terms = {"bend": (1, 3, 3), "taper": (1, 3, 3), "tilt": (1, 3)}
        one, two = ({name: torch.rand(shape) for name, shape in terms.items()} for _ in range(2))
        displacement = torch.rand(1, 3, 4, 4, 4, dtype=torch.float64)
        merged = Warp.of(1, **one).then(Warp.of(1, displacement=displacement, **two))
        for name in terms:
            torch.testing.assert_close(getattr(merged, name), (one[name].double() + two[name].double()))
        assert merged.displacement is displacement

    def test_leave_items_alone_that_no_part_was_drawn_for(self):
        torch.manual_seed(0)
        image = torch.rand(30, 1, 4, 5, 6)
        moved = plain(RandomSpatial3D(RandomAffine3D(0.3), RandomElastic3D(0.2))(TensorDicom3D(image), split_idx=0))
        same = sum(torch.equal(one, two) for one, two in zip(moved, image, strict=True))
        assert 8 < same < 25

    def test_errors(self):
        with pytest.raises(TypeError, match="parts must be random spatial transforms, got int"):
            RandomSpatial3D(3)
        with pytest.raises(ValueError, match="RandomSpatial3D takes one elastic part, got more"):
            RandomSpatial3D(RandomElastic3D(), RandomElastic3D())
        one = Warp.of(1, displacement=torch.zeros(1, 3, 4, 4, 4))
        with pytest.raises(ValueError, match="two elastic displacements cannot be merged"):
            one.then(one)


class TestSettings:
    def test_rotate_by_takes_one_angle_per_axis(self):
        torch.manual_seed(0)
        matrix = RandomRotate3DBy(1, degrees=(0, 0, 30)).draw_warp([ANISOTROPIC]).matrix[0]
        np.testing.assert_allclose(matrix[2], (0, 0, 1), atol=1e-12)  # about D: z stays
        assert matrix[0, 1] != 0
        with pytest.raises(ValueError, match=r"degrees must be one number or one for each axis of \(-1, -2, -3\)"):
            RandomRotate3DBy(degrees=(1, 2))

    def test_scale_is_even_in_both_directions(self):
        assert RandomAffine3D(scale=0.25).scale == (0.8, 1.25)
        assert RandomAffine3D(scale=(0.5, 3)).scale == (0.5, 3)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: RandomAffine3D(scale=(0, 1)), r"scale must be .* 0 < low <= high, got \(0, 1\)"),
            (
                lambda: RandomAffine3D(degrees=(1, 2)),
                r"degrees must be one number or three .*, at least 0, got \(1, 2\)",
            ),
            (
                lambda: RandomAffine3D(translate=-1),
                r"translate must be one number or three .*, at least 0, got -1",
            ),
            (lambda: RandomFlip3D(axis=(0,)), r"axis must be some of -1 \(W\), -2 \(H\) and -3 \(D\)"),
            (lambda: RandomPerspective3D(distortion_scale=0.5), r"distortion_scale must be in 0\.\.1/3, got 0\.5"),
            (lambda: RandomWarp3D(max_magnitude=1), r"max_magnitude must be in 0\.\.1, got 1"),
        ],
    )
    def test_errors(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()
