"""Values that the header calls padding take no part in what is made of the others."""

import copy
import pickle

import numpy as np
import pytest
import torch
from dicom_faults import read_lenient
from dicom_series import OBLIQUE, make_series, stored_values, write, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from torch import Tensor

from faimed3d import intensity
from faimed3d._padding import attach_padding, is_padding
from faimed3d.augment import MaxScale, Normalize3D, RandomNoise3D, RandomRotate3D, ZScore3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import ImageDataLoaders3D, intensity_stats
from faimed3d.intensity import fill_padding
from faimed3d.volume import TensorDicom3D as Volume

SHAPE = (3, 4, 5)
PAD = -2000.0


def padded(shape=SHAPE, value=PAD, seed=0):
    """(image, where it is padding): values about 40, a third of the voxels padding."""
    generator = torch.Generator().manual_seed(seed)
    outside = torch.rand(shape, generator=generator) < 0.3
    outside.view(-1)[:2] = torch.tensor([True, False])
    values = torch.where(outside, value, (torch.randn(shape, generator=generator) * 20 + 40).round())
    image = TensorDicom3D(values, {"spacing": (1, 2, 3)})
    attach_padding(image, [(value, value)])
    return image, outside


class TestHeader:
    @settings(max_examples=60, deadline=None)
    @given(
        dtype=st.sampled_from([np.int16, np.uint16, np.uint8]),
        slopes=st.lists(st.sampled_from([1.0, 0.5, 2.37, -1.0]), min_size=5, max_size=5),
        intercept=st.sampled_from([0.0, -1024.0, 0.3]),
        limit=st.booleans(),
        vr=st.sampled_from(["US", "SS"]),
        each=st.booleans(),
    )
    def test_names_stored_values_and_each_slice_has_its_slope(
        self, tmp_path_factory, dtype, slopes, intercept, limit, vr, each
    ):
        folder = tmp_path_factory.mktemp("series")
        info = np.iinfo(dtype)
        low, high = (info.min + 3, info.min + 5) if dtype != np.uint16 else (info.max - 5, info.max - 3)
        rng = np.random.default_rng(1)
        stored = rng.integers(100, 200, (5, 6, 7)).astype(dtype)
        outside = rng.random(stored.shape) < 0.3
        stored[outside] = low if not limit else high - 1
        bits = 16 if dtype != np.uint8 else 8
        raw = {"US": lambda v: int(v) % (1 << 16), "SS": lambda v: (int(v) + (1 << 15)) % (1 << 16) - (1 << 15)}[vr]
        if bits == 8:
            low, high = int(low), int(high)

        def edit(k, dataset):
            dataset.RescaleSlope, dataset.RescaleIntercept = slopes[k] if each else slopes[0], intercept
            dataset[0x00280120] = DataElement(0x00280120, vr, raw(low))
            if limit:
                dataset[0x00280121] = DataElement(0x00280121, vr, raw(high))

        write_series(folder, stored, edit=edit)
        image = TensorDicom3D.create(folder)
        np.testing.assert_array_equal(is_padding(image, image.padding).numpy(), outside)
        slope = np.array(slopes if each else slopes[:1] * 5)[:, None, None]
        real = (stored * slope + intercept).astype(np.float32)
        np.testing.assert_array_equal(image.numpy(), real)
        inside = real[~outside].astype(np.float64)
        expected = (inside - inside.mean()) / (inside.std(ddof=1) or 1)
        np.testing.assert_allclose(intensity.normalize(image).numpy()[~outside], expected, atol=2e-4)

    def test_without_it_nothing_is_padding(self, tmp_path):
        write_series(tmp_path)
        assert TensorDicom3D.create(tmp_path).padding == ()

    def test_a_value_that_no_pixel_can_have_is_none(self, tmp_path):
        stored = stored_values(low=0, high=4000, dtype=np.uint16)
        write_series(tmp_path, stored, BitsStored=12, HighBit=11, PixelPaddingValue=63536)
        assert TensorDicom3D.create(tmp_path).padding == ()

    def test_of_some_slices_alone_is_told_apart_where_it_can_be(self, tmp_path):
        stored = stored_values(low=0, high=100)
        stored[2, :3] = -5
        series = make_series(stored)
        series[2].add_new(0x00280120, "SS", -5)
        write(series, tmp_path)
        assert TensorDicom3D.create(tmp_path).padding == ((-5.0, -5.0),)
        stored[3, 0, 0] = -5
        series = make_series(stored)
        series[2].add_new(0x00280120, "SS", -5)
        write(series, tmp_path / "mixed")
        with pytest.warns(UserWarning, match="one's padding is another's measurement"):
            assert TensorDicom3D.create(tmp_path / "mixed").padding == ()

    def test_a_repair_does_not_mix_it_with_measurements(self, tmp_path):
        stored = np.full((9, 6, 7), 100, np.int16)
        stored[:, :, :2] = -2000
        for k in range(9):
            stored[k, :, 2 + k % 2] = -2000
        series = make_series(stored, orientation=OBLIQUE)
        for dataset in series:
            dataset.add_new(0x00280120, "SS", -2000)
        write([dataset for k, dataset in enumerate(series) if k != 4], tmp_path)
        (array, _, _), warned = read_lenient(tmp_path)
        assert "a slice is missing" in warned[0]
        assert set(np.unique(array)) == {-2000, 100}


