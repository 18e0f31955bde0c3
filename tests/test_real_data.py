"""The two types on real scans: a CT series and its segmentation, stored differently, meet in the patient."""

import numpy as np
import SimpleITK as sitk
import torch

from faimed3d.basics import TensorDicom3D, TensorMask3D


def test_a_segmentation_lies_on_its_ct(real_data):
    ct = TensorDicom3D.create(real_data / "abdomen_ct" / "dicom")
    stored = TensorMask3D.create(real_data / "abdomen_ct" / "segmentation.nii.gz")
    assert ct.geometry.orientation != stored.geometry.orientation
    mask = stored.resample_like(ct)
    assert mask.geometry == ct.geometry
    assert set(mask.unique().tolist()) == set(stored.unique().tolist())  # 31 labels, none invented
    assert mask.calc_volume() == stored.calc_volume()
    tissue = (ct[mask > 0] > -300).float().mean()
    assert tissue > 0.97
    assert (ct[torch.from_numpy(stored.numpy()) > 0] > -300).float().mean() < 0.8  # as stored, it lies elsewhere


def test_a_series_is_what_simpleitk_reads(real_data):
    folder = real_data / "abdomen_ct" / "dicom"
    expected = sitk.ReadImage(sitk.ImageSeriesReader().GetGDCMSeriesFileNames(str(folder)))
    ct = TensorDicom3D.create(folder)
    np.testing.assert_array_equal(ct.numpy(), sitk.GetArrayFromImage(expected).astype(np.float32))
    np.testing.assert_allclose(ct.get_origin(), expected.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(ct.get_spacing(), expected.GetSpacing(), atol=1e-3)
    np.testing.assert_allclose(ct.get_direction(), expected.GetDirection(), atol=1e-6)
    table = ct.metadata["table"]
    assert table.shape[1] == 21  # tags, and a column for each of the 20 slices
    assert (table.set_index("tags").loc["0008|0060"] == "CT").all()


def test_another_ct_resampled_to_1_mm_and_reoriented_keeps_its_place(real_data):
    ct = TensorDicom3D.create(real_data / "abdomen_ct" / "other_ct_3mm.nii.gz")
    turned = ct.reorient("RAS").resample((3, 3, 5))
    expected = sitk.Resample(ct.as_sitk(), turned.as_sitk(), sitk.Transform(), sitk.sitkLinear, float(ct.min()))
    np.testing.assert_allclose(turned.numpy(), sitk.GetArrayFromImage(expected), atol=0.05)
