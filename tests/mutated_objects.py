"""Segmentations, structure sets and reports of every kind, damaged at random, and what another reader makes of them."""

import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from dicom_series import NATIVE, write_series
from matplotlib.path import Path as Polygon
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, RLELossless
from structure_sets import circle, contour, on_plane, rectangle, structure_set

from faimed3d import errors
from faimed3d.dicom import Concept, read_rtstruct, read_seg
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (4, 9, 10)
NEAR = 0.05  # voxels: so near to a contour readers may differ
DRIFT = (0.1, 0.26, 0.26)  # voxels between where a frame is and where it is read: the tolerances of docs/dicom.md


@dataclass
class Mutated:
    """One file of a known kind.

    Attributes:
        name: of the kind.
        data: its bytes.
        read: path -> nothing; reads it through every door, and raises an AssertionError where another reader disagrees.
    """

    name: str
    data: bytes
    read: object


def make_objects(folder):
    """One file of each kind, from nothing but their writers and pydicom."""
    write_series(folder / "scan", np.zeros(SHAPE, np.int16))
    scan = TensorDicom3D.create(folder / "scan")
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:7, 1:5], labels[2:, 1:8, 6:9] = 1, 2
    mask = TensorMask3D(labels, like=scan, codes={1: "liver", 2: "kidney_left"})
    mask.save(folder / "bits.dcm", like=scan)
    mask.save(folder / "labelmap.dcm", like=scan, kind="labelmap")
    mask.report(like=scan, segmentation=folder / "bits.dcm").save(folder / "report.dcm")
    known = {}
    for name in ("bits", "labelmap", "report"):
        _same_in_every_run(folder / f"{name}.dcm", known)
    files = {name: folder / f"{name}.dcm" for name in ("bits", "labelmap")}
    for name, edit in (
        ("overlapping", _overlapping),
        ("fractional", _fractional),
        ("fractional, JPEG-LS", lambda content: _compressed(_fractional(content), JPEGLSLossless, _jpeg_ls)),
        ("labelmap, RLE", lambda content: _compressed(content, RLELossless, None)),
    ):
        content = edit(dcmread(files["labelmap" if name.startswith("labelmap") else "bits"]))
        content.save_as(folder / f"{name}.dcm")
        files[name] = folder / f"{name}.dcm"
    objects = [Mutated(name, file.read_bytes(), _read_segmentation) for name, file in files.items()]
    for kind, syntax in zip(CONTOURS, [*NATIVE, *NATIVE], strict=False):
        rois = {
            "a": CONTOURS[kind](scan.geometry),
            "b": [on_plane(scan.geometry, rectangle((5.5, 0.5), (7.5, 2.5)), 3)],
        }
        file = structure_set(folder / "contours.dcm", rois, syntax=syntax)
        objects.append(Mutated(f"contours, {kind}", file.read_bytes(), lambda path: _read_contours(path, scan)))
    refer = lambda path: _read_report(path, mask, scan)  # noqa: E731 - closes over the mask
    objects.append(Mutated("report", (folder / "report.dcm").read_bytes(), _read_nothing))
    objects.append(Mutated("segmentation of a report", files["bits"].read_bytes(), refer))
    return objects


def mutate(data, random):
    """Damage bytes in one of six ways."""
    data = bytearray(data)
    first, second = random.randrange(132, len(data)), random.randrange(132, len(data))
    change = random.randrange(6)
    if change == 0:
        return data[:first]
    if change == 1:
        data[first] = random.randrange(256)
    elif change == 2:
        del data[first : first + random.randrange(1, 60)]
    elif change == 3:
        data[first : first + 8] = data[second : second + 8]
    elif change == 4:  # a number that is written in text
        digits = [k for k in range(132, len(data)) if 48 <= data[k] <= 57]
        data[random.choice(digits)] = random.choice(b"0123456789.-E\\ ")
    else:  # something larger than a byte
        data[first : first + 2] = random.randrange(65536).to_bytes(2, "little")
    return data


def try_all(objects, path, random, rounds):
    """Read mutated files; return how they ended, and what was no named error or another reading."""
    ends, faults = Counter(), []
    for k in range(rounds):
        chosen = objects[k % len(objects)]
        path.write_bytes(mutate(chosen.data, random))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                warnings.simplefilter("error", RuntimeWarning)
                chosen.read(path)
            ends["read"] += 1
        except errors.ReadError as error:
            ends[type(error).__name__] += 1
            if path.name not in str(error) and path.parent.name not in str(error):
                faults.append((k, chosen.name, f"names no file: {error}"))
        except Exception as error:  # whatever else a file raises is what is looked for
            faults.append((k, chosen.name, f"{type(error).__name__}: {error}"))
    return ends, faults


