"""Ten lines from a table of DICOM series to a mask over a new patient's scan, right in millimetres."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from dicom_series import AXIAL, OBLIQUE, direction_of, write_series
from fastai.torch_core import set_seed
from torch import Tensor
from torchvision.models.video import r3d_18

from faimed3d.augment import PadOrCrop3D, Resample3D, aug_transforms_3d
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.models import UNet3D
from faimed3d.training import unet_learner_3d
from faimed3d.volume import TensorMask3D

PATIENTS = 5
SHAPE = (11, 30, 34)  # D, H, W
SPACING = (1.25, 1.5, 3.0)  # x, y, z mm
RADII = np.array([9.0, 7.0, 8.0])  # of the ellipsoid in mm, along the axes of the patient
VOLUME = 4 / 3 * np.pi * RADII.prod()


def scan(number, random, orientation=AXIAL, spacing=SPACING, shape=SHAPE):
    """Stored values (D, H, W), the labels, the origin, and the centre of the bright ellipsoid in mm (LPS)."""
    direction, origin = direction_of(orientation), np.array([-20.0 + 9 * number, 35.0, -110.0 + 13 * number])
    shift = random.uniform(-1, 1, 3) * (3.0, 3.0, 2.0)  # mm from the middle of the scan
    centre = origin + direction @ ((np.array(shape[::-1]) - 1) / 2 * spacing) + shift
    axes = [np.arange(n) for n in shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), -1)[..., ::-1]  # x, y, z
    world = origin + (index * spacing) @ direction.T
    inside = (((world - centre) / RADII) ** 2).sum(-1) <= 1
    values = 80 + 420 * inside + random.normal(0, 40, shape)
    return values.round().astype(np.int16), inside.astype(np.uint8), origin, centre


def save_mask(labels, origin, path, flipped):
    """Write labels (D, H, W) of an axial scan as NIfTI; ``flipped``: the same voxels, stored from the other corner."""
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(SPACING)
    image.SetOrigin(tuple(origin))
    sitk.WriteImage(sitk.Flip(image, (True, True, False)) if flipped else image, str(path))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Folder of DICOM series with masks, two scans of each patient, a ``cases.csv``, and an oblique scan to predict."""
    root, random, rows = tmp_path_factory.mktemp("archive"), np.random.default_rng(3), []
    for number in range(2 * PATIENTS):
        stored, labels, origin, _ = scan(number, random)
        image, mask = f"series/{number:03}", f"masks/{number:03}.nii.gz"
        uids = {"StudyInstanceUID": f"1.2.7.{number}", "SeriesInstanceUID": f"1.2.7.{number}.1"}
        write_series(root / image, stored, origin, AXIAL, SPACING, **uids)
        (root / "masks").mkdir(exist_ok=True)
        save_mask(labels, origin, root / mask, flipped=number % 2 == 1)
        rows.append({"image": image, "mask": mask, "patient": f"P{number // 2}"})
    pd.DataFrame(rows).to_csv(root / "cases.csv", index=False)
    stored, _, origin, centre = scan(4, random, OBLIQUE, (1.1, 1.1, 2.5), (14, 40, 38))
    write_series(root / "new_patient", stored, origin, OBLIQUE, (1.1, 1.1, 2.5))
    return root, centre


@pytest.fixture
def cases(archive, monkeypatch):
    monkeypatch.chdir(archive[0])
    return pd.read_csv("cases.csv")


def loaders(df):
    return SegmentationDataLoaders3D.from_df(
        df, fn_col="image", label_col="mask", group_col="patient", seed=0,
        item_tfms=[Resample3D((2, 2, 2.5)), PadOrCrop3D((14, 24, 24))], batch_tfms=aug_transforms_3d(), bs=2,
        num_workers=0,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _only_own_figures():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture(autouse=True)
def _one_thread():
    """Volumes this small are done sooner by one thread than by several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore:validation. of 2 masks")  # 87 % of the organs are left here
def test_from_a_table_to_a_mask_in_the_patient(cases, archive, tmp_path):
    set_seed(0)
    dls = loaders(cases)
    dls.show_batch()
    learn = unet_learner_3d(dls, UNet3D, model_args={"widths": (8, 16, 32)})
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(15, 1e-2)
        learn.show_results()
    mask = learn.predict_volume("new_patient/")
    volume = mask.calc_volume()["total_mask_volume"]
    mask.save(tmp_path / "segmentation.nii.gz")

    assert type(mask) is TensorMask3D
    truth = archive[1]
    scanned = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames("new_patient"))
    written = sitk.ReadImage(str(tmp_path / "segmentation.nii.gz"))
    assert written.GetSize() == scanned.GetSize()
    assert np.allclose(written.GetOrigin(), scanned.GetOrigin(), atol=1e-3)
    assert np.allclose(written.GetSpacing(), scanned.GetSpacing(), atol=1e-5)
    assert np.allclose(written.GetDirection(), scanned.GetDirection(), atol=1e-5)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(sitk.Cast(written, sitk.sitkUInt8))
    assert statistics.GetLabels() == (1,)
    assert volume == pytest.approx(statistics.GetPhysicalSize(1), rel=1e-4)
    assert volume == pytest.approx(VOLUME, rel=0.15)
    found = written.TransformPhysicalPointToContinuousIndex(statistics.GetCentroid(1))
    expected = scanned.TransformPhysicalPointToContinuousIndex(tuple(truth))
    assert np.abs(np.subtract(found, expected)).max() < 0.5  # voxels of the scan
    assert np.linalg.norm(np.subtract(statistics.GetCentroid(1), truth)) < 0.5 * 2.5  # mm: half the thickness


def test_patients_are_on_one_side_each(cases):
    dls = loaders(cases)
    sides = [set(dl.items["patient"]) for dl in (dls.train, dls.valid)]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == PATIENTS


def test_the_same_with_a_net_of_torchvision(cases):
    dls = loaders(cases)
    learn = unet_learner_3d(dls, r3d_18)  # pretrained=False: works without a network
    images, masks = dls.valid.one_batch()
    scores = learn.model.eval()(images.as_subclass(Tensor))
    assert scores.shape == (len(images), 2, *masks.shape[1:])
