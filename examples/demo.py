"""Run the main job of faimed3d on a real brain: read, compare, measure, draw, train, predict.

    python examples/demo.py [folder]

Everything is written to the folder, ``demo_out`` by default. The data is the brain template that the nilearn package
carries (MNI ICBM152, 1 mm, skull removed), so nothing is downloaded. Exits with an error if a check fails.
"""

# ruff: noqa: E402 - what comes before the imports must be set before them

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import itertools
import shutil
import sys
import time
import warnings
from pathlib import Path

# fastai compiles its activations with torch.jit.script when it is imported
warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import torch
from fastai.layers import NormType
from fastai.torch_core import set_seed
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.ndimage import distance_transform_edt

import faimed3d.evaluation  # noqa: F401 - gives Learner its evaluate
from faimed3d.augment import Normalize3D, Resample3D, aug_transforms_3d
from faimed3d.basics import TensorDicom3D, TensorMask3D, readdcm_3d, show_image_3d
from faimed3d.data import SegmentationDataLoaders3D, intensity_stats
from faimed3d.models import UNet3D
from faimed3d.training import dice_per_class, unet_learner_3d

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "demo_out")
SLOPE, INTERCEPT = 0.25, -16.0  # of the DICOM files: value = SLOPE * stored + INTERCEPT
GREY, WHITE = 1, 2
CODES = ["background", "grey matter", "white matter"]
SPACING = 1.5  # mm, of what the network sees
PATCH, STEP = 32, 24  # voxels: side of a patch, and at most from one to the next
MARGIN = 12  # voxels of air around the brain to train on
FRONT = -30  # mm in LPS, where y grows to the back: what lies before it is for validation and test
FAR = 5  # mm from the brain: tissue found there is false
EPOCHS = 10


def main():
    started = time.perf_counter()
    OUT.mkdir(parents=True, exist_ok=True)
    for name in ("dicom", "patches"):  # of an earlier run
        shutil.rmtree(OUT / name, ignore_errors=True)
    brain, dicom, nifti, labels = write_data()
    image = read_and_compare(brain, dicom, nifti)
    mask = measure(labels)
    draw(image, mask)
    learn, mask = train(image, mask)
    predict(learn, image, mask, dicom)
    score(learn, dicom, labels)
    section("Written")
    for path in sorted(OUT.iterdir()):
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files) / 1e6
        print(f"  {path}{'' if path.is_file() else f'/ ({len(files)} files)'}, {size:.1f} MB")
    print(f"All checks passed in {time.perf_counter() - started:.0f} s.")


def section(title):
    print(f"\n{title}")


def check(what, holds):
    print(f"  {'ok' if holds else 'FAILED'}: {what}")
    if not holds:
        sys.exit(f"demo: check failed: {what}")


# Data ----------------------------------------------------------------------------------------------------------------


def packaged(name):
    """One of the brain maps within the nilearn package, as nibabel reads it."""
    import nilearn

    return nib.load(Path(nilearn.__file__).parent / "datasets" / "data" / f"mni_icbm152_{name}_converted.nii.gz")


def write_data():
    section("1. A brain, written as a DICOM series and as NIfTI")
    t1 = packaged("t1_tal_nlin_sym_09a")
    # (x, y, z), each towards Right/Anterior/Superior: "RAS"
    brain = t1.get_fdata(dtype=np.float32) * np.float32(1000 / 255)
    grey, white = (packaged(f"{name}_tal_nlin_sym_09a").get_fdata(dtype=np.float32) / 255 for name in ("gm", "wm"))
    tissue = np.where(grey + white < 0.5, 0, np.where(grey >= white, GREY, WHITE)).astype(np.uint8)

    nifti, labels, dicom = OUT / "brain.nii.gz", OUT / "tissue.nii.gz", OUT / "dicom"
    nib.save(nib.Nifti1Image(brain, t1.affine), nifti)
    nib.save(nib.Nifti1Image(tissue, t1.affine), labels)
    slices = write_dicom_series(brain, t1.affine, dicom)
    print(f"  {nifti}: {brain.shape[0]} x {brain.shape[1]} x {brain.shape[2]} voxels, float32, written by nibabel")
    print(f"  {labels}: {GREY} = grey matter, {WHITE} = white matter")
    print(f"  {dicom}/: {slices} axial slices, int16, slope {SLOPE}, intercept {INTERCEPT}, written by pydicom")
    return brain, dicom, nifti, labels


