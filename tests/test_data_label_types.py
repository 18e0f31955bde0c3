"""Labels come through reading, casting and batching as they were, or are refused."""

import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from fastai.data.block import DataBlock
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D, MaskBlock3D, SegmentationDataLoaders3D
from faimed3d.data.block_transforms import check_sizes
from faimed3d.data.blocks import read_labels

SHAPE = (2, 3, 4)
PLACE = Geometry(SHAPE, (1, 2, 3), (5, -6, 7), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
TYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64"]


NARROW, WIDE = torch.uint8, torch.int64
LARGEST = {
    "bool": 1, "uint8": 255, "int8": 127, "uint16": 2**16 - 1, "int16": 2**15 - 1, "uint32": 2**32 - 1,
    "int32": 2**31 - 1, "int64": 2**40, "float16": 2048, "float32": 2**24, "float64": 2**40,
}  # fmt: skip


def dtype_of(name):
    return getattr(torch, name)


def labelled(label, dtype=np.int64, shape=SHAPE):
    labels = np.zeros(shape, dtype)
    labels[1, 1, 2] = label
    return labels


class TestBatches:
    """Every mask of a batch keeps its labels, whichever type it was read in and whoever makes the batch."""

    @pytest.mark.parametrize("workers", [0, 2])
    def test_labels_above_255_in_some_cases_only(self, tmp_path, workers):
        for k in range(4):
            TensorMask3D(labelled((7, 300, 70_000, 255)[k]).astype(np.int32), PLACE).save(tmp_path / f"m{k}.nii.gz")
            TensorDicom3D(np.ones(SHAPE, np.float32), PLACE).save(tmp_path / f"i{k}.nii.gz")
        table = pd.DataFrame({"i": [f"i{k}.nii.gz" for k in range(4)], "m": [f"m{k}.nii.gz" for k in range(4)]})
        dls = SegmentationDataLoaders3D.from_df(
            table, tmp_path, fn_col="i", label_col="m", valid_pct=0, bs=4, num_workers=workers, shuffle=False,
            codes=map(str, range(70_001)),
        )  # fmt: skip
        images, masks = next(iter(dls.train))
        assert sorted(int(mask.max()) for mask in masks) == [7, 255, 300, 70_000]
        assert all(PLACE.agrees(item.geometry) for item in (*images, *masks))

    @pytest.mark.parametrize("one", TYPES)
    @pytest.mark.parametrize("two", TYPES)
    def test_two_types_in_one_batch(self, one, two):
        """121 pairs: what torch would write into memory of the first item's type."""
        labels = [LARGEST[one], LARGEST[two]]
        voxels = [torch.full(SHAPE, k, dtype=torch.float64) for k in labels]
        items = [(TensorMask3D(v.to(dtype_of(name)), PLACE),) for v, name in zip(voxels, (one, two), strict=True)]
        (first,), (second,) = check_sizes(items)
        assert first.dtype == second.dtype
        assert [first.double().max(), second.double().max()] == labels
        assert type(first) is TensorMask3D
        assert first.geometry == second.geometry == PLACE

    @pytest.mark.parametrize("func", [torch.stack, torch.cat])
    def test_a_worker_does_not_wrap_labels_of_blocks_of_ones_own(self, func):
        """Where our blocks do not stand in between, torch's own collating is refused what it would lose."""
        narrow, wide = (torch.tensor([k], dtype=d).as_subclass(TensorMask3D) for k, d in ((0, NARROW), (300, WIDE)))
        with pytest.raises(ValueError, match=r"torch\.int64 voxels do not fit memory of torch\.uint8.*one type"):
            func([narrow, wide], out=torch.empty(0, dtype=NARROW).as_subclass(TensorMask3D))
        found = func([narrow, wide], out=torch.empty(0, dtype=WIDE).as_subclass(TensorMask3D))
        assert found.flatten().tolist() == [0, 300]


def near(path):
    labels = np.zeros(SHAPE, np.float32)
    labels[0], labels[1] = 0.9999, 1.9998
    nib.Nifti1Image(labels.T, np.diag([-1, -1, 1, 1])).to_filename(path)


class TestRounding:
    def test_labels_near_whole_numbers_are_read_and_said(self, tmp_path):
        near(tmp_path / "m.nii.gz")
        with pytest.warns(UserWarning, match=r"m\.nii\.gz: holds fractions within 0\.001 of whole numbers"):
            mask = read_labels(tmp_path / "m.nii.gz")
        assert mask.unique().tolist() == [1, 2]
        assert mask.dtype == torch.uint8

    @pytest.mark.parametrize("codes", [None, ["none", "one", "two"]])
    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_table_of_them_says_it_once(self, tmp_path, codes, workers):
        for k in range(4):
            near(tmp_path / f"m{k}.nii.gz")
        files = [tmp_path / f"m{k}.nii.gz" for k in range(4)]
        block = DataBlock((ImageBlock3D, MaskBlock3D(codes)), get_x=lambda f: np.zeros(SHAPE), get_y=lambda f: f)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            dls = block.dataloaders(files, bs=1, num_workers=workers, valid_pct=0)
            for _ in range(2):
                assert all(y.unique().tolist() == [1, 2] for _, y in dls.train)
        said = [str(w.message) for w in said if "fractions within" in str(w.message)]
        assert len(said) <= 1
        if codes is None:
            assert "(as do 3 more of these masks)" in said[0]

    @pytest.mark.parametrize("value", [0.5, 0.998, 1.0015, np.nan, np.inf])
    def test_other_fractions_are_refused_naming_the_way_out(self, value):
        with pytest.raises(ValueError, match=r"a mask from memory: holds .*so no label .*threshold=0\.5"):
            read_labels(labelled(value, np.float32))

    def test_the_way_out_works_where_it_is_named(self):
        probabilities = labelled(0.7, np.float32)
        assert read_labels(probabilities, threshold=0.5).sum() == 1
        assert read_labels(probabilities, threshold=0.8).sum() == 0
        table = pd.DataFrame({"i": [np.zeros(SHAPE)] * 5, "m": [probabilities] * 5})
        dls = SegmentationDataLoaders3D.from_df(table, threshold=0.5, bs=2, num_workers=0, seed=0)
        assert dls.c == 2
        assert dls.train.one_batch()[1].sum() == 2
        with pytest.raises(ValueError, match=r"holds NaN, neither above nor below threshold=0\.5"):
            read_labels(labelled(np.nan, np.float32), threshold=0.5)


def array_source(values, tmp_path):
    return values


def tensor_source(values, tmp_path):
    return torch.from_numpy(values)


def own_source(values, tmp_path):
    return TensorDicom3D(torch.from_numpy(values), PLACE)


def sitk_source(values, tmp_path):
    return sitk.GetImageFromArray(values.astype(np.uint8) if values.dtype == bool else values)


def file_source(suffix):
    def write(values, tmp_path):
        values = values.astype(np.uint8) if values.dtype == bool else values
        path = tmp_path / f"v{suffix}"
        if suffix == ".npy":
            np.save(path, values)
        else:
            TensorDicom3D(torch.from_numpy(values), PLACE).save(path)
        return path

    return write


SOURCES = {
    "array": array_source, "tensor": tensor_source, "own": own_source, "sitk": sitk_source,
    **{suffix: file_source(suffix) for suffix in (".nii.gz", ".nrrd", ".mha", ".npy")},
}  # fmt: skip
VALUES = {
    "small": labelled(3, np.uint8), "negative": labelled(-2, np.int16), "300": labelled(300, np.int32),
    "2**24 + 1": labelled(2**24 + 1, np.int32), "fraction": labelled(0.5, np.float32),
    "near": labelled(0.9999, np.float32), "nan": labelled(np.nan, np.float32), "inf": labelled(np.inf, np.float64),
    "large": labelled(1e20, np.float64), "2.0**24 + 1": labelled(2.0**24 + 1, np.float64),
}  # fmt: skip
NUMBERS = st.integers(-(2**40), 2**40) | st.integers(-3, 300)
TARGETS = [*TYPES, "bfloat16"]


def allowed(value, dtype, mask):
    """The number that a cast must give; None where it must be refused. By Python's own numbers."""
    value = float(value)
    if not dtype.is_floating_point:
        if not np.isfinite(value):
            return None
        if mask and abs(value - round(value)) <= 1e-3:
            value = float(round(value))
        low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
        return value if value.is_integer() and low <= value <= high else None
    if not np.isfinite(value):
        return value
    found = torch.tensor(value, dtype=torch.float64).to(dtype).item()
    if np.isinf(found):
        return None
    return found


def create(kind, source, dtype):
    """What create gives and says, or the text with which it refuses."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            return kind.create(source, dtype=dtype), [str(w.message) for w in said], ""
        except ValueError as error:
            return None, [], str(error)


class TestCreate:
    @pytest.mark.parametrize("kind", [TensorDicom3D, TensorMask3D])
    @pytest.mark.parametrize("target", TARGETS)
    @pytest.mark.parametrize("value", VALUES)
    def test_casts_exactly_or_refuses(self, kind, target, value, tmp_path):
        """12 types x 10 values x 2 types of tensor from 8 sources: 1,920 casts."""
        dtype, values = dtype_of(target), VALUES[value]
        number = values[1, 1, 2].item()
        expected = allowed(number, dtype, kind is TensorMask3D)
        whole = values.dtype.kind != "f" or (kind is TensorMask3D and float(number).is_integer())
        if whole and expected != number:  # whole numbers and labels are never merged
            expected = None
        for name, make in SOURCES.items():
            found, said, refused = create(kind, make(values, tmp_path), dtype)
            if expected is None:
                assert "dtype=None" in refused or "no label" in refused, (name, found)
                continue
            assert not refused, name
            assert found.dtype == dtype
            assert found[1, 1, 2].double().item() == pytest.approx(expected, rel=1e-6, nan_ok=True), name
            rounded = kind is TensorMask3D and value == "near" and not dtype.is_floating_point
            assert any("fractions within" in text for text in said) == rounded

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(TYPES), st.sampled_from(TARGETS), st.lists(NUMBERS, min_size=1, max_size=4))
    def test_whole_numbers_come_out_or_are_refused(self, stored, target, numbers):
        mask = TensorMask3D(torch.tensor(numbers, dtype=torch.int64).to(dtype_of(stored)).reshape(1, 1, -1))
        values = mask.flatten().double().tolist()
        found, _, refused = create(TensorMask3D, mask, dtype_of(target))
        fits = all(allowed(value, dtype_of(target), True) == value for value in values)
        assert bool(refused) != fits
        assert refused or found.flatten().double().tolist() == values

    def test_gradients_stay(self):
        t = torch.rand(SHAPE, dtype=torch.float64, requires_grad=True)
        assert TensorDicom3D.create(t).requires_grad
