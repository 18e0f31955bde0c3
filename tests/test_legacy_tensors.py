"""The methods of faimed3d 0.0.6 on today's tensors: they do what today's functions do, without the old faults."""

import inspect
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from coordinates import LOPSIDED, check, world
from dicom_series import make_series, stored_values
from dicom_series import write as write_dicom
from scipy import ndimage
from torch import Tensor

from faimed3d import intensity
from faimed3d.augment import RandomDihedral3D, RandomFlip3D, RandomRotate3D, StandardScale
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.geometry import Geometry
from faimed3d.legacy.plane_warps import sheer_3d, trapezoid_3d, warp_3d
from faimed3d.legacy.tensors import LegacyMaskMethods, LegacyVolumeMethods

SQUARE = Geometry((3, 5, 5), spacing=(1, 1, 3), origin=(-7, 11, 5), direction=LOPSIDED.direction)
TURNS = ["flip_ll_3d", "flip_ap_3d", "flip_cc_3d", "rotate_90_3d", "rotate_180_3d", "rotate_270_3d"]
LOOKS = {"gaussian_noise": 0.1, "adjust_brightness": 0.3, "adjust_contrast": 1.3}
SCALES = {
    "mean_scale": (), "median_scale": (), "max_scale": (), "rescale": (-1, 2), "scale_to": (5, 3),
    "piecewise_hist": ((0, 50, 100), (0, 10, 100)),
}  # fmt: skip


def image(geometry=LOPSIDED, seed=0, lead=()):
    values = torch.randn(*lead, *geometry.shape, generator=torch.Generator().manual_seed(seed))
    return TensorDicom3D(values, geometry)


def mask(geometry=LOPSIDED, dtype=torch.int64, labels=(0, 2, 4)):
    values = torch.tensor(labels)[
        torch.randint(len(labels), geometry.shape, generator=torch.Generator().manual_seed(1))
    ]
    return TensorMask3D(values.to(dtype), geometry)


def plain(t):
    return t.as_subclass(Tensor)


def test_every_method_has_a_docstring_and_is_on_the_tensors():
    for kind, names in ((TensorDicom3D, LegacyVolumeMethods), (TensorMask3D, LegacyMaskMethods)):
        for name, method in vars(names).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                assert method.__doc__, name
                assert getattr(kind, name) is method
    assert not hasattr(TensorDicom3D, "reduce_classes")


def test_they_are_hidden_from_completion_and_today_names_are_not():
    for volume, kinds in ((image(), [LegacyVolumeMethods]), (mask(), [LegacyVolumeMethods, LegacyMaskMethods])):
        methods = {name for kind in kinds for name in vars(kind) if not name.startswith("_")}
        assert len(methods) > 20
        assert not methods & {*dir(volume)}
        assert {"geometry", "create", "save", "show", "resample", "hist_scaled", "shape", "mean"} <= {*dir(volume)}
    assert "calc_volume" in dir(mask())


