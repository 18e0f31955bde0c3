"""Crop, pad, resize, resample, reorient, strip: exact places, labels kept, SimpleITK as the independent answer."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from coordinates import LOPSIDED, OBLIQUE, OTHER, check, world
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.basics import (
    Geometry,
    TensorDicom3D,
    TensorMask3D,
    crop_3d,
    pad_or_crop,
    reorient,
    resample,
    resample_like,
    resize_3d_tensor,
    strip,
)

BIG = Geometry((5, 6, 9), spacing=(1, 2, 3), origin=(-7, 11, 5), direction=OBLIQUE)


def image(geometry=BIG, seed=0):
    torch.manual_seed(seed)
    return TensorDicom3D(torch.rand(geometry.shape) * 1000 - 500, geometry)


def mask(geometry=BIG, seed=0):
    torch.manual_seed(seed)
    return TensorMask3D(torch.randint(0, 4, geometry.shape).float() * 7, geometry)


def plain(t):
    return t.as_subclass(torch.Tensor)


class TestCrop:
    @pytest.mark.parametrize(
        "margins",
        [
            ((0, 0), (100, 100), (100, 100)),
            (0, 100, 100),
            ((0,), (100,), 100),
            (0, 0, 100, 100, 100, 100),
            (0.0, 100.0, 100),
        ],
    )
    def test_the_shape_of_the_page_by_voxels(self, margins):
        assert crop_3d(torch.zeros(31, 736, 736), margins).shape == (31, 536, 536)

    def test_the_shape_of_the_page_by_percent(self):
        cropped = crop_3d(torch.zeros(31, 736, 736), ((0.0, 0.0), (0.1, 0.1), (0.1, 0.1)), perc_margins=True)
        assert cropped.shape == (31, 590, 590)  # int(73.6) = 73 a side
        assert crop_3d(torch.zeros(31, 736, 736), (0, 0.1, 0.1), True).shape == (31, 590, 590)

    def test_one_number_for_all_sides(self):
        assert crop_3d(torch.zeros(5, 6, 9), 1).shape == (3, 4, 7)

    def test_sides_differ(self):
        t = image()
        assert torch.equal(crop_3d(t, ((1, 2), (0, 3), (4, 0))), t[1:3, 0:3, 4:9])

    def test_channels_and_batches(self):
        assert crop_3d(torch.zeros(2, 3, 5, 6, 9), 1).shape == (2, 3, 3, 4, 7)

    def test_voxels_keep_their_place(self):
        assert check(lambda k: world(BIG, k), lambda t: t.crop_3d(((1, 2), (0, 3), (4, 0))), [BIG], kept=True)

    @pytest.mark.parametrize(
        ("margins", "percent", "text"),
        [
            (-1, False, "must not be negative"),
            (((0, 0), (0, 0), (5, 4)), False, "leave nothing of the 9 voxels of axis W"),
            ((1, 2), False, "one number, three numbers, three pairs or six numbers"),
            (((1, 2, 3),) * 3, False, "one number, three numbers, three pairs or six numbers"),
            (0.1, False, "whole voxels.*perc_margins=True"),
            (1.0, True, r"fractions in \[0, 1\)"),
            (-0.1, True, r"fractions in \[0, 1\)"),
            (0.5, True, "leave nothing"),
            (np.float32(0.9), False, "whole voxels"),
            ("abc", False, "one number, three numbers, three pairs or six numbers"),
            (None, False, "one number, three numbers, three pairs or six numbers"),
            (True, False, "one number, three numbers, three pairs or six numbers"),
            ((("a", "b"), 0, 0), True, "one number, three numbers, three pairs or six numbers"),
        ],
    )
    def test_bad_margins_are_refused(self, margins, percent, text):
        with pytest.raises(ValueError, match=text):
            crop_3d(torch.zeros(4, 6, 9), margins, percent)

    def test_a_plane_is_refused(self):
        with pytest.raises(ValueError, match=r"expected a tensor \(..., D, H, W\)"):
            crop_3d(torch.zeros(4, 6), 1)


class TestPadOrCrop:
    @settings(max_examples=50, deadline=None)
    @given(st.tuples(*[st.integers(1, 12)] * 3))
    def test_any_size_keeps_every_voxel_in_place(self, size):
        compared = check(lambda k: world(BIG, k), lambda t: pad_or_crop(t, size, torch.nan), [BIG], kept=True)
        assert compared == 3 * np.prod([min(n, m) for n, m in zip(BIG.shape, size, strict=True)])
        assert pad_or_crop(image(), size).shape == size

    def test_both_ends_get_the_same_and_the_far_end_the_odd_one(self):
        row = torch.arange(1.0, 4).reshape(1, 1, 3)
        assert pad_or_crop(row, (1, 1, 6), 0).flatten().tolist() == [0, 1, 2, 3, 0, 0]
        assert pad_or_crop(row, (1, 1, 2)).flatten().tolist() == [1, 2]

    def test_images_are_padded_with_their_smallest_value_and_masks_with_0(self):
        assert pad_or_crop(image() - 1000, 12)[0, 0, 0] == (image() - 1000).min()
        assert pad_or_crop(mask() + 1, 12)[0, 0, 0] == 0

    @pytest.mark.parametrize("size", [(1, 2), (0, 1, 1), (1.5, 2, 2), -3, None, "abc", (True, 2, 2)])
    def test_bad_sizes_are_refused(self, size):
        with pytest.raises(ValueError, match=r"size must be one whole number or three \(D, H, W\), at least 1, got"):
            pad_or_crop(image(), size)


class TestResize:
    def test_the_shape_of_the_page(self):
        assert resize_3d_tensor(torch.zeros(31, 73, 73), (100, 50, 50)).shape == (100, 50, 50)

    @settings(max_examples=30, deadline=None)
    @given(st.tuples(*[st.integers(1, 12)] * 3))
    def test_voxels_lie_where_their_values_come_from(self, size):
        check(lambda k: world(BIG, k), lambda t: resize_3d_tensor(t, size), [BIG], kept=True, atol=1e-6)

    def test_is_trilinear_with_aligned_corners(self):
        t = image()
        expected = torch.nn.functional.interpolate(
            plain(t)[None, None].double(), (7, 3, 4), mode="trilinear", align_corners=True
        )
        torch.testing.assert_close(plain(resize_3d_tensor(t, (7, 3, 4))).double(), expected[0, 0], atol=1e-5, rtol=1e-5)

    def test_geometry_by_hand(self):
        resized = image(Geometry((5, 6, 9), (1, 2, 3), (4, 5, 6))).resize_3d_tensor((3, 11, 9))
        assert resized.get_spacing() == (1.0, 1.0, 6.0)  # x kept; y: 2 * 5 / 10; z: 3 * 4 / 2
        assert resized.get_origin() == (4, 5, 6)

    def test_labels_are_never_blended(self):
        resized = resize_3d_tensor(mask(), (9, 4, 20))
        assert type(resized) is TensorMask3D
        assert set(resized.unique().tolist()) <= {0, 7, 14, 21}

    def test_the_input_keeps_its_geometry(self):
        t = image()
        t.resize_3d_tensor((2, 2, 2))
        assert t.geometry == BIG

    def test_each_item_of_a_batch_is_followed(self):
        t = torch.stack([world(LOPSIDED, 0), world(OTHER, 0)])
        resized = resize_3d_tensor(t, (3, 5, 7))
        assert resized[1].geometry == resize_3d_tensor(t[1], (3, 5, 7)).geometry

    @pytest.mark.parametrize("size", [5, (1, 2), "abc"])
    def test_bad_shapes_are_refused(self, size):
        with pytest.raises(ValueError, match=r"new_shape must be (three|one whole number or three) .*got"):
            resize_3d_tensor(image(), size)


class TestStrip:
    def test_outer_zeros_go_and_inner_ones_stay(self):
        t = torch.zeros(7, 6, 5)
        t[1, 2, 3], t[4, 4, 1] = 1, 2
        stripped = strip(TensorMask3D(t, {"spacing": (1, 2, 3), "origin": (10, 20, 30)}))
        assert torch.equal(plain(stripped), t[1:5, 2:5, 1:4])
        assert stripped.get_origin() == (11, 24, 33)

    def test_values_that_cancel_are_not_empty(self):
        t = torch.zeros(3, 4, 5)
        t[2, 0, 0], t[2, 0, 1] = 1, -1
        assert strip(t).shape == (1, 1, 2)

    def test_an_empty_mask_is_refused(self):
        with pytest.raises(ValueError, match="all voxels are zero"):
            strip(TensorMask3D(torch.zeros(2, 3, 4)))
        with pytest.raises(ValueError, match="all voxels are zero"):
            strip(torch.zeros(0, 2, 3, 4))

    def test_channels_are_stripped_alike(self):
        t = torch.zeros(2, 3, 4, 5)
        t[0, 1, 1, 1] = t[1, 2, 1, 1] = 1
        assert strip(t).shape == (2, 2, 1, 1)


class TestReorient:
    @pytest.mark.parametrize("code", ["LPS", "RAS", "SAR", "PIL"])
    def test_as_simpleitk(self, code):
        t = image(LOPSIDED)
        turned = reorient(t, code)
        expected = sitk.DICOMOrient(t.as_sitk(), code)
        np.testing.assert_array_equal(turned.numpy(), sitk.GetArrayFromImage(expected))
        assert turned.get_origin() == pytest.approx(expected.GetOrigin())
        assert turned.get_direction() == pytest.approx(expected.GetDirection())

    def test_no_voxel_moves(self):
        assert check(lambda k: world(LOPSIDED, k), lambda t: t.reorient("SAR"), [LOPSIDED], kept=True)

    def test_back_again_is_the_same(self):
        t = mask(LOPSIDED)
        back = t.reorient("IPR").reorient(t.geometry.orientation)
        assert torch.equal(back, t)
        assert back.geometry.agrees(t.geometry)

    def test_a_batch_of_one_orientation(self):
        t = torch.stack([image(), image()])[:, None]
        assert t.reorient("RAS")[1, 0].geometry == image().reorient("RAS").geometry


class TestResample:
    @pytest.mark.parametrize("make", [image, mask])
    @pytest.mark.parametrize(
        "target",
        [
            Geometry((4, 7, 5), (1.3, 1.7, 2.1), (-6, 12, 7), OBLIQUE),
            Geometry((4, 7, 5), (1.3, 1.7, 2.1), (-8, 9, 3)),
            Geometry((1, 9, 9), (1, 1, 1), (-6.9, 10.8, 9)),
            LOPSIDED,
        ],
    )
    def test_like_another_grid_is_what_simpleitk_gives(self, make, target):
        t = make()
        result = t.resample_like(target, value=-99)
        reference = TensorDicom3D(torch.zeros(target.shape), target).as_sitk()
        how = sitk.sitkNearestNeighbor if make is mask else sitk.sitkLinear
        expected = sitk.Resample(t.as_sitk(), reference, sitk.Transform(), how, -99.0, sitk.sitkFloat32)
        np.testing.assert_allclose(result.numpy(), sitk.GetArrayFromImage(expected), atol=2e-3)
        assert result.geometry == target
        assert type(result) is type(t)

    def test_linear_values_lie_at_their_places(self):
        target = Geometry((4, 7, 5), (1.3, 1.7, 2.1), (-4, 15, 9), OTHER.direction)
        assert check(lambda k: world(BIG, k), lambda t: t.resample_like(target, torch.nan), [BIG], kept=True)

    @pytest.mark.parametrize("spacing", [2, (1.5, 2, 2.5), 40])
    def test_to_a_spacing_covers_the_same_patient(self, spacing):
        t = image()
        result = resample(t, spacing)
        assert result.get_spacing() == pytest.approx((spacing,) * 3 if isinstance(spacing, int) else spacing)
        np.testing.assert_allclose(
            result.geometry.index_to_world((np.array(result.shape) - 1) / 2),
            t.geometry.index_to_world((np.array(t.shape) - 1) / 2),
            atol=1e-9,
        )
        for n, old, m, new in zip(
            t.shape, t.get_spacing()[::-1], result.shape, result.get_spacing()[::-1], strict=True
        ):
            assert m == 1 or abs(n * old - m * new) <= new / 2 + 1e-9

    def test_labels_are_never_blended(self):
        result = mask().resample(0.8)
        assert set(result.unique().tolist()) <= {0, 7, 14, 21}
        assert set(mask().resample_like(LOPSIDED).unique().tolist()) <= {0, 7, 14, 21}

    def test_integer_labels_stay_exact(self):
        t = TensorMask3D(torch.full((2, 3, 4), 2**24 + 1), LOPSIDED)
        assert t.resample(1).unique().tolist() == [2**24 + 1]

    def test_outside_is_the_smallest_value_of_an_image_and_0_in_a_mask(self):
        beside = BIG.regrid(BIG.shape, offset=(BIG.shape[0] - 1, 0, 0))  # one plane is common
        assert image().resample_like(beside)[1:].unique().tolist() == [image().min()]
        assert (mask() * 0 + 1).resample_like(beside)[1:].unique().tolist() == [0]

    def test_to_its_own_grid_is_a_copy(self):
        t = image()
        result = t.resample_like(t)
        result += 1
        assert torch.equal(t, image())
        assert result.geometry == BIG

    def test_channels_are_resampled_alike(self):
        t = torch.stack([image(seed=0), image(seed=1)])
        both = resample_like(t, LOPSIDED)
        assert both.geometry == LOPSIDED
        torch.testing.assert_close(plain(both[1]), plain(t[1].resample_like(LOPSIDED)))

    @pytest.mark.parametrize("target", [LOPSIDED, BIG.regrid((3, 4, 5), (1.4, 1.3, 1.6))])
    def test_a_gradient_flows_as_far_as_the_voxels(self, target):
        voxels = torch.rand(2, *BIG.shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: plain(TensorDicom3D(x, BIG).resample_like(target, value=0)), voxels)

    @pytest.mark.parametrize("value", [-1, 0.5, 300])
    def test_a_fill_that_is_no_label_is_refused(self, value):
        with pytest.raises(ValueError, match=r"value must be a label that fits voxels of torch.uint8, got"):
            mask().to(torch.uint8).resample_like(LOPSIDED, value=value)

    def test_no_volumes_at_all(self):
        t = TensorDicom3D(torch.zeros(0, *BIG.shape), BIG)
        assert t.resample_like(LOPSIDED, value=0).shape == (0, *LOPSIDED.shape)

    def test_whole_number_images_become_float(self):
        t = TensorDicom3D(torch.arange(24).reshape(2, 3, 4), LOPSIDED)
        torch.testing.assert_close(plain(t.resample(0.9)), plain(t.float().resample(0.9)))

    @pytest.mark.parametrize("spacing", [0, -1, (1, 2), float("nan")])
    def test_bad_spacings_are_refused(self, spacing):
        with pytest.raises(ValueError, match="spacing must be"):
            image().resample(spacing)

    def test_a_spacing_that_no_memory_holds_is_refused(self):
        with pytest.raises(ValueError, match=r"would make .* voxels"):
            image().resample(1e-6)
        with pytest.raises(TypeError, match="spacing must be 3 numbers"):
            image().resample("fine")

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.bool, torch.float16])
    def test_masks_of_any_type_keep_it(self, dtype):
        t = (mask() > 7).to(dtype)
        for result in (t.resample(0.8), t.resample_like(LOPSIDED), t.pad_or_crop(9), t.resample_like(t)):
            assert result.dtype == dtype
            assert set(result.float().unique().tolist()) <= {0, 1}

    def test_whole_number_images_become_float_even_on_their_own_grid(self):
        t = TensorDicom3D(torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4), LOPSIDED)
        assert t.resample_like(t).dtype == t.resample(0.9).dtype == torch.float32

    def test_one_missing_value_does_not_fill_the_outside(self):
        t = image()
        t[0, 0, 0] = torch.nan
        assert t.pad_or_crop(12)[-1, -1, -1] == image().min()

    def test_halves_go_to_the_higher_voxel_as_in_simpleitk(self):
        t = TensorMask3D(torch.tensor([1.0, 2, 3]).reshape(1, 1, 3), Geometry((1, 1, 3)))
        target = Geometry((1, 1, 2), origin=(0.5, 0, 0))
        reference = TensorDicom3D(torch.zeros(1, 1, 2), target).as_sitk()
        expected = sitk.Resample(t.as_sitk(), reference, sitk.Transform(), sitk.sitkNearestNeighbor)
        with pytest.warns(UserWarning, match="(no voxel is left|hold nothing) of label 1"):
            found = t.resample_like(target).flatten().tolist()
        assert found == sitk.GetArrayFromImage(expected).ravel().tolist() == [2, 3]


class TestWithoutGeometry:
    @pytest.mark.parametrize(
        "needs", [lambda t: t.resample(1), lambda t: t.resample_like(LOPSIDED), lambda t: t.reorient("LPS")]
    )
    def test_is_refused_with_what_to_do(self, needs):
        with pytest.raises(ValueError, match=r"needs a geometry.*set_spacing, set_origin and set_direction"):
            needs(image().roll(1, 0))

    def test_a_batch_of_different_places_is_refused(self):
        t = torch.stack([world(LOPSIDED, 0), world(OTHER, 0)])
        with pytest.raises(ValueError, match=r"items of this 2x2x3x4 batch differ: take one, t\[0\]"):
            t.resample(1)

    def test_the_other_volume_needs_one_too(self):
        with pytest.raises(ValueError, match="resample_like"):
            image().resample_like(image().roll(1, 0))

    def test_plain_tensors_are_refused(self):
        with pytest.raises(TypeError, match="resample needs a TensorDicom3D"):
            resample(torch.zeros(2, 3, 4), 1)
