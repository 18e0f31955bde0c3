"""DICOM folders with faults, one builder each, and how tests read them; no tests here."""

import gzip
import shutil
import warnings
from pathlib import Path

import nibabel
import numpy as np
from dicom_series import (
    AXIAL,
    OBLIQUE,
    ORIGIN,
    SPACING,
    direction_of,
    make_series,
    stored_values,
    write,
    write_series,
)
from pydicom.data import get_testdata_file

from faimed3d import errors
from faimed3d.dicom import read_dicom

NIBABEL_DATA = Path(nibabel.__file__).parent / "nicom" / "tests" / "data"


def expected_affine(orientation=OBLIQUE, spacing=SPACING, origin=ORIGIN):
    affine = np.eye(4)
    affine[:3, :3] = direction_of(orientation) * spacing
    affine[:3, 3] = origin
    return affine


def read_lenient(folder, **kwargs):
    """Read with strict=False; returns the result and the texts of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = read_dicom(folder, strict=False, **kwargs)
    return result, [str(w.message) for w in caught]


def packaged(name):
    path = get_testdata_file(name, download=False)
    assert path, f"this pydicom does not package {name}"
    return path


def drop(k):
    def build(folder):
        series = make_series(stored_values((9, 6, 7)))
        write([dataset for n, dataset in enumerate(series) if n not in k], folder)

    return build


def change(k, **elements):
    """A series of 9 slices in which slice k has other elements (None deletes one)."""

    def build(folder):
        series = make_series(stored_values((9, 6, 7)), RescaleSlope=1, RescaleIntercept=-10)
        for keyword, value in elements.items():
            if value is None:
                delattr(series[k], keyword)
            else:
                setattr(series[k], keyword, value)
        write(series, folder)

    return build


def change_all(**elements):
    return lambda folder: write_series(folder, **elements)


def move(k, step, axis=2):
    """Slice k of 9 lies ``step`` mm off its place along the storage axis (0 x, 1 y, 2 z)."""

    def build(folder):
        series = make_series(stored_values((9, 6, 7)))
        place = np.array(series[k].ImagePositionPatient, float) + direction_of(OBLIQUE)[:, axis] * step
        series[k].ImagePositionPatient = [f"{v:.8f}" for v in place]
        write(series, folder)

    return build


def shear(angle, axis=1):
    """A series of 9 slices with a gantry tilted by ``angle`` degrees."""

    def build(folder):
        series = make_series(stored_values((9, 6, 7)))
        for k, dataset in enumerate(series):
            drift = k * SPACING[2] * np.tan(np.radians(angle)) * direction_of(OBLIQUE)[:, axis]
            place = np.array(dataset.ImagePositionPatient, float) + drift
            dataset.ImagePositionPatient = [f"{v:.8f}" for v in place]
        write(series, folder)

    return build


def copies(differ=False, everything=False):
    """Slice 2 (or every slice) doubled: byte for byte, or with other pixels and another SOP instance."""

    def build(folder):
        series = make_series()
        doubled = series if everything else series[2:3]
        write(series, folder)
        for k, dataset in enumerate(doubled):
            if differ:
                dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{k}"
                dataset.PixelData = dataset.PixelData[:-2] + b"\1\1"
            dataset.save_as(Path(folder) / f"copy{k}.dcm", enforce_file_format=True)

    return build


def two_gaps(folder):
    series = make_series(stored_values((9, 6, 7)))
    for k, dataset in enumerate(series[5:], 1):
        place = np.array(ORIGIN) + direction_of(OBLIQUE)[:, 2] * (4 * 2.5 + 4 * k)
        dataset.ImagePositionPatient = [f"{v:.8f}" for v in place]
    write(series, folder)


def cut(size, k=1):
    """File k keeps its first ``size`` bytes (the last ones go, where size is negative)."""

    def build(folder):
        path = write_series(folder)[k]
        path.write_bytes(path.read_bytes()[:size])

    return build


def beside(name, content):
    def build(folder):
        write_series(folder)
        (Path(folder) / name).write_bytes(content)

    return build


def interleaved_echoes(folder):
    write_series(folder, edit=lambda k, dataset: setattr(dataset, "EchoTime", [4.6, 2.3][k % 2]))


def every_nth(n, between=None, edit=None, **elements):
    """Every n-th slice of 13, numbered as in the whole series; ``between`` is SpacingBetweenSlices."""

    def build(folder):
        series = make_series(stored_values((13, 6, 7)), SpacingBetweenSlices=between, edit=edit, **elements)
        write(series[::n], folder)

    return build


def two_combs(shift, **elements):
    """Two stacks of 5 slices each, the second ``shift`` mm along the normal; elements are pairs of values."""

    def build(folder):
        series = []
        for n in range(2):
            origin = np.array(ORIGIN) + n * shift * direction_of(OBLIQUE)[:, 2]
            own = {keyword: values[n] for keyword, values in elements.items()}
            series += make_series(stored_values(seed=n), origin, **own)
        write(series, folder)

    return build


def half_below(folder):
    series = make_series(stored_values((9, 6, 7)))
    write(series[:5], folder)
    write(series[5:], Path(folder) / "more")


def slice_in_colour(folder):
    series = make_series(stored_values((9, 6, 7)))
    series[8].PhotometricInterpretation = "PALETTE COLOR"
    write(series, folder)


def without_pixels(folder):
    series = make_series()
    del series[2].PixelData
    write(series, folder)


def negative_gap_and_doubled(folder):
    drop({4})(folder)
    path = sorted(Path(folder).iterdir())[0]
    shutil.copy(path, Path(folder) / "again.dcm")


LOST, BAD, CUT = errors.MissingGeometry, errors.DamagedFile, errors.TruncatedFile


MIXED, UNEVEN, DOUBLED, HOLES = errors.MixedSeries, errors.UnevenSlices, errors.DuplicateSlices, errors.MissingSlices


OTHER = errors.UnsupportedImage


# fault, the exception of strict reading and its text, what strict=False does: a shape (repaired) or an exception
FAULTS = {
    "one slice missing": (
        drop({4}),
        HOLES,
        r"slice gap 5\.0 mm between IM9996\.dcm \(z [\d.]+\) and IM9995\.dcm \(z [\d.]+\), 6 others 2\.5 mm: a slice "
        r"is missing\. Pass strict=False to resample",
        (9, 6, 7),
    ),
    "slices missing in two places": (drop({2, 5, 6}), HOLES, "3 slices are missing in 2 places", (9, 6, 7)),
    "one slice half a gap off": (move(4, 1.2), UNEVEN, "the gaps are uneven", (9, 6, 7)),
    "every second slice missing": (
        every_nth(2), HOLES,
        r"every slice gap is 5\.0 mm, 2 times \(0018,0050\) SliceThickness 2\.5 mm, and \(0020,0013\) InstanceNumber "
        r"goes by 2 from slice to slice: every second slice is missing\. Pass strict=False to read",
        (7, 6, 7),
    ),
    "two slices of three missing": (
        every_nth(3, 2.5, SliceThickness=9), HOLES, r"3 times \(0018,0088\) SpacingBetweenSlices 2\.5 mm", (5, 6, 7)
    ),
    "half of the slices in a sub-folder": (
        half_below, HOLES, r"4 more slices of this volume lie in other folders, IM999\d\.dcm in more\. Bring", (5, 6, 7)
    ),
    "two stacks interleaved": (
        two_combs(0.9), UNEVEN, r"5 of the gaps are short, 0\.9 mm the shortest, so more than one stack, and no", UNEVEN
    ),
    "a slice in colour": (
        slice_in_colour, MIXED, r"IM9991\.dcm is a slice in colour \(\(0028,0004\) .* PALETTE COLOR\)", (8, 6, 7)
    ),
    "two stacks with different gaps": (two_gaps, UNEVEN, r"between .*, 4 others|4 others", (11, 6, 7)),
    "one slice off the line": (move(4, 3.0, 0), UNEVEN, r"IM9995\.dcm .* lies 3\.0 mm off the line", (9, 6, 10)),
    "gantry tilt": (shear(12.5), errors.GantryTilt, r"a gantry tilt of 12\.5 degrees", (9, 12, 7)),
    "gantry tilt, other way": (shear(-20, 0), errors.GantryTilt, r"a gantry tilt of 20\.0 degrees", (9, 6, 14)),
    "a slice twice, byte for byte": (copies(), DOUBLED, r"IM9997.dcm and copy0.dcm lie at one", (5, 6, 7)),
    "every slice twice": (copies(everything=True), DOUBLED, "and 4 more such pairs", (5, 6, 7)),
    "two images at one position": (copies(True), DOUBLED, "copy0.dcm", DOUBLED),
    "every slice twice with other pixels": (copies(True, True), DOUBLED, "4 more", DOUBLED),
    "doubled and missing": (negative_gap_and_doubled, DOUBLED, "again.dcm", (9, 6, 7)),
    "one other pixel spacing": (
        change(3, PixelSpacing=[0.8, 1.2]), MIXED, r"IM9996\.dcm .*\(0028,0030\) PixelSpacing", (9, 6, 7)
    ),
    "one other orientation": (
        change(3, ImageOrientationPatient=list(AXIAL)), MIXED, r"\(0020,0037\)", (9, 6, 7)
    ),
    "one other frame of reference": (change(3, FrameOfReferenceUID="1.9"), MIXED, "FrameOfRef", (9, 6, 7)),
    "one other image type": (change(3, ImageType=["DERIVED", "SECONDARY"]), MIXED, r"\(0008,0008\)", (9, 6, 7)),
    "one slice inverted": (
        change(3, PhotometricInterpretation="MONOCHROME1"), MIXED, r"\(0028,0004\)", MIXED
    ),
    "one without slope": (
        lambda f: change(3, RescaleSlope=None, RescaleIntercept=None)(f),
        MIXED, r"RescaleSlope and .* IM9996\.dcm has neither of them", MIXED,
    ),
    "one without intercept": (
        change(3, RescaleIntercept=None), MIXED, r"RescaleIntercept IM9996\.dcm has the first alone", MIXED
    ),
    "one with other bits": (change(3, BitsStored=12, HighBit=11), MIXED, r"0101\) BitsStored is '12'", (9, 6, 7)),
    "samples of a colour image": (
        change(8, SamplesPerPixel=3), BAD, r"\(0028,0002\) SamplesPerPixel is 3, though", BAD
    ),
    "one slice called colour": (change(0, PhotometricInterpretation="RGB"), BAD, r"is 'RGB', though", BAD),
    "echoes interleaved": (interleaved_echoes, MIXED, r"\(0018,0081\) EchoTime", (5, 6, 7)),
    "no pixel spacing": (change_all(PixelSpacing=None), LOST, r"\(0028,0030\) PixelSpacing is absent", LOST),
    "no position": (change_all(ImagePositionPatient=None), LOST, r"\(0020,0032\) ImagePositionPatient", LOST),
    "no orientation": (change_all(ImageOrientationPatient=None), LOST, r"\(0020,0037\)", LOST),
    "one without position": (change(8, ImagePositionPatient=None), LOST, r"IM9991\.dcm: \(0020,0032\)", LOST),
    "one without pixel spacing": (change(0, PixelSpacing=None), LOST, r"IM9999\.dcm: \(0028,0030\)", LOST),
    "pixel spacing 0": (change_all(PixelSpacing=[0, 1]), LOST, r"PixelSpacing must be positive", LOST),
    "orientation 0": (change_all(ImageOrientationPatient=[0] * 6), LOST, "two orthogonal unit vectors", LOST),
    "orientation of one axis": (change_all(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), LOST, "orthogonal unit", LOST),
    "pixel spacing of no pixel": (change(3, PixelSpacing=["1e-300", 1]), LOST, r"cannot be the size of a pixel", LOST),
    "a position far from any patient": (
        change(3, ImagePositionPatient=[0, "1e300", 0]), LOST, r"cannot be a position in a patient", LOST
    ),
    "slope beyond float32": (change(2, RescaleSlope="1e300"), BAD, r"1e\+300 makes values that float32", BAD),
    "slope next to 0": (change(2, RescaleSlope="1e-300"), BAD, r"1e-300 makes values that float32", BAD),
    "intercept beyond float32": (change(2, RescaleIntercept="1e300"), BAD, r"\(0028,1052\).* 1e\+300 is beyond", BAD),
    "slope 0": (change(2, RescaleSlope=0), BAD, r"\(0028,1053\) RescaleSlope is 0", BAD),
    "cut in the pixels": (cut(-1), CUT, r"IM9998\.dcm: \(7FE0,0010\) PixelData claims 84", CUT),
    "cut in the header": (cut(600), CUT, r"IM9998\.dcm", CUT),
    "cut in the file meta": (cut(160), CUT, r"IM9998\.dcm", CUT),
    "cut in the preamble": (cut(100), CUT, r"IM9998\.dcm: .* only zeros", CUT),
    "empty file": (cut(0), CUT, r"IM9998\.dcm: the file is empty", CUT),
    "last slice cut": (cut(-1, k=4), CUT, r"IM9995\.dcm", CUT),
    "no pixels": (without_pixels, BAD, r"IM9997\.dcm: \(7FE0,0010\) PixelData is absent", BAD),
    "HTML page named as a slice": (beside("IM0001.dcm", b"<html>" * 50), BAD, r"IM0001\.dcm: named as DICOM", BAD),
    "pixels longer than the matrix": (
        change_all(edit=lambda k, d: setattr(d, "Rows", 5)), BAD, r"has 84 bytes, \(0028,0010\) Rows 5", BAD
    ),
    "rows claim more": (
        change_all(edit=lambda k, d: setattr(d, "Rows", 60000)), CUT, r"Rows 60000", CUT
    ),
    "rows 0": (change_all(edit=lambda k, d: setattr(d, "Rows", 0)), BAD, r"\(0028,0010\) Rows must be 1 to", BAD),
    "bits stored above bits allocated": (change_all(BitsStored=17), BAD, r"\(0028,0101\) BitsStored 17", BAD),
    "bits allocated 12": (change_all(BitsAllocated=12), OTHER, r"\(0028,0100\)", OTHER),
    "no thickness of a single slice": (
        lambda folder: write(make_series(SliceThickness=None)[:1], folder), LOST, r"\(0018,0050\) SliceThickness", LOST
    ),
    "a thickness of a single slice that is none": (
        lambda folder: write(make_series(SliceThickness="1e300")[:1], folder), LOST, r"1e\+300 mm cannot be", LOST
    ),
    "no sign of the pixels": (change_all(PixelRepresentation=None), BAD, r"\(0028,0103\) PixelRepresentation", BAD),
    "a slice packed with gzip": (beside("IM0001.dcm.gz", gzip.compress(b"x")), BAD, "a slice packed with gzip", BAD),
    "empty folder": (lambda folder: None, errors.NoImages, "no DICOM image", errors.NoImages),
}  # fmt: skip


def two_series(folder, **elements):
    write_series(Path(folder))
    other = make_series(stored_values((3, 4, 9), seed=8), SeriesInstanceUID="1.2.3.9", SeriesNumber=2, **elements)
    write(other, folder, [f"other{k}.dcm" for k in range(3)])


def time_series(folder, label=True, **elements):
    """Three time points of 4 slices, written place after place, each with its own instance number."""
    volumes = stored_values((3, 4, 6, 7))
    series = []
    for t in range(3):
        for k, dataset in enumerate(make_series(volumes[t], Modality="MR", **elements)):
            dataset.InstanceNumber = t * 4 + k + 1
            if label:
                dataset.TemporalPositionIdentifier = t + 1
            series.append(dataset)
    write(series, folder)
    return volumes