class TestGrid:
    @pytest.mark.parametrize("make", [world, partial(world, kind=TensorMask3D)])
    def test_resizing_and_padding_keep_every_voxel_in_place(self, make):
        kind = "images" if make is world else "masks"
        if kind == "images":
            assert check(lambda axis: make(LOPSIDED, axis), lambda t: t.resize_3d((3, 4, 5)), [LOPSIDED], kept=True)
        assert check(lambda axis: make(LOPSIDED, axis), lambda t: t.pad_to((4, 2, 7)), [LOPSIDED], kept=True)

    def test_resize_3d_does_what_resize_3d_tensor_does(self):
        x = image(lead=(2,))
        assert torch.equal(x.resize_3d((4, 1, 5)), x.resize_3d_tensor((4, 1, 5)))
        assert x.resize_3d(scale_factor=(2, 1, 0.5)).shape == (2, 4, 3, 2)
        assert x.resize_3d(scale_factor=2).geometry.origin == x.geometry.origin
        assert x.geometry == LOPSIDED  # 0.0.6 wrote the new spacing into the input

    def test_resize_3d_never_blends_labels(self):
        assert set(mask().resize_3d((5, 7, 9)).unique().tolist()) == {0, 2, 4}

    def test_resize_3d_takes_one_of_its_arguments(self):
        with pytest.raises(ValueError, match="either size or scale_factor, got None and None"):
            image().resize_3d()
        with pytest.raises(ValueError, match=r"one number or three \(D, H, W\), above 0, got 0"):
            image().resize_3d(scale_factor=0)

    def test_pad_to_leaves_larger_axes_and_the_values(self):
        x = image()
        padded = x.pad_to((5, 3, 2))
        assert padded.shape == (5, 3, 4)
        assert torch.equal(plain(padded[1:3]), plain(x))
        assert (plain(padded[0]) == plain(x).min()).all()
        assert set(mask().pad_to((3, 4, 6)).unique().tolist()) == {0, 2, 4}
        with pytest.raises(ValueError, match=r"new_size must be three sizes \(D, H, W\), got \(4, 4\)"):
            x.pad_to((4, 4))

    @pytest.mark.parametrize("kind", [TensorDicom3D, TensorMask3D])
    def test_size_correction_keeps_the_extent_in_mm(self, kind):
        geometry = Geometry((2, 6, 8), spacing=(0.5, 2, 3))
        x = kind((torch.arange(96) // 48).reshape(geometry.shape).float(), geometry)
        corrected = x.size_correction(1)
        assert corrected.shape == (2, 12, 4)
        assert corrected.get_spacing() == (1, 1, 3)
        assert x.get_spacing() == (0.5, 2, 3)


class TestIntensity:
    @pytest.mark.parametrize("name", SCALES)
    def test_scales_are_those_of_intensity(self, name):
        x = image().permute(2, 0, 1)
        functions = {
            "scale_to": intensity.match_moments,
            "piecewise_hist": lambda t, q, values: StandardScale(q, values, "mean").apply(t),
        }
        function = functions.get(name) or getattr(intensity, name)
        scaled = getattr(x, name)(*SCALES[name])
        assert torch.equal(plain(scaled), function(plain(x), *SCALES[name]))
        assert type(scaled) is TensorDicom3D
        assert scaled.geometry == x.geometry

    @pytest.mark.parametrize("name", SCALES)
    def test_a_constant_stays_finite(self, name):
        assert getattr(TensorDicom3D(torch.full((2, 3, 4), 7.0)), name)(*SCALES[name]).isfinite().all()

    @pytest.mark.parametrize("name", [*SCALES, *LOOKS])
    def test_a_mask_is_left_alone(self, name):
        labels = mask()
        assert getattr(labels, name)(*(SCALES.get(name) or (LOOKS.get(name),))[: len(SCALES.get(name, (1,)))]) is labels

    @pytest.mark.parametrize("lead", [(), (2,), (3, 2)])
    @pytest.mark.parametrize("name", LOOKS)
    def test_looks_are_those_of_intensity_for_each_channel(self, name, lead):
        x = image(lead=lead)
        function = {"gaussian_noise": intensity.add_noise}.get(name) or getattr(intensity, name)
        torch.manual_seed(0)
        changed = getattr(x, name)(LOOKS[name])
        torch.manual_seed(0)
        expected = function(plain(x).reshape(1, -1, *LOPSIDED.shape), torch.tensor([LOOKS[name]])).reshape(x.shape)
        assert torch.equal(plain(changed), expected)
        assert changed.geometry == LOPSIDED
        assert not torch.equal(changed, x)

    def test_noise_is_added_not_multiplied(self):
        x = TensorDicom3D(torch.cat([torch.zeros(20, 30, 40), torch.full((20, 30, 40), 10.0)]))
        noise = plain(x.gaussian_noise(0.1)) - plain(x)
        assert noise[:20].std() == pytest.approx(0.5, rel=0.05)  # a tenth of the sd of the image, which is 5
        assert noise[20:].std() == pytest.approx(0.5, rel=0.05)

    def test_whole_numbers_become_floats(self):
        assert TensorDicom3D(torch.arange(24).reshape(2, 3, 4)).adjust_brightness(1).dtype == torch.float32

    def test_rescale_reaches_both_ends(self):
        x = TensorDicom3D(torch.linspace(0, 100, 24).reshape(2, 3, 4)).rescale(0, 1)
        assert (x.min(), x.max()) == (0, 1)

    def test_scale_to_refuses_a_negative_deviation(self):
        with pytest.raises(ValueError, match="std must not be below 0, got -1"):
            image().scale_to(0, -1)

    def test_histogram_on_every_device_has_one_name_more(self):
        assert torch.equal(image().hist_scaled_pt(), image().hist_scaled())
        labels = mask()
        assert labels.hist_scaled_pt() is labels.hist_scaled() is labels

    def test_piecewise_hist_needs_a_value_for_each_percentile(self):
        with pytest.raises(ValueError, match="must have the same length, at least 2, got 3 and 2"):
            image().piecewise_hist((0, 50, 100), (0, 1))

    def test_numpy_shares_the_memory(self):
        x = image()
        assert type(x.to_numpy()) is np.ndarray
        x[0, 0, 0] = 5
        assert x.to_numpy()[0, 0, 0] == 5


class TestRescalePixeldata:
    def test_is_done_when_the_files_are_read(self, tmp_path):
        stored = stored_values((3, 4, 5))
        write_dicom(make_series(stored, RescaleSlope=2, RescaleIntercept=-1000), tmp_path / "ct")
        volume = TensorDicom3D.create(tmp_path / "ct")
        expected = sitk.GetArrayFromImage(
            sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
        )
        assert np.array_equal(volume.rescale_pixeldata().numpy(), expected)
        assert volume.rescale_pixeldata() is volume

    def test_refuses_a_slope_that_was_set_by_hand(self):
        volume = image()
        volume.set_metadata("0028|1053", "1")
        assert volume.rescale_pixeldata() is volume
        volume.set_metadata("0028|1052", -1024)
        with pytest.raises(ValueError, match=r"set by hand to 1 and -1024.*compute t \* slope \+ intercept"):
            volume.rescale_pixeldata()
        volume.del_metadata("0028|1052")
        assert volume.rescale_pixeldata() is volume


class TestTurns:
    @pytest.mark.parametrize("name", TURNS)
    @pytest.mark.parametrize("kind", [TensorDicom3D, TensorMask3D])
    def test_move_the_content_and_keep_the_geometry(self, name, kind):
        x = kind(torch.arange(75).reshape(SQUARE.shape), SQUARE)
        turned = getattr(x, name)()
        assert type(turned) is kind
        assert turned.geometry == SQUARE
        assert turned.dtype == x.dtype
        assert sorted(turned.flatten().tolist()) == list(range(75))

    def test_name_the_sides_of_the_patient_however_the_scan_is_stored(self):
        x = image(Geometry((3, 4, 5), (1, 2, 3)))
        expected = {"flip_ll_3d": -1, "flip_ap_3d": -2, "flip_cc_3d": -3}
        for code in ("LPS", "RAS", "PSR", "ILP", "SAR"):
            for name, axis in expected.items():
                turned = getattr(x.reorient(code), name)().reorient("LPS")
                assert torch.equal(plain(turned), plain(x).flip(axis)), (code, name)

    def test_a_batch_of_scans_stored_alike_is_turned_as_one(self):
        items = [image(SQUARE.replace(origin=(k, 0, 0)), k) for k in range(3)]
        batch = torch.stack(items)[:, None]
        turned = batch.rotate_90_3d()
        for k, item in enumerate(items):
            assert torch.equal(turned[k, 0], item.rotate_90_3d())
            assert turned[k].geometry == item.geometry

    def test_a_batch_of_scans_stored_differently_is_refused(self):
        cube = Geometry((4, 4, 4))
        batch = torch.stack([image(cube), image(cube).reorient("SLP")])
        with pytest.raises(ValueError, match="flip_cc_3d of a batch whose items are stored in different orientations"):
            batch.flip_cc_3d()

    @pytest.mark.parametrize("name", TURNS)
    def test_need_to_know_where_the_sides_are(self, name):
        lost = image(SQUARE)[torch.tensor([0, 2, 1])]
        with pytest.raises(ValueError, match=f"{name} is said of the patient's sides, and this 3x5x5 tensor has no "):
            getattr(lost, name)()

    def test_quarter_turns_need_a_square_plane(self):
        with pytest.raises(ValueError, match="a rotation by 90 degrees needs a plane whose two sides"):
            image().rotate_90_3d()
        assert torch.equal(plain(image().rotate_180_3d()), plain(image()).flip(-1, -2))

    def test_four_quarter_turns_are_none(self):
        x = image(SQUARE)
        assert torch.equal(x.rotate_90_3d().rotate_90_3d(), x.rotate_180_3d())
        assert torch.equal(x.rotate_180_3d().rotate_90_3d(), x.rotate_270_3d())
        assert torch.equal(x.rotate_270_3d().rotate_90_3d(), x)

    def test_dihedral_codes(self):
        x = image(SQUARE)
        assert torch.equal(x.dihedral3d(0), x)
        assert torch.equal(x.dihedral3d(3), x.rotate_270_3d())
        assert torch.equal(x.dihedral3d(4), x.flip_ll_3d())
        assert torch.equal(x.dihedral3d(17), x.flip_cc_3d().flip_ap_3d().rotate_270_3d())

    def test_the_random_transforms_draw_from_the_same(self):
        cube = Geometry((4, 4, 4), (1, 1, 1))
        x = image(cube)
        assert torch.equal(RandomFlip3D(p=1, axis=-1)(x, split_idx=0), x.flip_ll_3d())
        assert torch.equal(RandomFlip3D(p=1, axis=-3)(x, split_idx=0), x.flip_cc_3d())
        turns = [x.rotate_90_3d(), x.rotate_180_3d(), x.rotate_270_3d()]
        for _ in range(10):
            drawn = RandomRotate3D(p=1)(x, split_idx=0)
            assert any(torch.equal(drawn, turn) for turn in turns)
        found, codes = set(), [x.dihedral3d(k) for k in range(18)]
        for _ in range(300):
            drawn = RandomDihedral3D(p=1)(x, split_idx=0)
            found |= {k for k, turned in enumerate(codes) if torch.equal(drawn, turned)}
        assert len(found) > 12  # 14 of the 48 are among them


class TestAlongAxes:
    @pytest.mark.parametrize("dim", [-3, -2, -1, 0, 1, 2])
    def test_a_function_of_slices_is_applied_to_each(self, dim):
        x = image()
        seen = []
        turned = x.apply_along_dim(lambda plane: (seen.append(type(plane)), plane.flip(0))[1], dim)
        assert set(seen) == {Tensor}
        assert turned.geometry == LOPSIDED
        axis = dim % 3
        assert torch.equal(plain(turned), plain(x).flip(0 if axis else 1))

    def test_another_shape_has_no_known_place(self):
        assert image().apply_along_dim(lambda plane: plane[:2], 0).geometry is None

    def test_only_space_has_slices(self):
        with pytest.raises(ValueError, match=r"one of the last three axes \(D, H, W\) of \(2, 2, 3, 4\), got 0"):
            image(lead=(2,)).apply_along_dim(torch.flipud, 0)


class TestPlanes:
    def test_the_warp_moves_the_centre_and_keeps_the_edges(self):
        rows, columns = warp_3d(5, 9, 0.25, -0.25)
        assert rows.shape == columns.shape == (5, 9)
        assert (rows[0], rows[-1]) == (pytest.approx(torch.full((9,), -1.0)), pytest.approx(torch.ones(9)))
        assert rows[3, 0] == 0  # half of half the height below the middle
        assert columns[0, 2] == 0

    def test_the_sheer_moves_rows_along_with_columns(self):
        rows, columns = sheer_3d(3, 5, 0.2, 0)
        assert torch.allclose(rows[1], 0.2 * torch.linspace(-1, 1, 5))
        assert torch.allclose(columns, torch.linspace(-1, 1, 5).expand(3, 5))

    def test_the_trapezoid_is_as_high_as_it_says_at_either_end(self):
        rows, _ = trapezoid_3d(3, 5, 0.2)
        assert rows[2].tolist() == pytest.approx([0.8, 0.85, 0.9, 0.95, 1])
        assert trapezoid_3d(3, 5, -0.2)[0][2].tolist() == pytest.approx([1 / 0.8, 1 / 0.85, 1 / 0.9, 1 / 0.95, 1])

    @pytest.mark.parametrize("func", [lambda h, w: warp_3d(h, w, 0, 0), lambda h, w: sheer_3d(h, w, 0, 0)])
    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    def test_doing_nothing_changes_nothing_whatever_the_shape(self, func, lead):
        x = image(lead=lead)
        same = x.grid_tfms(func)
        assert same.shape == x.shape
        assert torch.allclose(plain(same), plain(x), atol=1e-5)
        assert same.geometry == LOPSIDED

    @pytest.mark.parametrize("side", [1, 2, 7])
    def test_a_side_of_any_length(self, side):
        x = TensorDicom3D(torch.rand(2, side, 6))
        assert x.grid_tfms(partial(warp_3d, magnitude_h=0.1, magnitude_w=0.2)).isfinite().all()

    def test_planes_are_sampled_as_scipy_does(self):
        geometry = Geometry((2, 11, 14))
        x = image(geometry)
        func = partial(warp_3d, magnitude_h=0.1, magnitude_w=-0.2)
        rows, columns = (places.numpy() for places in func(11, 14))
        at = np.stack([(rows + 1) / 2 * 10, (columns + 1) / 2 * 13])
        for k in range(2):
            expected = ndimage.map_coordinates(x[k].numpy(), at, order=1)
            np.testing.assert_allclose(x.grid_tfms(func)[k].numpy(), expected, atol=1e-5)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
    def test_labels_are_never_blended(self, dtype):
        labels = mask(Geometry((2, 9, 12)), dtype, (0, 4))
        warped = labels.grid_tfms(partial(trapezoid_3d, magnitude=0.4))
        assert warped.dtype == dtype
        assert set(warped.unique().tolist()) == {0, 4}

    def test_refuse_what_would_fold(self):
        with pytest.raises(ValueError, match=r"the centre must stay inside: magnitudes below 0.5, got 0.5 and 0"):
            warp_3d(5, 5, 0.5, 0)
        with pytest.raises(ValueError, match="magnitude must be above -1 and below 1, got -1"):
            trapezoid_3d(5, 5, -1)


class TestMasks:
    def test_clamp_to_range(self):
        labels = mask()
        clamped = labels.clamp_to_range(1, 3)
        assert clamped.unique().tolist() == [1, 2, 3]
        assert clamped.geometry == LOPSIDED

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
    def test_classes_get_the_same_number_in_every_patient(self, dtype):
        one, other = mask(dtype=dtype, labels=(0, 1, 3, 5)), mask(dtype=dtype, labels=(0, 3))
        assert one.reduce_classes([1, 3]).dtype == dtype
        assert torch.equal(one.reduce_classes([1, 3]) == 2, one == 3)
        assert torch.equal(other.reduce_classes([1, 3]) == 2, other == 3)
        assert one.reduce_classes({3: 1}).unique().tolist() == [0, 1, 5]