def _same_in_every_run(path, known):
    """Give the UIDs that were drawn for a file, ``known`` to others that refer to it, new ones of the same length."""
    content = dcmread(path)

    def renumber(dataset, element):
        if element.VR == "UI" and len(str(element.value)) > 30:  # those of the standard are shorter
            element.value = known.setdefault(str(element.value), f"2.25.{10**36 + len(known)}")
        elif element.VR in ("DA", "TM", "DT") and element.value:
            element.value = {"DA": "20240101", "TM": "120000", "DT": "20240101120000"}[element.VR]

    content.walk(renumber)
    content.file_meta.walk(renumber)
    content.save_as(path)


# Segmentations --------------------------------------------------------------------------------------------------------


def _frames(content):
    bits = np.unpackbits(np.frombuffer(content.PixelData, np.uint8), bitorder="little")
    return bits[: content.NumberOfFrames * content.Rows * content.Columns].reshape(-1, content.Rows, content.Columns)


def _overlapping(content):
    """Segment 2 is everywhere in its slices."""
    frames = _frames(content)
    for frame, item in zip(frames, content.PerFrameFunctionalGroupsSequence, strict=True):
        if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2:
            frame[:] = 1
    content.PixelData = np.packbits(frames, axis=None, bitorder="little").tobytes()
    return content


def _fractional(content):
    shares = _frames(content) * 200
    shares[:, ::2] //= 4
    content.SegmentationType, content.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
    content.MaximumFractionalValue, content.BitsAllocated, content.BitsStored, content.HighBit = 200, 8, 8, 7
    content.PixelData = shares.tobytes()
    content["PixelData"].VR = "OB"
    return content


def _jpeg_ls(frame):
    import jpeg_ls

    return bytes(jpeg_ls.encode(frame))


def _compressed(content, syntax, encode):
    if encode is None:
        content.compress(syntax, generate_instance_uid=False)
        return content
    frames = np.frombuffer(content.PixelData, np.uint8)[: content.NumberOfFrames * content.Rows * content.Columns]
    frames = frames.reshape(-1, content.Rows, content.Columns)
    content.file_meta.TransferSyntaxUID = syntax
    content.PixelData = encapsulate([encode(frame) for frame in frames])
    content["PixelData"].is_undefined_length = True
    return content


def _read_segmentation(path):
    Concept.read(path)
    found, geometry, _ = read_seg(path, separate=True)
    for number, frame, position in other_frames(path):
        ours = geometry.world_to_index(np.array([position]))[0]
        d = round(float(ours[0]))
        assert (np.abs(ours - (d, 0, 0)) < DRIFT).all(), f"segment {number} is at another place, {ours}"
        assert any(np.array_equal(one[d], frame) for one in found) or not frame.any(), f"segment {number} is another"
    TensorMask3D.create(path)


def other_frames(path):
    """(segment, pixels, position) of each frame by pydicom; none of a compressed file, or one that it cannot read."""
    try:
        content = dcmread(path)
        if content.file_meta.TransferSyntaxUID not in NATIVE:
            return []
        count = content.NumberOfFrames * content.Rows * content.Columns
        if content.SegmentationType == "BINARY":
            frames = _frames(content).astype(bool)
        else:
            frames = np.frombuffer(content.PixelData, np.uint8)[:count].reshape(-1, content.Rows, content.Columns)
        if content.SegmentationType == "FRACTIONAL":
            frames = frames >= max(0.5 * content.MaximumFractionalValue, 1)
        found = []
        planes = defaultdict(lambda: np.zeros((content.Rows, content.Columns), bool))
        for frame, item in zip(frames, content.PerFrameFunctionalGroupsSequence, strict=True):
            position = tuple(map(float, item.PlanePositionSequence[0].ImagePositionPatient))
            if content.SegmentationType == "LABELMAP":
                planes.update({(number, position): frame == number for number in np.unique(frame) if number})
            else:
                planes[item.SegmentIdentificationSequence[0].ReferencedSegmentNumber, position] |= frame
        found = [(number, frame, position) for (number, position), frame in planes.items()]
    except Exception:  # a damaged file, which ours may read in other ways
        return []
    return found


