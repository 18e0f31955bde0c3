"""Write DICOM series of known geometry, and break them: plain functions for the tests, nothing read back here."""

import struct
import tempfile
from copy import deepcopy
from hashlib import blake2b
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
)
from pydicom.valuerep import format_number_as_ds

SHAPE = (5, 6, 7)
SPACING = (1.1, 0.8, 2.5)  # x (between columns), y (between rows), z
ORIGIN = (-12.5, 7.25, 30.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
SECRETS = ("Doe^Jane", "PID-4711", "19570317")  # patient's name, ID and birth date in every file written here


def oblique(seed=1):
    """Six cosines of a rotated plane, rounded as scanners write them (16 characters at most)."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return tuple(float(f"{v:.12f}") for v in q[:, :2].T.ravel())


OBLIQUE = oblique()


def decimal(value):
    """A number as text of at most 16 characters, as DICOM's DS wants it."""
    return format_number_as_ds(float(value))


def direction_of(orientation):
    """3x3 matrix whose columns are the x, y and z storage axes."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    return np.stack([row, column, np.cross(row, column)], axis=1)


def stored_values(shape=SHAPE, low=-900, high=2000, dtype=np.int16, seed=0):
    """Random integers in which no slice, row or column is like another."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def instance_uid(stored, position):
    """A UID that is another one for other pixels or another place, and the same in every run."""
    digest = blake2b(np.ascontiguousarray(stored).tobytes() + np.asarray(position, float).tobytes(), digest_size=12)
    return f"2.25.{int.from_bytes(digest.digest(), 'big')}"


def make_slice(stored, position, orientation=OBLIQUE, spacing=SPACING, syntax=ExplicitVRLittleEndian, **elements):
    """Return a data set of one single-frame image.

    Args:
        stored: integers (rows, columns); their dtype gives bits and sign.
        position: (x, y, z) mm of the first pixel.
        orientation: six cosines.
        spacing: (x, y, z) mm.
        syntax: transfer syntax of the file.
        elements: further elements by keyword; None leaves one out.
    """
    stored = np.asarray(stored)
    bits = stored.dtype.itemsize * 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": instance_uid(stored, position),
        "StudyDate": "20200229",
        "Modality": "CT",
        "SeriesDescription": "Größe",
        "PatientName": SECRETS[0],
        "PatientID": SECRETS[1],
        "PatientBirthDate": SECRETS[2],
        "SliceThickness": f"{spacing[2]:g}",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "SeriesNumber": 7,
        "FrameOfReferenceUID": "1.2.3.5",
        "ImagePositionPatient": [decimal(v) for v in position],
        "ImageOrientationPatient": [decimal(v) for v in orientation],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "PixelSpacing": [spacing[1], spacing[0]],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
    }
    values.update(elements)
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = values["SOPClassUID"] or CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"] or "1.2.3.6"
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    raw = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    if bits == 8 and order == ">":
        raw += b"\0" * (len(raw) % 2)
        raw = np.frombuffer(raw, np.uint8).reshape(-1, 2)[:, ::-1].tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OW"
    return dataset


def make_series(stored=None, origin=ORIGIN, orientation=OBLIQUE, spacing=SPACING, edit=None, **elements):
    """Return data sets of a series, slice k at k gaps along the normal.

    Args:
        stored: integers (D, H, W); default ``stored_values()``.
        edit: function (k, data set) that changes each in place.
        elements: as for ``make_slice``.
    """
    stored = stored_values() if stored is None else stored
    normal = direction_of(orientation)[:, 2]
    datasets = []
    for k, image in enumerate(stored):
        position = np.array(origin) + k * spacing[2] * normal
        dataset = make_slice(image, position, orientation, spacing, **{"InstanceNumber": k + 1, **elements})
        if edit:
            edit(k, dataset)
        datasets.append(dataset)
    return datasets


