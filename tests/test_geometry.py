"""The geometry value: hand-computed places, SimpleITK and nibabel as independent answers, and its refusals."""

import dataclasses
import pickle

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from coordinates import LOPSIDED, OBLIQUE
from hypothesis import given
from hypothesis import strategies as st

from faimed3d.geometry import Geometry

numbers = st.floats(-500, 500, allow_nan=False)
rotations = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


def rotation(quaternion):
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@st.composite
def geometries(draw):
    direction = rotation(draw(rotations)) * draw(st.sampled_from([1, -1]))
    return Geometry(
        draw(st.tuples(*[st.integers(1, 5)] * 3)),
        draw(st.tuples(*[st.floats(0.1, 9)] * 3)),
        draw(st.tuples(numbers, numbers, numbers)),
        direction,
    )


def as_sitk(geometry):
    image = sitk.Image(geometry.shape[::-1], sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


class TestPlaces:
    def test_by_hand(self):
        g = Geometry((2, 3, 4), spacing=(1, 2, 3), origin=(10, 20, 30), direction=(0, -1, 0, 1, 0, 0, 0, 0, 1))
        # x index 1 moves 1 mm along the first column (0, 1, 0), y index 2 moves 4 mm along (-1, 0, 0), z 1 moves 3 mm
        np.testing.assert_allclose(g.index_to_world((1, 2, 1)), (10 - 4, 20 + 1, 30 + 3))
        np.testing.assert_allclose(g.world_to_index((6, 21, 33)), (1, 2, 1))

    @given(geometries(), st.tuples(*[st.floats(-3, 8)] * 3))
    def test_as_simpleitk(self, g, index):
        expected = as_sitk(g).TransformContinuousIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(g.index_to_world(index), expected, atol=1e-6)
        np.testing.assert_allclose(g.world_to_index(g.index_to_world(index)), index, atol=1e-6)

    @given(geometries())
    def test_affine_there_and_back(self, g):
        again = Geometry.from_affine(g.affine, g.shape)
        assert again.distance(g) < 1e-6
        assert again.spacing == pytest.approx(g.spacing)

    def test_many_points_at_once(self):
        points = LOPSIDED.index_to_world(np.zeros((5, 2, 3)))
        assert points.shape == (5, 2, 3)
        np.testing.assert_allclose(points[4, 1], LOPSIDED.origin)


class TestApart:
    @given(geometries(), geometries(), st.tuples(*[st.floats(-12, 12)] * 3))
    def test_no_place_of_the_one_is_in_the_other(self, one, other, shift):
        other = other.replace(origin=tuple(np.add(one.origin, shift)))
        if one.lies_apart(other):
            assert other.lies_apart(one)
            places = np.stack(np.meshgrid(*(np.linspace(-0.49, n - 0.51, 9) for n in other.shape)), -1).reshape(-1, 3)
            inside = one.world_to_index(other.index_to_world(places))
            assert not ((inside > -0.49) & (inside < np.array(one.shape) - 0.51)).all(1).any()

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_neighbours_are_apart_and_what_reaches_one_voxel_in_is_not(self, axis):
        geometry, step = LOPSIDED, [0, 0, 0]
        step[axis] = geometry.shape[axis]
        assert geometry.lies_apart(geometry.regrid(geometry.shape, offset=[1.001 * n for n in step]))
        step[axis] -= 1
        assert not geometry.lies_apart(geometry.regrid(geometry.shape, offset=step))

    def test_edges_that_pass_each_other_are_apart_though_no_face_says_so(self):
        # long bars at right angles, one turned about its own length: edge faces edge
        turn = np.cos(np.pi / 4)
        one = Geometry((1, 1, 9), direction=(1, 0, 0, 0, turn, -turn, 0, turn, turn), origin=(-4, 0, 0))
        other = Geometry((1, 9, 1), direction=(turn, 0, turn, 0, 1, 0, -turn, 0, turn), origin=(0, -4, 0))
        for gap, apart in ((1.40, False), (1.43, True)):  # half a diagonal of each: 1.414
            moved = other.replace(origin=(*np.add(other.origin, (0, 0, gap)),))
            assert one.lies_apart(moved) == moved.lies_apart(one) == apart


class TestNearestOrthogonal:
    def test_a_grid_with_right_angles_stays(self):
        assert LOPSIDED.nearest_orthogonal() is LOPSIDED

    def test_the_nearest_one_has_right_angles_and_the_same_handedness(self):
        direction = np.reshape(LOPSIDED.direction, (3, 3)).copy()
        direction[:, 2] = -direction[:, 2] + 0.05 * direction[:, 0]
        sheared = LOPSIDED.replace(direction=tuple((direction / np.linalg.norm(direction, axis=0)).ravel()))
        nearest = np.reshape(sheared.nearest_orthogonal().direction, (3, 3))
        np.testing.assert_allclose(nearest.T @ nearest, np.eye(3), atol=1e-12)
        assert np.linalg.det(nearest) == pytest.approx(-1)
        assert sheared.distance(sheared.nearest_orthogonal()) < 0.05 * max(
            n * s for n, s in zip((4, 3, 2), (1, 2, 3), strict=True)
        )


class TestRegrid:
    @given(
        geometries(),
        st.tuples(*[st.sampled_from([-2, -1, 0.5, 1, 3])] * 3),
        st.tuples(*[st.floats(-4, 4)] * 3),
        st.tuples(*[st.integers(0, 4)] * 3),
    )
    def test_voxel_i_lies_at_scale_i_plus_offset(self, g, scale, offset, index):
        new = g.regrid((5, 5, 5), scale, offset)
        old_index = np.array(scale) * index + offset
        np.testing.assert_allclose(new.index_to_world(index), g.index_to_world(old_index), atol=1e-6)

    @given(geometries(), st.permutations([0, 1, 2]), st.tuples(*[st.integers(0, 4)] * 3))
    def test_permute_moves_no_voxel(self, g, order, index):
        new = g.permute(order)
        assert new.shape == tuple(g.shape[k] for k in order)
        np.testing.assert_allclose(new.index_to_world([index[k] for k in order]), g.index_to_world(index), atol=1e-6)

    def test_nothing_left_has_no_geometry(self):
        assert LOPSIDED.regrid((0, 3, 4)) is None
        assert LOPSIDED.regrid((2, 3, 4), scale=(1, 0, 1)) is None


class TestOrientation:
    @pytest.mark.parametrize("axes", ["LPS", "RAS", "SPL", "AIR", "PSR"])
    def test_reorientation_reaches_the_letters(self, axes):
        order, flips = LOPSIDED.reorientation(axes)
        new = LOPSIDED.permute(order)
        for axis in flips:
            scale, offset = [1, 1, 1], [0, 0, 0]
            scale[axis], offset[axis] = -1, new.shape[axis] - 1
            new = new.regrid(new.shape, scale, offset)
        assert new.orientation == axes
        expected = sitk.DICOMOrient(as_sitk(LOPSIDED), axes)
        assert new.origin == pytest.approx(expected.GetOrigin())
        assert new.spacing == pytest.approx(expected.GetSpacing())
        assert new.direction == pytest.approx(expected.GetDirection())

    @given(geometries())
    def test_letters_as_nibabel(self, g):
        ras = np.diag([-1, -1, 1, 1]) @ g.affine
        cosines = np.sort(np.abs(np.reshape(g.direction, (3, 3))), axis=0)
        if (cosines[2] - cosines[1]).min() > 1e-3:  # not half way between two axes
            assert g.orientation == "".join(nib.aff2axcodes(ras))

    def test_identity_is_lps(self):
        assert Geometry((2, 3, 4)).orientation == "LPS"

    @pytest.mark.parametrize("code", ["LPL", "XYZ", "LP", "", None, 3])
    def test_bad_letters_are_refused(self, code):
        with pytest.raises(ValueError, match="orientation must be three letters"):
            LOPSIDED.reorientation(code)


class TestValue:
    def test_compares_by_value_and_cannot_be_changed(self):
        assert Geometry((2, 3, 4), [1, 2, 3]) == Geometry([2, 3, 4], np.array([1.0, 2, 3]))
        assert hash(Geometry((2, 3, 4))) == hash(Geometry((2, 3, 4)))
        with pytest.raises(dataclasses.FrozenInstanceError):
            LOPSIDED.spacing = (1, 1, 1)

    def test_pickles(self):
        assert pickle.loads(pickle.dumps(LOPSIDED)) == LOPSIDED

    def test_repr_has_units(self):
        assert repr(Geometry((2, 3, 4), (1, 2, 3.5), (-7, 0, 5))) == (
            "Geometry(2x3x4 voxels (D, H, W), spacing 1x2x3.5 mm (x, y, z), origin (-7, 0, 5) mm, LPS)"
        )

    def test_a_shear_is_visible(self):
        tilted = Geometry((2, 3, 4), direction=(1, 0, 0, 0, 1, 0.5, 0, 0, np.sqrt(0.75)))
        assert tilted.is_sheared
        assert "sheared" in repr(tilted)
        assert tilted.voxel_volume == pytest.approx(np.sqrt(0.75))

    def test_voxel_volume(self):
        assert LOPSIDED.voxel_volume == 6

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ({"shape": (2, 3)}, ValueError, "shape must be three sizes"),
            ({"shape": (2, 0, 4)}, ValueError, "at least 1"),
            ({"spacing": (1, 2)}, ValueError, "spacing must be 3 numbers, got 2"),
            ({"spacing": (1, 0, 1)}, ValueError, "spacing must be three positive numbers"),
            ({"spacing": (1, -1, 1)}, ValueError, "spacing must be three positive numbers"),
            ({"spacing": (1, np.nan, 1)}, ValueError, "spacing must be finite"),
            ({"spacing": "1 2 3"}, TypeError, "spacing must be 3 numbers"),
            ({"origin": (0, 0, np.inf)}, ValueError, "origin must be finite"),
            ({"direction": (1, 0, 0, 0, 1, 0, 0, 0)}, ValueError, "direction must be 9 numbers, got 8"),
            ({"direction": (2, 0, 0, 0, 1, 0, 0, 0, 1)}, ValueError, "columns of direction must be unit vectors"),
            ({"direction": (1, 1, 0, 0, 0, 0, 0, 0, 1)}, ValueError, "invertible"),
        ],
    )
    def test_what_cannot_be_a_geometry_is_refused(self, arguments, error, text):
        with pytest.raises(error, match=text):
            Geometry(**{"shape": (2, 3, 4), **arguments})

    def test_an_affine_that_is_none_is_refused(self):
        with pytest.raises(ValueError, match="finite 4x4"):
            Geometry.from_affine(np.eye(3), (2, 3, 4))
        with pytest.raises(ValueError, match="length 0"):
            Geometry.from_affine(np.diag([1, 0, 1, 1]), (2, 3, 4))

    def test_agreement_is_to_a_thousandth_of_a_voxel(self):
        assert LOPSIDED.agrees(LOPSIDED.replace(origin=(-7 + 5e-4, 11, 5)))
        assert not LOPSIDED.agrees(LOPSIDED.replace(origin=(-7 + 5e-3, 11, 5)))
        assert not LOPSIDED.agrees(LOPSIDED.replace(spacing=(1.01, 2, 3)))
        assert not LOPSIDED.agrees(None)
        assert not LOPSIDED.agrees(Geometry((2, 3, 5)))

    def test_oblique_directions_are_orthonormal(self):
        assert not Geometry((2, 3, 4), direction=OBLIQUE).is_sheared