def _read_report(path, mask, scan):
    try:
        report = mask.report(like=scan, segmentation=path)
    except ValueError as error:
        if isinstance(error, errors.ReadError):
            raise
        assert "holds another mask" in str(error)  # noqa: PT017 - a ValueError of another kind is a fault
        return
    assert [one.segment for one in report.classes] == [1, 2]


def _read_nothing(path):
    """A report holds no mask, whatever is damaged."""
    Concept.read(path)
    try:
        TensorMask3D.create(path)
    except errors.ReadError:
        read_seg(path)
    raise AssertionError("a mask was read of a report")


# Structure sets -------------------------------------------------------------------------------------------------------

_MIDDLE = (4.1, 4.6)


def _hole(grid):
    return [on_plane(grid, circle(radius, _MIDDLE, 12), k) for k in (1, 2) for radius in (3.2, 1.6)]


def _keyhole(grid):
    outer, inner = circle(3.2, _MIDDLE, 12), circle(1.6, _MIDDLE, 12, clockwise=True)
    path = np.concatenate([outer, outer[:1], inner[-1:], inner])
    return [on_plane(grid, path, k) for k in (1, 2)]


def _of_kind(kind, points=None):
    def contours(grid):
        path = circle(3.2, _MIDDLE, 12) if points is None else points
        return [contour(on_plane(grid, path, 1), kind)]

    return contours


CONTOURS = {
    "hole": _hole,
    "keyhole": _keyhole,
    "xor": lambda grid: [contour(points, "CLOSEDPLANAR_XOR") for points in _hole(grid)],
    "sagittal": lambda grid: [on_plane(grid, rectangle((0.6, 1.4), (2.6, 6.4)), k, 2) for k in (4, 5)],
    "open": _of_kind("OPEN_PLANAR"),
    "open, not planar": _of_kind("OPEN_NONPLANAR"),
    "points": _of_kind("POINT", np.array([_MIDDLE])),
}


def _read_contours(path, scan):
    Concept.read(path)
    found, geometry, names = read_rtstruct(path, like=scan, separate=True)
    for name, contours in other_contours(path).items():
        labels = [label for label, known in names.items() if label and known == name]
        if len(labels) != 1:
            continue
        inside, clear = _filled(contours, geometry)
        assert np.array_equal(found[labels[0] - 1][clear], inside[clear]), f"the ROI {name!r} is another"
    TensorMask3D.create(path, like=scan)


def other_contours(path):
    """Contours (N, 3) mm by name of the ROI; none where pydicom cannot read the file."""
    try:
        content = dcmread(path)
        names = {item.ROINumber: str(item.ROIName).strip() for item in content.StructureSetROISequence}
        return {
            names[item.ReferencedROINumber]: [
                np.array(part.ContourData, float).reshape(-1, 3)
                for part in item.ContourSequence
                if "CLOSED" in part.ContourGeometricType
            ]
            for item in content.ROIContourSequence
        }
    except Exception:  # a damaged file, which ours may read in other ways
        return {}


def _filled(contours, geometry):
    """Voxels inside an odd number of contours of a plane, and those that are not near to any contour."""
    inside, clear = np.zeros(geometry.shape, bool), np.ones(geometry.shape, bool)
    indices = [geometry.world_to_index(points) for points in contours]
    indices = [index for index in indices if len(index) > 2 and np.sort(np.ptp(index, axis=0))[1] > 1e-6]
    if not indices:
        return inside, clear
    axis = int(np.max([np.ptp(index, axis=0) for index in indices], axis=0).argmin())
    stack, free = np.moveaxis(inside, axis, 0), np.moveaxis(clear, axis, 0)
    centres = np.stack(np.indices(stack.shape[1:]), axis=-1).reshape(-1, 2)
    for index in indices:
        plane = round(float(np.median(index[:, axis])))
        if not 0 <= plane < len(stack):
            continue
        path = np.delete(index, axis, axis=1)
        odd = Polygon(np.vstack([path, path[:1]])).contains_points(centres)
        stack[plane] ^= odd.reshape(stack.shape[1:])
        starts, along = path, np.roll(path, -1, axis=0) - path
        share = ((centres[:, None] - starts) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
        nearest = starts + np.clip(share, 0, 1)[..., None] * along
        near = np.linalg.norm(centres[:, None] - nearest, axis=-1).min(1) < NEAR
        free[plane] &= ~near.reshape(stack.shape[1:])
    return inside, clear