def write(datasets, folder, names=None):
    """Write data sets as files; returns their paths. Default names run against the order of the slices."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, dataset in enumerate(datasets):
        path = folder / (names[k] if names else f"IM{9999 - k:04d}.dcm")
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_series(folder, *args, **kwargs):
    """``make_series`` and ``write``; returns the paths."""
    return write(make_series(*args, **kwargs), folder)


def compressed(dataset, kind):
    """Return a copy of a data set with its pixels compressed without loss: 'rle', 'jpeg' or 'jpeg2000'."""
    copy = deepcopy(dataset)
    if kind == "rle":
        copy.compress(RLELossless, generate_instance_uid=False)
        return copy
    bits = dataset.BitsAllocated
    dtype = np.dtype(f"<{'ui'[dataset.PixelRepresentation]}{bits // 8}")
    pixels = np.frombuffer(dataset.PixelData, dtype)[: dataset.Rows * dataset.Columns]
    with tempfile.TemporaryDirectory() as folder:
        name = f"{folder}/frame.dcm"
        writer = sitk.ImageFileWriter()
        writer.SetFileName(name)
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor(kind.upper())
        writer.Execute(sitk.GetImageFromArray(pixels.reshape(1, dataset.Rows, dataset.Columns)))
        donor = dcmread(name)
        copy.file_meta.TransferSyntaxUID = donor.file_meta.TransferSyntaxUID
        copy.PixelData = donor.PixelData
        copy["PixelData"].is_undefined_length = True
        copy["PixelData"].VR = "OB"
    return copy


def enhanced(stored, origin=ORIGIN, orientation=OBLIQUE, spacing=SPACING, order=None, slopes=None, labels=None):
    """Return an Enhanced MR data set.

    Args:
        stored: integers (frames, H, W), in slice order.
        order: for each frame of the file the number of the slice in it; default: as stored.
        slopes: per slice (slope, intercept); default: none.
        labels: per slice a dict with ``time`` (index), ``stack``, ``echo`` (ms) or ``b`` (s/mm2).
    """
    order = list(range(len(stored))) if order is None else order
    labels = labels or [{}] * len(stored)
    dataset = make_slice(
        stored[0], origin, orientation, spacing, SOPClassUID=EnhancedMRImageStorage, Modality="MR", InstanceNumber=1,
        ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None, SliceThickness=None,
    )  # fmt: skip
    dataset.NumberOfFrames = len(order)
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    plane.ImageOrientationPatient = list(orientation)
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    frames = []
    normal = direction_of(orientation)[:, 2]
    for slice_number in order:
        label = labels[slice_number]
        frame, position, content = Dataset(), Dataset(), Dataset()
        level = label.get("level", slice_number)
        position.ImagePositionPatient = [decimal(v) for v in np.array(origin) + level * spacing[2] * normal]
        frame.PlanePositionSequence = Sequence([position])
        if "time" in label:
            content.TemporalPositionIndex = label["time"]
        if "stack" in label:
            content.StackID = label["stack"]
        frame.FrameContentSequence = Sequence([content])
        if "echo" in label:
            echo = Dataset()
            echo.EffectiveEchoTime = label["echo"]
            frame.MREchoSequence = Sequence([echo])
        if "b" in label:
            diffusion = Dataset()
            diffusion.DiffusionBValue = label["b"]
            frame.MRDiffusionSequence = Sequence([diffusion])
        if slopes:
            scale = Dataset()
            scale.RescaleSlope, scale.RescaleIntercept = slopes[slice_number]
            frame.PixelValueTransformationSequence = Sequence([scale])
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.PixelData = np.ascontiguousarray(stored[order]).astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData += b"\0" * (len(dataset.PixelData) % 2)
    return dataset


def csa_header(**values):
    """A Siemens CSA2 header with the given elements, each a list of numbers."""
    data = b"SV10\4\3\2\1" + struct.pack("<2I", len(values), 77)
    for name, numbers in values.items():
        vr = b"FD" if any(isinstance(n, float) for n in numbers) else b"IS"
        data += struct.pack("<64si4s3i", name.encode(), len(numbers), vr, 3, 6, 77)
        for k in range(6):
            text = f"{numbers[k]}".encode() + b"\0" if k < len(numbers) else b""
            data += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4)
    return data


def mosaic(stored, origin=ORIGIN, orientation=OBLIQUE, spacing=SPACING, downwards=False, csa=True):
    """Return a Siemens mosaic of ``stored`` (D, H, W), slice k at k gaps along the normal from ``origin``.

    Args:
        downwards: stack the tiles against the normal: the first tile is the last slice.
        csa: whether to write the vendor's header; without it only (0019,100A) says how many tiles there are.
    """
    depth, height, width = stored.shape
    side = int(np.ceil(np.sqrt(depth)))
    image = np.zeros((side * height, side * width), stored.dtype)
    for tile, number in enumerate(reversed(range(depth)) if downwards else range(depth)):
        row, column = tile // side * height, tile % side * width
        image[row : row + height, column : column + width] = stored[number]
    axes = direction_of(orientation)
    first = np.array(origin) + axes[:, 2] * spacing[2] * (depth - 1 if downwards else 0)
    corner = (
        first - axes[:, 0] * spacing[0] * (side - 1) * width / 2 - axes[:, 1] * spacing[1] * (side - 1) * height / 2
    )
    dataset = make_slice(
        image, corner, orientation, spacing, SOPClassUID=MRImageStorage, Modality="MR", InstanceNumber=1,
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], SpacingBetweenSlices=spacing[2],
    )  # fmt: skip
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0A, "US", depth)
    if csa:
        normal = [float(v) for v in axes[:, 2] * (-1 if downwards else 1)]
        block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", csa_header(NumberOfImagesInMosaic=[depth], SliceNormalVector=normal))
    return dataset
