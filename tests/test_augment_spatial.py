"""Warps against independent answers, exact turns, crops and sizes with their geometry."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from coordinates import LOPSIDED, check, world
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from faimed3d.augment import (
    Pad3D,
    PadOrCrop3D,
    RandomAffine3D,
    RandomCrop3D,
    RandomDihedral3D,
    RandomElastic3D,
    RandomFlip3D,
    RandomPerspective3D,
    RandomRotate3D,
    RandomRotate3DBy,
    RandomSpatial3D,
    RandomTrapezoid3D,
    RandomWarp3D,
    Reorient3D,
    Resample3D,
    ResampleLike,
    Resize3D,
    ResizeCrop3D,
)
from faimed3d.augment import warp as warp_module
from faimed3d.augment.random_crop import crop_at, find_label_voxel
from faimed3d.augment.warp import Warp, affine_matrix, apply_warp, sample_3d, sampling_grid, spatial_frame
from faimed3d.geometry import Geometry
from faimed3d.spatial.rotations import turn_3d
from faimed3d.spatial.smoothing import spline_matrix
from faimed3d.volume import TensorDicom3D, TensorMask3D

SIZE = (20, 26, 32)
ANISOTROPIC = Geometry(SIZE, spacing=(1, 1.5, 2.5), origin=(3, -4, 5))
ANGLES = st.floats(-40, 40)


def plain(t):
    return t.as_subclass(torch.Tensor)


def places(geometry):
    """Place of each voxel in mm from the centre, along (x, y, z): (D, H, W, 3)."""
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(geometry.shape, geometry.spacing[::-1], strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)[..., ::-1]


def blob(geometry, centre, width=3.0):
    """A Gaussian ball of ``width`` mm at ``centre`` (x, y, z) mm from the centre of the volume."""
    return torch.from_numpy(np.exp(-(((places(geometry) - centre) / width) ** 2).sum(-1) / 2)).float()


def centroid(image, geometry):
    weights = image.double().numpy()[..., None]
    return (places(geometry) * weights).sum((0, 1, 2)) / weights.sum()


def frames(*geometries):
    return torch.stack([spatial_frame(geometry) for geometry in geometries])


def warped(image, geometry, interpolation="linear", fill=None, **terms):
    terms = {name: torch.as_tensor(value, dtype=torch.float64)[None] for name, value in terms.items()}
    return apply_warp(image[None, None], frames(geometry), Warp.of(1, **terms), interpolation, fill)[0, 0]


class TestAffineMatrix:
    @pytest.mark.parametrize(
        ("degrees", "source", "target"),
        [((90, 0, 0), (1, 0, 0), (0, 1, 0)), ((0, 90, 0), (0, 0, 1), (1, 0, 0)), ((0, 0, 90), (0, 1, 0), (0, 0, 1))],
    )
    def test_turns_right_handed_about_d_h_w(self, degrees, source, target):
        moved = affine_matrix([degrees])[0].numpy() @ source
        np.testing.assert_allclose(moved, target, atol=1e-12)

    def test_scale_and_shear_are_in_the_order_of_the_axes(self):
        np.testing.assert_allclose(affine_matrix([(0, 0, 0)], [(2, 3, 4)])[0], np.diag([4, 3, 2]))
        shear = np.zeros((1, 3, 3))
        shear[0, 0, 2] = 0.5  # D moves along with W
        np.testing.assert_allclose(affine_matrix([(0, 0, 0)], shear=shear)[0].numpy() @ (1, 0, 0), (1, 0, 0.5))

    @given(st.tuples(ANGLES, ANGLES, ANGLES))
    @settings(max_examples=20, deadline=None)
    def test_rotations_are_rotations(self, degrees):
        matrix = affine_matrix([degrees])[0].numpy()
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)


class TestWorldAwareness:
    @given(st.tuples(ANGLES, ANGLES, ANGLES))
    @settings(max_examples=12, deadline=None)
    def test_a_rotation_keeps_distances_in_mm_on_anisotropic_voxels(self, degrees):
        one, two = np.array([6.0, -3, 4]), np.array([-4.0, 5, -6])
        matrix = affine_matrix([degrees])[0]
        ends = []
        for start in (one, two):
            image = warped(blob(ANISOTROPIC, start, 2.5), ANISOTROPIC, matrix=matrix)
            ends.append(centroid(image, ANISOTROPIC))
            np.testing.assert_allclose(ends[-1], matrix.numpy() @ start, atol=0.15)
        assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(np.linalg.norm(one - two), abs=0.2)

    def test_shift_is_in_mm(self):
        image = warped(blob(ANISOTROPIC, (0, 0, 0)), ANISOTROPIC, shift=(3, 4.5, -5))
        np.testing.assert_allclose(centroid(image, ANISOTROPIC), (3, 4.5, -5), atol=0.02)

    def test_agrees_with_simpleitk(self):
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(1, 1, 6, 6, 6, generator=generator)
        image = F.interpolate(coarse, SIZE, mode="trilinear")[0, 0]
        source = sitk.GetImageFromArray(image.numpy())
        source.SetSpacing(ANISOTROPIC.spacing)
        matrix, shift = affine_matrix([(20, -10, 7)], [(1.1, 0.9, 1.2)])[0], (2.0, -1.0, 3.0)
        transform = sitk.AffineTransform(3)
        inverse = np.linalg.inv(matrix.numpy())
        transform.SetMatrix(inverse.ravel().tolist())
        centre = (np.array(SIZE[::-1]) - 1) / 2 * ANISOTROPIC.spacing
        transform.SetCenter(centre.tolist())
        transform.SetTranslation((-inverse @ shift).tolist())
        wanted = sitk.GetArrayFromImage(sitk.Resample(source, source, transform, sitk.sitkLinear, -1.0))
        found = warped(image, ANISOTROPIC, matrix=matrix, shift=shift, fill=-1.0).numpy()
        inside = ndimage.binary_erosion(wanted > -0.5, iterations=2)
        assert inside.mean() > 0.3
        np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-4)

    def test_a_sheared_grid_is_turned_in_the_patient(self):
        tilt = np.radians(20)
        direction = (1, 0, 0, 0, 1, np.sin(tilt), 0, 0, np.cos(tilt))
        geometry = ANISOTROPIC.replace(direction=direction)
        frame = spatial_frame(geometry).numpy()
        np.testing.assert_allclose(frame.T @ frame, geometry.affine[:3, :3].T @ geometry.affine[:3, :3], atol=1e-9)
        assert (np.diag(frame) > 0).all()

    def test_items_of_a_batch_keep_their_own_spacing(self):
        other = ANISOTROPIC.replace(spacing=(2, 2, 1))
        matrix = affine_matrix([(25, 10, 0)] * 2)
        image = torch.rand(2, 1, *SIZE)
        both = apply_warp(image, frames(ANISOTROPIC, other), Warp.of(2, matrix=matrix))
        for i, geometry in enumerate((ANISOTROPIC, other)):
            torch.testing.assert_close(both[i, 0], warped(image[i, 0], geometry, matrix=matrix[i]))

    def test_geometry_of_the_tensor_is_used_and_stays(self):
        image = TensorDicom3D(blob(ANISOTROPIC, (6, 0, 0)), ANISOTROPIC)
        torch.manual_seed(0)
        turned = RandomRotate3DBy(1, degrees=30, axis=-2)(image, split_idx=0)
        assert turned.geometry == ANISOTROPIC
        assert np.linalg.norm(centroid(plain(turned), ANISOTROPIC)) == pytest.approx(6, abs=0.1)


class TestSamplingGrid:
    """Against the definition in the docstring of ``Warp``, voxel by voxel in float64."""

    @pytest.mark.parametrize("seed", range(3))
    def test_is_what_warp_says(self, seed):
        generator = torch.Generator().manual_seed(seed)
        geometry = Geometry((4, 5, 6), spacing=(1, 2, 3))

        def draw(*shape):
            return torch.rand(1, *shape, generator=generator, dtype=torch.float64) * 0.4 - 0.2

        terms = {"bend": draw(3, 3), "taper": draw(3, 3), "tilt": draw(3), "shift": draw(3) * 10}
        terms["taper"][0].fill_diagonal_(0)
        matrix = torch.eye(3, dtype=torch.float64) + draw(3, 3)
        constant = torch.tensor([0.5, -1, 2], dtype=torch.float64).view(1, 3, 1, 1, 1).expand(1, 3, 4, 5, 4)
        warp = Warp.of(1, matrix=matrix, displacement=constant, **terms)
        grid = sampling_grid(geometry.shape, frames(geometry), warp)[0].double().numpy()

        half = np.array([6, 5, 4]) * geometry.spacing / 2
        p = places(geometry)
        s = p / half
        wanted = (p - terms["shift"][0].numpy()) @ np.linalg.inv(matrix[0].numpy()).T
        wanted = (wanted + np.array([0.5, -1, 2])) / half
        wanted = wanted + (s**2 - 1 / 3) @ terms["bend"][0].numpy().T + s * (s @ terms["taper"][0].numpy().T)
        wanted = wanted / (1 + s @ terms["tilt"][0].numpy())[..., None]
        np.testing.assert_allclose(grid, wanted, atol=2e-6)

    def test_identity_gives_the_voxel_centres(self):
        grid = sampling_grid((2, 1, 4), frames(Geometry((2, 1, 4))), Warp.of(1))
        np.testing.assert_allclose(grid[0, 0, 0, :, 0], [-0.75, -0.25, 0.25, 0.75], atol=1e-7)
        assert grid[0, :, 0, 0, 1].abs().max() == 0


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


class TestExactTurns:
    @given(st.integers(0, 10**6))
    @settings(max_examples=15, deadline=None)
    def test_equal_the_resampling_of_the_same_matrix(self, seed):
        torch.manual_seed(seed)
        geometry = Geometry((6, 6, 6), spacing=(2, 2, 2))
        matrix = RandomDihedral3D().draw_warp([geometry]).matrix
        image = torch.rand(1, 1, 6, 6, 6)
        grid = sampling_grid((6, 6, 6), frames(geometry), Warp.of(1, matrix=matrix))
        torch.testing.assert_close(sample_3d(image, grid), turn_3d(image, matrix[0]), atol=1e-5, rtol=0)

    def test_flips_are_torch_flips(self):
        image = TensorDicom3D(torch.rand(2, 3, 4))
        for axis in (-1, -2, -3):
            flipped = RandomFlip3D(p=1, axis=axis)(image, split_idx=0)
            assert torch.equal(plain(flipped), plain(image).flip(axis))
            assert flipped.geometry == image.geometry

    def test_quarter_turns_are_true_rotations(self):
        image = TensorDicom3D(torch.rand(2, 5, 5))
        turned = [plain(image).rot90(k, (1, 2)) for k in (1, 2, 3)]
        seen = set()
        for seed in range(20):
            torch.manual_seed(seed)
            result = plain(RandomRotate3D(p=1)(image, split_idx=0))
            seen |= {k for k, wanted in enumerate(turned) if torch.equal(result, wanted)}
            assert any(torch.equal(result, wanted) for wanted in turned)
        assert seen == {0, 1, 2}

    @pytest.mark.parametrize("geometry", [Geometry((2, 4, 5)), Geometry((2, 4, 4), spacing=(1, 2, 1))])
    def test_planes_with_unequal_sides_are_only_turned_by_half(self, geometry):
        image = TensorDicom3D(torch.rand(geometry.shape), geometry)
        for seed in range(5):
            torch.manual_seed(seed)
            assert torch.equal(plain(RandomRotate3D(p=1)(image, split_idx=0)), plain(image).flip(1, 2))

    @pytest.mark.parametrize(
        ("geometry", "count"),
        [
            (Geometry((3, 3, 3)), 48),
            (Geometry((2, 3, 3)), 16),
            (Geometry((2, 3, 4)), 8),
            (Geometry((3, 3, 3), spacing=(1, 1, 2)), 16),
        ],
    )
    def test_dihedral_draws_every_symmetry_that_keeps_the_grid(self, geometry, count):
        torch.manual_seed(0)
        matrices = RandomDihedral3D().draw_warp([geometry] * 800).matrix
        assert len({tuple(matrix.flatten().tolist()) for matrix in matrices}) == count

    def test_a_turn_that_would_change_the_shape_is_refused(self):
        with pytest.raises(ValueError, match=r"would change the shape \(2, 3, 4\) to \(2, 4, 3\)"):
            turn_3d(torch.zeros(2, 3, 4), affine_matrix([(90, 0, 0)])[0].round())


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
        sample, build = F.grid_sample, warp_module.sampling_grid
        monkeypatch.setattr(F, "grid_sample", lambda *args, **kwargs: calls.append(1) or sample(*args, **kwargs))
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


class TestSizes:
    @pytest.mark.parametrize(
        ("transform", "shape"),
        [
            (Resize3D((4, 5, 2)), (4, 5, 2)),
            (Resize3D(scale_factor=(2, 1, 0.5)), (4, 3, 2)),
            (Resample3D(1.0), (6, 6, 4)),
            (PadOrCrop3D((1, 5, 3)), (1, 5, 3)),
            (Pad3D((1, 5, 3)), (2, 5, 4)),
            (ResizeCrop3D(((0, 0), (1, 0), (0, 1)), 3), (3, 3, 3)),
            (ResizeCrop3D((0.0, 0.0, 0.3), 3, perc_crop=True), (3, 3, 3)),
            (Reorient3D("RAS"), None),
            (RandomCrop3D((1, 2, 6)), (1, 2, 6)),
        ],
    )
    def test_keep_every_voxel_at_its_place(self, transform, shape):
        def run(t):
            torch.manual_seed(0)
            return transform(t, split_idx=0)

        result = run(world(LOPSIDED, 0))
        assert shape is None or result.shape == shape
        check(lambda axis: world(LOPSIDED, axis), run, [LOPSIDED], kept=True, atol=1e-4)

    def test_fill_images_with_their_minimum_and_masks_with_background(self):
        image, mask = TensorDicom3D(torch.full((2, 2, 2), -1000.0)), TensorMask3D(torch.ones(2, 2, 2))
        for transform in (Pad3D(4), PadOrCrop3D(4), RandomCrop3D(4)):
            padded, labels = transform((image, mask), split_idx=0)
            assert padded.min() == padded.max() == -1000
            assert labels.sum() == 8
        padded, labels = Pad3D(4, value=3)((image, mask))
        assert padded[0, 0, 0] == 3
        assert labels[0, 0, 0] == 0

    def test_resample_like_brings_the_mask_onto_the_image(self):
        image = TensorDicom3D(torch.zeros(4, 5, 6), Geometry((4, 5, 6), spacing=(1, 1, 2)))
        mask = TensorMask3D(torch.ones(8, 5, 3), Geometry((8, 5, 3), spacing=(2, 1, 1), origin=(0.5, 0, -0.5)))
        same, moved = ResampleLike()((image, mask))
        assert torch.equal(plain(same), plain(image))
        assert moved.geometry == image.geometry
        assert (plain(moved) == 1).all()
        assert type(moved) is TensorMask3D
        assert ResampleLike(image)(mask).geometry == image.geometry
        assert ResampleLike(image.geometry)(mask).shape == image.shape

    def test_resample_like_takes_a_file(self, tmp_path):
        image = TensorDicom3D(torch.zeros(4, 5, 6), Geometry((4, 5, 6), spacing=(1, 1, 2)))
        image.save(tmp_path / "a.nii.gz")
        assert ResampleLike(tmp_path / "a.nii.gz")(TensorDicom3D(torch.zeros(2, 2, 2))).shape == (4, 5, 6)

    def test_errors(self):
        with pytest.raises(ValueError, match="either size or scale_factor, got None and None"):
            Resize3D()
        with pytest.raises(ValueError, match=r"size must be one whole number or three .*, at least 1, got \(1, 2\)"):
            PadOrCrop3D((1, 2))
        with pytest.raises(ValueError, match=r"favour must be a probability in 0\.\.1, got 2"):
            RandomCrop3D(1, favour=2)
        with pytest.raises(TypeError, match="positional arguments"):
            RandomCrop3D((10, 20, 20), (2, 5, 5))  # margins and their range, as faimed3d 0.0.6 took them


class TestRandomCrop:
    def test_cuts_the_centre_in_validation_and_goes_on_at_random_in_training(self):
        image = TensorDicom3D(torch.arange(1000.0).view(10, 10, 10))
        crop = RandomCrop3D(4)
        assert torch.equal(plain(crop(image, split_idx=1)), plain(image)[3:7, 3:7, 3:7])
        assert len({crop(image, split_idx=0)[0, 0, 0].item() for _ in range(10)}) > 3

    def test_reaches_every_corner(self):
        torch.manual_seed(0)
        image = TensorDicom3D(torch.arange(8.0).view(2, 2, 2))
        assert {RandomCrop3D(1)(image, split_idx=0).item() for _ in range(100)} == set(range(8))

    def test_favours_labels_whatever_their_size(self):
        labels = torch.zeros(20, 20, 20, dtype=torch.long)
        labels[:9, :, :] = 2
        labels[17, 3, 11] = 5
        pair = TensorDicom3D(labels.float()), TensorMask3D(labels)
        torch.manual_seed(0)
        crop = RandomCrop3D(4, labels=(2, 5), favour=1)
        found = [set(crop(pair, split_idx=0)[1].unique().tolist()) for _ in range(60)]
        assert all(one & {2, 5} for one in found)
        assert 15 < sum(5 in one for one in found) < 45
        nowhere = RandomCrop3D(4, labels=9, favour=1)(pair, split_idx=0)
        assert nowhere[1].shape == (4, 4, 4)

    def test_draws_for_each_item_of_a_batch_and_keeps_their_places(self):
        torch.manual_seed(0)
        geometry = Geometry((8, 9, 10), spacing=(1, 2, 3))
        x = torch.stack([world(geometry, 2)[None]] * 4)
        mask = TensorMask3D(plain(x)[:, 0].clone())
        crop, labels = RandomCrop3D(3)((x, mask), split_idx=0)
        assert torch.equal(plain(crop)[:, 0], plain(labels))
        assert len({one.geometry.origin for one in crop}) > 1
        for one in crop:
            assert one[0, 0, 0, 0].item() == pytest.approx(one.geometry.origin[2])

    def test_functions(self):
        assert find_label_voxel(torch.eye(3)[None] * 4, (9, 4))[0] == 0
        assert find_label_voxel(torch.zeros(2, 2, 2), (1,)) is None
        assert torch.equal(crop_at(torch.arange(8).view(2, 2, 2), (1, 0, 1), (1, 2, 1)), torch.tensor([[[5], [7]]]))