def write_dicom_series(volume, affine, folder):
    """Write ``volume`` (x, y, z) with its RAS ``affine`` as axial MR slices, in files whose names say nothing."""
    folder.mkdir()
    lps = np.diag([-1, -1, 1, 1]) @ affine  # DICOM's x and y grow to the left and to the back
    columns = lps[:3, :3]
    flipped = [axis for axis in range(3) if columns[axis, axis] < 0]
    origin = lps[:3, 3] + columns[:, flipped] @ (np.array(volume.shape)[flipped] - 1)
    spacing = np.linalg.norm(columns, axis=0)
    stored = np.round((np.flip(volume, flipped) - INTERCEPT) / SLOPE).astype("<i2")
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(stored.shape[2]):
        pixels = np.ascontiguousarray(stored[:, :, k].T)  # rows are y, columns are x
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ImageType = ["DERIVED", "SECONDARY", "M"]
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260101", "120000", "1", ""
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "MR", 1, k + 1
        ds.SeriesDescription = "T1 template"
        ds.Manufacturer = ds.ReferringPhysicianName = ds.PatientBirthDate = ds.PatientSex = ds.Laterality = ""
        ds.PositionReferenceIndicator = ""
        ds.PatientName, ds.PatientID, ds.PatientPosition = "Template^MNI", "MNI152", "HFS"
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "RM", "NONE", "", "3D"
        ds.EchoTime = ds.EchoTrainLength = ds.RepetitionTime = None
        ds.SliceThickness = f"{spacing[2]:g}"
        ds.PixelSpacing = [f"{spacing[1]:g}", f"{spacing[0]:g}"]  # between rows, between columns
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        ds.ImagePositionPatient = [f"{v:g}" for v in (*origin[:2], origin[2] + k * spacing[2])]
        ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = str(SLOPE), str(INTERCEPT), "US"
        ds.PixelData = pixels.tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(folder / f"{ds.SOPInstanceUID.split('.')[-1]}.dcm", enforce_file_format=True)
    return stored.shape[2]


# Reading, measuring, drawing -----------------------------------------------------------------------------------------


def read_and_compare(brain, dicom, nifti):
    section("2. Both read with faimed3d")
    from_dicom, from_nifti = TensorDicom3D.create(dicom), TensorDicom3D.create(nifti)
    for name, t in (("DICOM", from_dicom), ("NIfTI", from_nifti)):
        print(f"  {name}: {t!r}")
        print(f"         stored {t.geometry.orientation}, origin {tuple(round(v, 3) for v in t.get_origin())} mm (LPS)")
        plain = t.as_subclass(torch.Tensor)
        print(f"         values {plain.min():.2f} to {plain.max():.2f}, mean {plain.mean():.2f}, sd {plain.std():.2f}")
    table = from_dicom.metadata["table"]
    print(f"  header table of the series: {len(table)} tags x {len(table.columns) - 1} slices")
    same = from_nifti.reorient("LPS")
    check("after reorient('LPS') both lie on one grid", same.geometry.agrees(from_dicom.geometry))
    difference = (same - from_dicom).abs().max().item()
    check(f"voxels agree: largest difference {difference:.4f}, rounding step {SLOPE}", difference <= SLOPE / 2 + 1e-4)
    check("voxels of the NIfTI are nibabel's", np.array_equal(from_nifti.numpy(), brain.transpose(2, 1, 0)))
    copy = OUT / "brain_from_dicom.nrrd"
    from_dicom.save(copy)
    again = TensorDicom3D.create(copy)
    check("saved as NRRD and read again: equal voxels and grid", again.geometry.agrees(from_dicom.geometry))
    check("... to the last bit", torch.equal(again, from_dicom))
    scaled = readdcm_3d(dicom)
    check("readdcm_3d scales to a maximum of 1", scaled.max().item() == 1)
    return from_dicom


