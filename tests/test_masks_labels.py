"""What a mask is, what labels are, and how large classes are."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.geometry import Geometry
from faimed3d.masks import are_labels, class_volumes, is_mask
from faimed3d.masks.labels import as_integers, common_type, holds, label_counts, labels_in, round_labels
from faimed3d.volume import TensorDicom3D, TensorMask3D


def test_the_type_says_what_is_a_mask():
    assert is_mask(TensorMask3D(torch.rand(2, 3, 4)))
    assert not is_mask(TensorDicom3D(torch.zeros(2, 3, 4, dtype=torch.int64)))
    assert not is_mask(torch.zeros(2, 3, 4, dtype=torch.bool))
    assert not is_mask(None)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_whole_numbers_of_any_type_are_labels(dtype):
    assert are_labels(torch.tensor([0, 1, 117]).to(dtype))


class TestAsIntegers:
    """What SimpleITK's filters of labels get."""

    @given(
        labels=st.lists(st.integers(-(2**24), 2**24) | st.integers(0, 300), min_size=1, max_size=24),
        dtype=st.sampled_from([torch.float32, torch.float64]),
    )
    def test_every_label_is_kept(self, labels, dtype):
        whole = as_integers(torch.tensor(labels).to(dtype))
        assert whole.tolist() == labels
        assert not whole.is_floating_point()
        assert (whole.dtype == torch.uint8) == all(0 <= label <= 255 for label in labels)

    @pytest.mark.parametrize("value", [0.5, 0.9999, torch.nan, torch.inf, -torch.inf, 2.0**63, -(2.0**63)])
    def test_what_no_integer_holds_stays(self, value):
        values = torch.tensor([0, value])
        assert as_integers(values) is values

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.uint16, torch.int64])
    def test_integers_keep_their_type(self, dtype):
        assert as_integers(torch.ones(3).to(dtype)).dtype == dtype

    def test_a_mask_as_it_is_read_goes_through_a_filter_of_labels(self, tmp_path):
        labels = torch.arange(24).reshape(2, 3, 4) % 3
        mask = TensorMask3D(labels.byte(), Geometry((2, 3, 4), (1, 2, 3)))
        mask.save(tmp_path / "mask.nii.gz")
        found = sitk.LabelShapeStatisticsImageFilter()
        found.Execute(TensorMask3D.create(tmp_path / "mask.nii.gz").as_sitk())
        assert {label: found.GetPhysicalSize(label) for label in found.GetLabels()} == {1: 48.0, 2: 48.0}

    def test_images_keep_their_floats(self):
        image = TensorDicom3D(torch.ones(2, 3, 4), Geometry((2, 3, 4)))
        assert image.as_sitk().GetPixelID() == sitk.sitkFloat32


@pytest.mark.parametrize("value", [0.5, torch.nan, torch.inf, -torch.inf])
def test_other_numbers_are_no_labels(value):
    assert not are_labels(torch.tensor([1, value, 2]))


def test_volumes_of_classes_by_hand():
    labels = torch.tensor([[[0, 3, 3, 1]], [[0, 0, 3, 0]]])
    mask = TensorMask3D(labels, Geometry(labels.shape, spacing=(1, 2, 3)))
    expected = {"background": 24, "total_mask_volume": 24, "class 1": 6, "class 3": 18}
    assert class_volumes(labels, 6) == expected
    assert class_volumes(mask.float(), mask.geometry.voxel_volume) == expected
    assert mask.calc_volume() == expected


def test_without_background():
    assert class_volumes(torch.ones(2, 3, 4, dtype=torch.bool), 0.5) == {
        "background": 0,
        "total_mask_volume": 12,
        "class 1": 12,
    }


@pytest.mark.parametrize("value", [0.5, torch.nan, torch.inf])
def test_no_labels_have_no_volumes(value):
    with pytest.raises(ValueError, match=r"the mask holds .*, no whole number and so no label.*threshold=0.5"):
        class_volumes(torch.tensor([0, value]), 1)


def test_volumes_of_labels_that_were_scaled_in_float():
    assert class_volumes(torch.tensor([0.0001, 0.9999, 1.9998, 2.0]), 1.5)["class 2"] == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("part", [0, 1e-4, -1e-4, 9e-4, 2e-3, -0.3, 0.5])
def test_what_lies_within_a_thousandth_is_a_label(dtype, part):
    values = torch.tensor([0.0, 1.0 + part, 3.0]).to(dtype)
    near = abs(values[1].item() - 1) <= 1e-3
    if not near:
        with pytest.raises(ValueError, match=r"holds .*, no whole number and so no label"):
            round_labels(values)
        return
    rounded, had_to = round_labels(values)
    assert rounded.tolist() == [0, 1, 3]
    assert had_to == (values[1] != 1)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 255), max_size=40), st.sampled_from(["bool", "uint8", "uint16", "int16", "int64"]))
def test_counts_are_those_of_numpy(values, name):
    mask = torch.tensor(values, dtype=torch.int64).to(getattr(torch, name))
    for part in (mask, mask[::2]):
        labels, counts = np.unique(part.numpy(), return_counts=True)
        assert label_counts(part) == dict(zip(labels.tolist(), counts.tolist(), strict=True))


NUMPY = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]


@pytest.mark.parametrize("one", NUMPY)
@pytest.mark.parametrize("two", NUMPY)
def test_the_common_type_holds_both(one, two):
    found = common_type(getattr(torch, one), getattr(torch, two))
    expected = getattr(torch, np.promote_types(one, two).name)
    assert found.is_floating_point == expected.is_floating_point
    assert found.itemsize >= expected.itemsize


@given(st.lists(st.integers(0, 12), min_size=1, max_size=1500), st.sampled_from([*NUMPY[1:], "bfloat16"]))
def test_labels_that_a_mask_holds_are_those_that_are_counted(values, dtype):
    mask = TensorMask3D(torch.tensor(values).to(getattr(torch, dtype))[None, None])
    held = set(values)
    assert labels_in(mask) == set(label_counts(mask)) == held
    assert {label for label in range(13) if holds(mask, label)} == held
