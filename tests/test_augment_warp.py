"""Warps against SimpleITK and against their definition, voxel by voxel."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from augment_blobs import ANISOTROPIC, SIZE, blob, centroid, frames, positions, warped
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from transforms import plain

from faimed3d.augment import (
    RandomDihedral3D,
    RandomFlip3D,
    RandomRotate3D,
    RandomRotate3DBy,
)
from faimed3d.augment.warp import Warp, affine_matrix, apply_warp, sample_3d, sampling_grid, spatial_frame
from faimed3d.geometry import Geometry
from faimed3d.spatial.rotations import rotate_3d
from faimed3d.volume import TensorDicom3D

ANGLES = st.floats(-40, 40)


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
        p = positions(geometry)
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


class TestExactTurns:
    @given(st.integers(0, 10**6))
    @settings(max_examples=15, deadline=None)
    def test_equal_the_resampling_of_the_same_matrix(self, seed):
        torch.manual_seed(seed)
        geometry = Geometry((6, 6, 6), spacing=(2, 2, 2))
        matrix = RandomDihedral3D().draw_warp([geometry]).matrix
        image = torch.rand(1, 1, 6, 6, 6)
        grid = sampling_grid((6, 6, 6), frames(geometry), Warp.of(1, matrix=matrix))
        torch.testing.assert_close(sample_3d(image, grid), rotate_3d(image, matrix[0]), atol=1e-5, rtol=0)

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
            rotate_3d(torch.zeros(2, 3, 4), affine_matrix([(90, 0, 0)])[0].round())