def measure(labels):
    section("3. Volumes")
    mask = TensorMask3D.create(labels)
    mask.codes = CODES
    volumes = mask.calc_volume()
    for name in CODES[1:]:
        print(f"  {name}: {volumes[name] / 1000:.1f} ml")
    stored = nib.load(labels)
    voxel = abs(np.linalg.det(stored.affine[:3, :3]))
    expected = {label: np.count_nonzero(np.asarray(stored.dataobj) == label) * voxel for label in (GREY, WHITE)}
    check("equal to nibabel's count of voxels", all(volumes[CODES[k]] == v for k, v in expected.items()))
    half = mask.resample(2).calc_volume()
    change = abs(half["total_mask_volume"] / volumes["total_mask_volume"] - 1)
    check(f"resampled to 2 mm the brain keeps its volume: {change:.2%} off", change < 0.02)
    return mask


def draw(image, mask):
    section("4. Pictures")
    image = image.strip()  # without the empty slices, rows and columns around the brain
    mask = mask.resample_like(image)
    for plane in ("axial", "coronal", "sagittal"):
        ax = show_image_3d(image, axis=plane, nrow=6, max_slices=12, slice_numbers=True, letters=True, figsize=(12, 12))
        save(ax.figure, f"grid_{plane}.png")
        ax = show_image_3d(image, axis=plane, mask=mask, mask_alpha=0.5, nrow=4, max_slices=4, figsize=(12, 12))
        save(ax.figure, f"overlay_{plane}.png")
    save(histograms(image), "histogram.png")
    surfaces = mask.crop_3d(((0, 0), (0, 0), (0, mask.shape[2] // 2)))  # the right half, so that the inside is seen
    ax = surfaces.render_3d(alpha=1.0)
    ax.view_init(elev=15, azim=30)
    save(ax.figure, "surface.png")
    save(overview(image, mask), "overview.png")


def overview(image, mask):
    """The middle of the brain in three planes, classes over it, and their surfaces."""
    figure = plt.figure(figsize=(12, 3), facecolor="black")
    half = mask[..., mask.shape[2] // 2 :]
    side = max(image.shape) + 24  # room for the letters
    image, mask = image.pad_or_crop(side), mask.pad_or_crop(side)
    for axis in range(3):
        middle = slice(int(0.47 * side), int(0.47 * side) + 1)
        cut = tuple(middle if other == axis else slice(None) for other in range(3))
        ax = figure.add_axes((0.25 * axis + 0.005, 0, 0.24, 1))
        image[cut].show(ctx=ax, axis=axis, mask=mask[cut], mask_alpha=0.45, letters=True)
    ax = figure.add_axes((0.75, 0, 0.25, 1), projection="3d", facecolor="black")
    half.render_3d(colors=("lightcoral", "limegreen"), alpha=(0.15, 1), ax=ax, legend=False)
    ax.set_box_aspect([np.ptp(limits) for limits in (ax.get_xlim(), ax.get_ylim(), ax.get_zlim())], zoom=1.35)
    ax.view_init(elev=12, azim=-155)
    ax.set_axis_off()
    return figure


def histograms(image):
    """Values of the brain before and after ``hist_scaled``, and what it looks like after."""
    scaled = image.hist_scaled()
    figure, axes = plt.subplots(2, 2, figsize=(10, 6), width_ratios=(2, 1), layout="constrained")
    for row, (t, title) in enumerate(((image, "as read"), (scaled, "after hist_scaled"))):
        inside = image.as_subclass(torch.Tensor) > 0.5
        axes[row, 0].hist(t.as_subclass(torch.Tensor)[inside].numpy(), bins=80, color="steelblue")
        axes[row, 0].set(title=f"Values of the brain {title}", ylabel="voxels", xlabel="value")
        t[len(t) // 2 : len(t) // 2 + 1].show(ctx=axes[row, 1])
    return figure


def save(figure, name):
    figure.savefig(OUT / name, dpi=80)
    plt.close(figure)
    print(f"  {OUT / name}")


# Training ------------------------------------------------------------------------------------------------------------


def write_patches(image, mask, front):
    """Cut the left hemisphere into overlapping cubes; those in front of the row ``front`` are for validation.

    No cube crosses that row, so nothing that validation sees is trained on. A few of the cubes of air alone are trained
    on, too: a network that never saw one invents tissue there.

    Returns a table with the columns image, mask and valid.
    """
    folders = {name: OUT / "patches" / name for name in ("images", "masks")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    rows, air = [], 0
    for valid, begin, end in ((True, 0, front), (False, front, image.shape[1])):
        sides = image.shape[0], end - begin, image.shape[2]
        for d, h, w in itertools.product(*map(corners, sides)):
            h += begin
            cut = (slice(d, d + PATCH), slice(h, h + PATCH), slice(w, w + PATCH))
            if not (mask[cut] > 0).any():
                air += not valid
                if valid or air % 4:
                    continue
            name = f"{d:03}_{h:03}_{w:03}.nii.gz"
            image[cut].save(folders["images"] / name)
            mask[cut].save(folders["masks"] / name)
            rows.append({"image": f"images/{name}", "mask": f"masks/{name}", "valid": valid})
    return pd.DataFrame(rows)


def corners(side):
    """Where patches begin along an axis: evenly spread, ``STEP`` apart at most, the last one at the very end."""
    return np.linspace(0, side - PATCH, 1 + -(-(side - PATCH) // STEP)).round().astype(int).tolist()


def train(image, mask):
    section("5. A U-Net learns grey and white matter on the left hemisphere, without its front")
    set_seed(1, reproducible=True)
    begun = time.perf_counter()
    mask = mask.resample_like(image)
    stats = intensity_stats([image], progress=False)
    coarse = image.strip().resample(SPACING)
    coarse = coarse.pad_or_crop([side + 2 * MARGIN for side in coarse.shape])
    labels = mask.resample_like(coarse)
    front, midline = (round(float(v)) for v in coarse.geometry.world_to_index((0, FRONT, 0))[1:])
    left = (..., slice(midline + 1, None))  # w grows to the left
    table = write_patches(coarse[left], labels[left], front)
    dls = SegmentationDataLoaders3D.from_df(
        table,
        OUT / "patches",
        fn_col="image",
        label_col="mask",
        valid_col="valid",
        codes=CODES,
        item_tfms=[Resample3D(SPACING)],
        batch_tfms=[*aug_transforms_3d(low_resolution=False, blur=False), Normalize3D(*stats.mean_std())],
        bs=4,
        num_workers=0,
    )
    xb, yb = dls.one_batch()
    n_train, n_valid = len(dls.train_ds), len(dls.valid_ds)
    print(f"  patches of {PATCH}^3 voxels of {SPACING} mm: {n_train} to learn, {n_valid} to validate")
    print(f"  validation: what lies more than {-FRONT} mm in front of the anterior commissure")
    print(f"  a batch: {type(xb).__name__} {tuple(xb.shape)}, {type(yb).__name__} {tuple(yb.shape)}")
    dls.show_batch(max_n=4, nrows=1, axis="coronal")
    save(plt.gcf(), "batch.png")

    # batch norm: instance norm scales a window by its own values, and one that is all air then looks like any other
    network = {"widths": (12, 24, 48), "norm_type": NormType.Batch}
    learn = unet_learner_3d(dls, UNet3D, model_args=network, metrics=dice_per_class(dls))
    print(f"  {sum(p.numel() for p in learn.model.parameters()):,} weights, loss {learn.loss_func}")
    learn.logger = print_epoch  # where fastai would draw bars, which fill a file when the output goes to one
    with learn.no_bar():
        before = learn.validate()[0]
        learn.fit_one_cycle(EPOCHS, 1e-2)
        learn.recorder.plot_loss()  # now: the next validation starts a new record
        plt.gca().set(xlabel="batches", ylabel="loss")
        save(plt.gcf(), "loss.png")
        after, dice, grey, white = learn.validate()
        learn.show_results(max_n=3, axis="coronal")
        save(plt.gcf(), "results.png")
    print(f"  validation loss {before:.3f} -> {after:.3f}")
    print(
        f"  Dice of the foreground {dice:.2f}: the mean of grey {grey:.2f} and white matter {white:.2f}; no background"
    )
    print(f"  {EPOCHS} epochs in {time.perf_counter() - begun:.0f} s")
    check("the loss fell by half or more", after < before / 2)
    return learn, mask


def print_epoch(values):
    print(
        "  epoch {}: training loss {:.3f}, validation loss {:.3f}, Dice {:.2f} ({:.2f}, {:.2f}), {}".format(*values),
        flush=True,
    )


def predict(learn, image, mask, dicom):
    section("6. The whole brain, from the DICOM folder to NIfTI, and the test on the right hemisphere")
    begun = time.perf_counter()
    found = learn.predict_volume(dicom, patch=PATCH + 16, overlap=0.25)
    print(f"  {found!r}, {time.perf_counter() - begun:.0f} s")
    check("the prediction lies on the scan's own grid of 1 mm", found.geometry.agrees(image.geometry))
    found.save(OUT / "tissue_predicted.nii.gz")
    again = TensorMask3D.create(OUT / "tissue_predicted.nii.gz")
    check("saved as NIfTI and read again: equal labels and place", torch.equal(again.resample_like(image), found))

    front, middle = (round(float(v)) for v in image.geometry.world_to_index((0, FRONT, 0))[1:])
    rows, right, left = slice(None), slice(None, middle), slice(middle + 1, None)
    regions = {
        "right hemisphere": ((..., rows, right), "not trained on, but the mirror image of what was"),
        "its front": ((..., slice(None, front), right), "trained on neither here nor in the mirror"),
        "left hemisphere": ((..., rows, left), "trained on, except for its front"),
    }
    means = {}
    for name, (part, seen) in regions.items():
        scores = [dice_of(again[part], mask[part], label) for label in (GREY, WHITE)]
        means[name] = sum(scores) / 2
        print(f"  Dice {name}: grey matter {scores[0]:.3f}, white matter {scores[1]:.3f} ({seen})")
    for name in ("right hemisphere", "its front"):
        check(f"mean Dice of both tissues, {name}: {means[name]:.3f}, at least 0.80", means[name] >= 0.80)
    tissue = again.as_subclass(torch.Tensor).numpy() > 0
    far = distance_transform_edt(image.numpy() <= 0, image.get_spacing()[::-1]) > FAR
    share = (tissue & far).sum() / tissue.sum()
    check(f"predicted more than {FAR} mm outside the brain: {share:.4%} of the tissue, at most 0.1%", share <= 0.001)

    shown = image.strip()
    shown = shown.pad_or_crop([side + 20 for side in shown.shape])
    figure, axes = plt.subplots(2, 1, figsize=(12, 5), layout="constrained")
    titles = "from the template", "predicted, saved as NIfTI and read again"
    for ax, labels, title in zip(axes, (mask, again), titles, strict=True):
        labels, style = labels.resample_like(shown), {"mask_alpha": 0.5, "letters": True, "title": title}
        show_image_3d(shown, axis=1, mask=labels, nrow=6, max_slices=6, ax=ax, **style)
    save(figure, "prediction.png")


def score(learn, dicom, labels):
    section("7. Scores of each class of the whole brain; the background is no class")
    cases = pd.DataFrame({"image": [str(dicom.resolve())], "mask": [str(labels.resolve())]})
    with learn.no_bar():
        table = learn.evaluate(cases, names=["MNI152"], patch=PATCH + 16, overlap=0.25)
    for text in table.drop(columns=["case", "label", "error"]).round(2).to_string(index=False).splitlines():
        print(f"  {text}")
    check("no case failed", not len(table.failed))
    table.to_csv(OUT / "scores.csv", index=False)
    print("  One brain, a symmetric one, the mean of many, and tissue maps that come with it: this shows that the")
    print("  parts work together, not how well such a network does on patients.")


def dice_of(found, true, label):
    found, true = (labels.as_subclass(torch.Tensor) == label for labels in (found, true))
    return 2 * (found & true).sum().item() / (found.sum() + true.sum()).item()


if __name__ == "__main__":
    main()