class TestIntensity:
    @pytest.mark.parametrize("value", [PAD, 62512.0, 0.0])
    @pytest.mark.parametrize("name", ["normalize", "max_scale", "mean_scale", "median_scale", "z_score", "rescale"])
    def test_scales_by_the_rest(self, name, value):
        image, outside = padded(value=value)
        inside = image.as_subclass(Tensor)[~outside]
        result = getattr(intensity, name)(image)
        expected = getattr(intensity, name)(inside)
        torch.testing.assert_close(result.as_subclass(Tensor)[~outside], expected)
        assert (result.as_subclass(Tensor)[outside] == expected.min()).all()
        assert result.geometry == image.geometry
        assert result.padding == ()

    @pytest.mark.parametrize("value", [PAD, 62512.0])
    def test_histograms_and_percentiles_are_of_the_rest(self, value):
        image, outside = padded(value=value)
        inside = image.as_subclass(Tensor)[~outside]
        assert intensity.percentiles_of(image, (0, 37, 100)) == intensity.percentiles_of(inside, (0, 37, 100))
        assert intensity.landmarks_of(image, (5, 50), "mean") == intensity.landmarks_of(inside, (5, 50), "mean")
        torch.testing.assert_close(intensity.freqhist_bins(image, 7), intensity.freqhist_bins(inside, 7))
        result = image.hist_scaled().as_subclass(Tensor)
        torch.testing.assert_close(result[~outside], intensity.hist_scaled(inside))
        assert (result[outside] == result[~outside].min()).all()

    def test_statistics_of_a_data_set_are_of_the_rest(self):
        images = [padded(seed=seed) for seed in range(3)]
        inside = torch.cat([image.as_subclass(Tensor)[~outside] for image, outside in images]).numpy()
        stats = intensity_stats([image for image, _ in images], progress=False)
        np.testing.assert_allclose(stats.mean_std(), (inside.mean(), inside.std(ddof=1)), rtol=1e-5)
        assert stats.attrs["voxels"] == {"all": inside.size}

    def test_all_of_a_volume(self):
        image = TensorDicom3D(torch.full(SHAPE, PAD))
        attach_padding(image, [(PAD, PAD)])
        assert fill_padding(image).unique().tolist() == [0]
        assert intensity.normalize(image).unique().tolist() == [0]

    def test_each_volume_is_filled_by_its_own_smallest_value(self):
        image = TensorDicom3D(torch.tensor([[[[PAD, 1, 2]]], [[[PAD, 7, 9]]]]))
        attach_padding(image, [(PAD, PAD)])
        assert fill_padding(image).flatten(1).tolist() == [[1, 1, 2], [7, 7, 9]]

    @pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.float64, torch.float32])
    def test_types_of_numbers(self, dtype):
        image = TensorDicom3D(torch.tensor([[[-5, 1, 3]]], dtype=dtype))
        attach_padding(image, [(-9, -5)])
        filled = fill_padding(image)
        assert filled.dtype == dtype
        assert filled.tolist() == [[[1, 1, 3]]]
        assert intensity.max_scale(image).tolist() == [[[0, 0, 1]]]

    def test_a_mask_has_none(self):
        mask = TensorMask3D(torch.zeros(SHAPE))
        attach_padding(mask, [(0, 0)])
        assert mask.padding == ()
        assert fill_padding(mask) is mask


KEPT = {
    "getitem": lambda t: t[1:, :, ::2],
    "flip": lambda t: t.flip(0, 2),
    "permute": lambda t: t.permute(2, 0, 1),
    "crop": lambda t: t.crop_3d(1) if min(t.shape) > 2 else t,
    "pad": lambda t: t.pad_or_crop(7),
    "reorient": lambda t: t.reorient("LPS"),
    "clone": lambda t: t.clone(),
    "copy": copy.deepcopy,
    "pickle": lambda t: pickle.loads(pickle.dumps(t)),
    "channel": lambda t: t[None],
    "unsqueeze_": lambda t: t.clone().unsqueeze_(0),
    "double": lambda t: t.double(),
    "to": lambda t: t.to("cpu"),
    "unbind": lambda t: t.unbind(0)[1],
    "stack": lambda t: torch.stack([t, t]),
    "cat": lambda t: torch.cat([t, t]),
    "contiguous": lambda t: t.permute(2, 0, 1).contiguous(),
    "iterate": lambda t: next(iter(t)),
    "create": lambda t: TensorDicom3D.create(t),
    "type": lambda t: t.as_subclass(Volume),
}
DROPPED = {
    "add": lambda t: t + 0,
    "multiply": lambda t: 2 * t,
    "where": lambda t: torch.where(t > 0, t, t),
    "clamp": lambda t: t.clamp(-1000),
    "int": lambda t: t.to(torch.int16),
    "half": lambda t: t.half(),
    "interpolate": lambda t: torch.nn.functional.interpolate(t[None, None], scale_factor=2.0),
    "mean": lambda t: t[None].mean(0),
    "in place": lambda t: t.clone().add_(5),
    "in place over a plain alias": lambda t: _changed(t.clone(), lambda c: c.as_subclass(Tensor).mul_(2)),
    "in place over a slice": lambda t: _changed(t.clone(), lambda c: c[0].mul_(2)),
    "set": lambda t: _changed(t.clone(), lambda c: c.__setitem__(slice(None), c / 7)),
    "stack with others": lambda t: torch.stack([t, t * 2]),
    "mask": lambda t: t.as_subclass(TensorMask3D),
    "resample": lambda t: t.resample(1),
    "resize": lambda t: t.resize_3d_tensor((2, 2, 2)),
}


