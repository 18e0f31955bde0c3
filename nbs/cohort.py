"""What the tutorials read is written here, so that they begin where you begin: with folders of patients.

The brain is the MNI152 template that the nilearn package carries (1 mm, skull removed, symmetric), with its maps of
grey and white matter. Nothing is downloaded, and no patient is real but in :func:`hippocampi`, where real ones are used
if they lie beside this project.
"""

import itertools
import os
import shutil
from functools import cache
from pathlib import Path

import nilearn
import numpy as np
import pandas as pd
import pydicom
import torch
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from scipy.ndimage import binary_closing, binary_dilation, gaussian_filter

from faimed3d.augment import RandomAffine3D, RandomElastic3D, RandomSpatial3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.dicom import write_series

NILEARN = Path(nilearn.__file__).parent / "datasets" / "data"
DECATHLON = Path(__file__).resolve().parents[2] / "shared" / "data" / "hippocampus"
TISSUES = ["background", "grey matter", "white matter"]
PARTS = ["background", "anterior", "posterior"]


# The brain ------------------------------------------------------------------------------------------------------------


@cache
def brain():
    """The template (D, H, W) and the shares of grey and white matter in its voxels; w to the left, h to the back."""
    names = (f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz" for name in ("t1", "gm", "wm"))
    t1, grey, white = (TensorDicom3D.create(NILEARN / name).reorient("LPS") for name in names)
    return t1, grey / 255, white / 255


def tissues():
    """Mask of the template: 1 grey matter, 2 white matter."""
    t1, grey, white = brain()
    labels = torch.where(grey + white < 0.5, 0, torch.where(grey >= white, 1, 2))
    return TensorMask3D(torch.Tensor(labels).to(torch.uint8), like=t1, codes=TISSUES)


def write_patient(folder="patient"):
    """A patient: ``T1``, axial MR slices 2 mm apart, ``CT``, and ``tissue.nii.gz``, stored in another orientation."""
    os.makedirs(folder)
    t1 = brain()[0]
    _write(f"{folder}/T1", (t1 * 4)[8:168:2, 16:216, 14:183], "T1 template", 1)
    for path in _write(f"{folder}/CT", head_ct()[16:184:2, 4:228, 4:193], "CT head", 2, modality="CT"):
        _edit(path, WindowCenter=35, WindowWidth=90)
    tissues().reorient("RAS").save(f"{folder}/tissue.nii.gz")


def head_ct():
    """A head in HU around the brain of the template: grey and white matter, fluid, a skull, skin."""
    t1, grey, white = brain()
    inside = binary_closing(np.pad(t1.numpy() > 0, 20), iterations=12)[20:-20, 20:-20, 20:-20]
    skull = binary_dilation(inside, iterations=6)
    head = binary_dilation(skull, iterations=5)
    values = np.full(t1.shape, -1000.0)
    values[head], values[skull] = 40, 900
    soft = 8 + 32 * grey.numpy() + 22 * white.numpy()
    values[inside] = soft[inside]
    values = gaussian_filter(values, 0.7) + np.random.default_rng(0).normal(0, 3, t1.shape)
    return TensorDicom3D(torch.from_numpy(values.round()).float(), like=t1)


def write_archive(folder="archive"):
    """What an export of a hospital may look like: several series in a folder, and what is missing, double or cut.

    Returns:
        The T1 scan as it was before, and the share of grey matter in its voxels.
    """
    t1, grey, _ = (volume[6:168:3, 16:216, 14:183] for volume in brain())
    t1 = t1 * 4
    folder, made = Path(folder), Path(folder, "made")
    (folder / "head").mkdir(parents=True)
    made.mkdir()

    # one folder with two series, a localizer and a text file
    for path in _write(made / "T1", t1, "T1 axial", 2) + _write(made / "grey", grey, "grey matter", 3):
        shutil.copy(path, folder / "head" / pydicom.dcmread(path).SOPInstanceUID[-10:])
    sagittal = t1.flip(0)[..., 84:85].permute(2, 0, 1)
    scout = _write(made / "scout", sagittal, "localizer", 1)[0]
    _edit(scout, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    shutil.copy(scout, folder / "head" / "scout.dcm")
    (folder / "head" / "README.txt").write_text("Exported on Friday")
    # a slice is missing
    os.remove(_write(folder / "incomplete", t1, "T1 axial, sent again", 4)[20])
    # a copy of a slice lies beside it
    paths = _write(folder / "copied", t1, "T1 axial, sent twice", 5)
    shutil.copy(paths[30], folder / "copied" / "IM0031 (1).dcm")
    # the transfer ended in the middle of a file
    path = Path(_write(folder / "cut", t1, "T1 axial, slow network", 6)[10])
    path.write_bytes(path.read_bytes()[:-20000])
    # three time points in one series: a contrast agent flows in
    (folder / "dynamic").mkdir()
    for time in range(3):
        for path in _write(made / f"dynamic{time}", t1 + 200 * time * grey, "perfusion", 7):
            _edit(path, SeriesInstanceUID="2.25.7", TemporalPositionIdentifier=time + 1)
            shutil.move(path, folder / "dynamic" / f"{time}{Path(path).name}")
    shutil.rmtree(made)
    return t1, grey


def _write(folder, volume, description, number, modality="MR", name="Template^MNI", date="20090701"):
    """A volume as a DICOM series of a study of ``name``."""
    patient, study = Dataset(), name if date == "20090701" else name + date
    patient.PatientName, patient.PatientID, patient.StudyDate = name, name.split("^")[-1], date
    patient.StudyInstanceUID, patient.FrameOfReferenceUID = (generate_uid(entropy_srcs=[study, k]) for k in "ab")
    text = {"series_description": description, "series_number": number}
    return write_series(folder, volume.numpy(), volume.geometry, patient, modality=modality, **text)


def _edit(path, **elements):
    """Change elements of a file, named by their keywords."""
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


# Patients with a hippocampus ------------------------------------------------------------------------------------------


def hippocampi(folder="cohort", patients=20):
    """Write the scans of patients with a mask of the hippocampus, and list them.

    Those of the Medical Segmentation Decathlon (Task04, CC-BY-SA 4.0) where they lie in ``shared/data/hippocampus``
    beside this project. Else ``patients`` of our own making, T1 as DICOM: each one is the template, deformed, with
    a contrast, noise and voxels of its own; its hippocampus is the grey matter around a line through the real one.

    Returns:
        DataFrame with the columns ``patient``, ``T1``, ``T2`` (made from T1) and ``mask`` (1 anterior, 2 posterior).
    """
    folder = Path(folder)
    real = sorted((DECATHLON / "imagesTr").glob("*.nii.gz"))
    if real:
        chosen = [real[number] for number in np.linspace(0, len(real) - 1, patients).round().astype(int)]
        return pd.DataFrame([_copy_patient(folder / path.name[:-7], path) for path in chosen])
    return pd.DataFrame([_make_patient(folder / f"patient_{number + 1:02}", number) for number in range(patients)])


def write_export(folder="export", masks="masks", patients=9):
    """MR scans of made patients as a PACS exports them: a folder a study, with a localizer; the first two came twice.

    In one study a slice is missing. A radiologist's masks lie in ``masks``, named by patient and date. A scan of one
    more patient is in ``new_patient``.
    """
    Path(masks).mkdir()
    visits = [(number, "20240310") for number in range(patients)] + [(0, "20250121"), (1, "20250122")]
    for count, (number, date) in enumerate(visits):
        t1, mask = deformed_hippocampus(count)
        study, name = Path(folder, f"{7001 + 13 * count}"), f"Patient^{number + 1:02}"
        study.mkdir(parents=True)
        scout = t1[:, :, t1.shape[2] // 2 :][..., :1].permute(2, 0, 1)
        paths = _write(study / "series1", scout, "localizer", 1, name=name, date=date)
        _edit(paths[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        paths = _write(study / "series2", t1, "T1 3D", 2, name=name, date=date)
        mask.save(f"{masks}/{number + 1:02}_{date}.nii.gz")
        if count == 5:
            os.remove(paths[20])
    _write("new_patient", deformed_hippocampus(40)[0], "T1 3D", 2, name="Patient^99")


def _row(folder, ending=""):
    files = {"T1": f"T1{ending}", "T2": "T2.nii.gz", "mask": "hippocampus.nii.gz"}
    return {"patient": folder.name, **{name: f"{folder}/{file}" for name, file in files.items()}}


def _copy_patient(folder, path):
    folder.mkdir(parents=True)
    row = _row(folder, ".nii.gz")
    shutil.copy(path, row["T1"])
    shutil.copy(DECATHLON / "labelsTr" / path.name, row["mask"])
    t2_from(TensorDicom3D.create(path)).save(row["T2"])
    return row


def _make_patient(folder, number):
    folder.mkdir(parents=True)
    t1, mask = deformed_hippocampus(number)
    row = _row(folder)
    _write(row["T1"], t1, "T1 hippocampus", 1, name=f"Patient^{number + 1:02}")
    t2_from(t1).save(row["T2"])
    mask.save(row["mask"])
    return row


def t2_from(t1):
    """What is bright becomes dark, and fluid bright: a stand-in for a second sequence."""
    top = float(np.percentile(t1.numpy(), 99.5))
    return ((top - t1).clamp(min=0) * 0.6).round()


@cache
def _template_hippocampus(right):
    """Box of the template around one hippocampus, and its mask."""
    t1, grey, _ = brain()
    # x to the left, y to the back, z to the head, radius (mm): along the left hippocampus from its head to its tail
    line = (20, 8, -21, 6), (25, 13, -20, 6.5), (29, 20, -17, 5.5), (30, 27, -12, 5), (27, 34, -6, 4.5), (22, 38, -1, 4)
    fine = np.stack([np.interp(np.linspace(0, 5, 60), range(6), column) for column in zip(*line, strict=True)], axis=1)
    if right:
        fine[:, 0] *= -1
    start = t1.geometry.world_to_index(fine[:, :3].mean(0)).round().astype(int) - (32, 38, 32)
    box = tuple(slice(int(k), int(k) + n) for k, n in zip(start, (64, 76, 64), strict=True))
    image, grey = t1[box], grey[box]
    index = np.indices(image.shape).reshape(3, -1).T
    world = image.geometry.index_to_world(index)
    inside = np.zeros(len(world), bool)
    for x, y, z, radius in fine:
        inside |= np.linalg.norm(world - (x, y, z), axis=1) < radius
    inside &= grey.numpy().ravel() > 0.45
    labels = np.where(inside, np.where(world[:, 1] < 21, 1, 2), 0).reshape(image.shape)
    return image, TensorMask3D(labels.astype(np.uint8), like=image, codes=PARTS)


def deformed_hippocampus(number):
    """Image and mask of one made patient."""
    torch.manual_seed(number)
    random = np.random.default_rng(number)
    pair = _template_hippocampus(right=number % 2 == 1)
    change = RandomSpatial3D(
        RandomAffine3D(p=1, degrees=(8, 8, 8), scale=0.12), RandomElastic3D(p=1, max_displacement=4.0)
    )
    image, mask = change(pair, split_idx=0)
    middle = np.array(image.shape) // 2 + random.integers(-3, 4, 3)
    sides = np.array((35, 50, 36)) + random.integers(-2, 3, 3)
    box = tuple(slice(int(m - n // 2), int(m - n // 2 + n)) for m, n in zip(middle, sides, strict=True))
    image, mask = image[box], mask[box]
    if number % 3 == 2:  # thicker slices
        image, mask = image.resample((1, 1, 1.25)), mask.resample((1, 1, 1.25))
    values = (image.numpy().clip(0) / 255) ** random.uniform(0.8, 1.3)
    values = gaussian_filter(values, 0.5) + random.normal(0, 0.03, values.shape)
    values = (values.clip(0) * random.uniform(300, 1200)).round()
    return TensorDicom3D(torch.from_numpy(values).float(), like=image), mask


# Cubes of the brain ---------------------------------------------------------------------------------------------------


def brain_cubes(folder="cubes", side=16):
    """Cut the template into cubes of ``side`` mm, and say of each what region it shows.

    A cube is white matter if the template's map says so for over three quarters of it. Else it is called after the
    centres of regions within 14 mm of its middle (Seitzman et al. 2020, doi:10.1016/j.neuroimage.2019.116290, with
    nilearn), if all of them agree. Cubes with much air, without a clear answer, or of a rare kind are left out, and
    three of four cubes of cortex, of which there would be too many.

    Returns:
        DataFrame with the columns ``image`` (a file in ``folder``), ``region``, ``place`` and ``white`` (its share).
    """
    image, _, white = brain()
    centres = _centres()

    def region_of(cut):
        cube, share = image[cut], white[cut].mean()
        if (cube > 20).float().mean() < 0.6 or 0.6 < share < 0.75:
            return None
        if share > 0.75:
            return "white matter"
        middle = cube.geometry.index_to_world([(side - 1) / 2] * 3)
        near = centres["anatomy"][np.linalg.norm(centres[["x", "y", "z"]] - middle, axis=1) < 14].unique()
        return near[0] if len(near) == 1 and near[0] in ("cerebellum", "cortex") else None

    Path(folder).mkdir()
    midline = round(float(image.geometry.world_to_index((0, 0, 0))[2]))
    rows, cortex = [], 0
    for d, h, w in itertools.product(*(range(0, n - side, side) for n in (*image.shape[:2], midline))):
        starts = {"left": midline + 1 + w, "right": midline - w - side}
        cuts = {name: (slice(d, d + side), slice(h, h + side), slice(w, w + side)) for name, w in starts.items()}
        region = region_of(cuts["left"])
        cortex += region == "cortex"
        if region is None or (region == "cortex" and cortex % 4):
            continue
        for name, cut in cuts.items():
            file = f"{d:03}_{h:03}_{w:03}_{name}.nii.gz"
            image[cut].save(f"{folder}/{file}")
            rows.append({"image": file, "region": region, "place": file[:11], "white": white[cut].mean().item()})
    return pd.DataFrame(rows)


def _centres():
    """300 centres of regions (x, y, z, mm) with their anatomy."""
    centres = pd.read_csv(NILEARN / "seitzman_2018_ROIs_300inVol_MNI_allInfo.txt", sep=r"\s+")[["x", "y", "z"]]
    centres[["x", "y"]] *= -1  # from the right and the front to the left and the back
    anatomy = ["cortex"] * 3 + ["hippocampus or amygdala"] * 2 + ["deep grey matter"] * 2 + ["cerebellum"]
    codes = (NILEARN / "seitzman_2018_ROIs_anatomicalLabels.txt").read_text().split()[1:]
    centres["anatomy"] = [anatomy[int(code)] for code in codes]
    return centres