def _changed(t, change):
    change(t)
    return t


class TestOperations:
    @pytest.mark.parametrize("name", KEPT)
    def test_that_move_voxels_keep_it(self, name):
        image, _ = padded()
        assert KEPT[name](image).padding == ((PAD, PAD),)

    @pytest.mark.parametrize("name", DROPPED)
    def test_that_change_values_drop_it(self, name):
        image, _ = padded()
        assert DROPPED[name](image).padding == ()
        assert image.padding == ((PAD, PAD),)

    @settings(max_examples=60, deadline=None)
    @given(names=st.lists(st.sampled_from([*KEPT, *DROPPED]), min_size=1, max_size=4), seed=st.integers(0, 99))
    def test_what_is_said_to_be_padding_is(self, names, seed):
        """Whatever is done: a voxel that is said to be padding has the padding's value, and was not computed."""
        image, _ = padded((5, 6, 7), seed=seed)
        values = set(image.flatten().tolist())
        for name in names:
            if image.ndim != 3:
                break
            image = {**KEPT, **DROPPED}[name](image)
        if image.padding:
            assert set(image.flatten().tolist()) <= values

    @pytest.mark.parametrize("change", [lambda t: t.resample(1.3), lambda t: t.resize_3d_tensor((5, 7, 9))])
    def test_that_interpolate_do_not_mix_it_with_measurements(self, change):
        image, outside = padded(value=62512.0)
        inside = image.as_subclass(Tensor)[~outside]
        result = change(image)
        assert inside.min() <= result.min() <= result.max() <= inside.max()

    def test_a_transform_that_gives_a_plain_tensor_drops_it(self):
        from fasttransform import Transform

        class Double(Transform):
            def encodes(self, x: TensorDicom3D):
                return x.as_subclass(Tensor) * 2

        result = Double()(padded()[0])
        assert isinstance(result, TensorDicom3D)
        assert result.padding == ()


def test_pictures_are_scaled_by_the_rest():
    from faimed3d.display.arrays import as_array, value_range

    image, outside = padded(value=62512.0)
    inside = image.as_subclass(Tensor)[~outside]
    assert value_range(as_array(image)) == value_range(inside.numpy())
    assert image.max() == 62512


class TestTransforms:
    @pytest.mark.parametrize("transform", [MaxScale(), ZScore3D()])
    def test_scale_by_the_rest(self, transform):
        image, outside = padded(value=62512.0)
        inside = image.as_subclass(Tensor)[~outside]
        result = transform(image).as_subclass(Tensor)
        expected = transform(TensorDicom3D(inside[None, None])).as_subclass(Tensor).flatten()
        torch.testing.assert_close(result[~outside], expected)
        assert (result[outside] == expected.min()).all()

    @pytest.mark.parametrize("transform", [RandomNoise3D(p=1), RandomRotate3D(p=1), Normalize3D(40.0, 20.0)])
    def test_others_take_it_for_the_smallest_value(self, transform):
        image, _ = padded(value=62512.0)
        torch.manual_seed(0)
        result = transform(image, split_idx=0)
        torch.manual_seed(0)
        expected = transform(fill_padding(image), split_idx=0)
        assert torch.equal(result.as_subclass(Tensor), expected.as_subclass(Tensor))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_the_network_sees_none(self, tmp_path, workers):
        rng = np.random.default_rng(0)
        for case in range(4):
            stored = rng.integers(0, 200, (3, 4, 5)).astype(np.uint16)
            stored[:, :, :2] = 63536
            write_series(tmp_path / f"{case}", stored, RescaleSlope=1, RescaleIntercept=-1024, PixelPaddingValue=63536)
        import pandas as pd

        table = pd.DataFrame({"folder": [f"{case}" for case in range(4)], "label": [0, 1, 0, 1]})
        dls = ImageDataLoaders3D.from_df(
            table, tmp_path, fn_col="folder", label_col="label", bs=2, num_workers=workers, valid_pct=0.5, device="cpu"
        )
        images, _ = dls.train.one_batch()
        assert images.max() < 200 - 1024
