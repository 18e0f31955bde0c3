"""Series of several volumes as scanners write them, and what is left of them when files are lost; no tests here."""

import os
import shutil
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
from dicom_series import AXIAL, OBLIQUE, ORIGIN, SPACING, direction_of, make_slice, stored_values, write
from pydicom.uid import MRImageStorage

from faimed3d.dicom import dicom_inventory, read_dicom
from faimed3d.errors import ReadError

TYPES = ("M", "P", "R", "I")


def direction(n):
    """The n-th gradient: no two are alike."""
    angle, height = 2.4 * n, 1 - (2 * n + 1) / 30
    side = np.sqrt(1 - height**2)
    return [float(f"{v:.6f}") for v in (side * np.cos(angle), side * np.sin(angle), height)]


# What tells the volumes of a series apart: elements of slice k in volume t, of which there are n
LABELS = {
    "time point": lambda t, k, n: {"TemporalPositionIdentifier": t + 1, "NumberOfTemporalPositions": n},
    "echo": lambda t, k, n: {"EchoTime": 2.3 * (t + 1), "EchoNumbers": t + 1},
    "b-value": lambda t, k, n: {"DiffusionBValue": 100.0 * t},
    "gradient": lambda t, k, n: {
        "DiffusionBValue": 1000.0 * (t > 0),
        "DiffusionGradientOrientation": direction(t - 1) if t else None,
    },
    "b-value, then clock": lambda t, k, n: {"DiffusionBValue": 1000.0 * (t > 0)},
    "inversion": lambda t, k, n: {"InversionTime": 50 * (t + 1)},
    "flip angle": lambda t, k, n: {"FlipAngle": 3 * (t + 1)},
    "image type": lambda t, k, n: {"ImageType": ["ORIGINAL", "PRIMARY", TYPES[t % 4]], "EchoTime": 5 * (1 + t // 4)},
    "echo and time point": lambda t, k, n: {"EchoTime": 4 + 3 * (t % 2), "TemporalPositionIdentifier": 1 + t // 2},
    "echo and acquisition": lambda t, k, n: {"EchoTime": 4 + 3 * (t % 2), "AcquisitionNumber": 1 + t // 2},
    "trigger time": lambda t, k, n: {"TriggerTime": 31 * t},
    "trigger time and phase": lambda t, k, n: {"TriggerTime": 31 * t, "CardiacNumberOfImages": n},
    "uneven trigger time": lambda t, k, n: {"TriggerTime": 31 * t + k % 3},
    "frame time": lambda t, k, n: {"FrameReferenceTime": 1000 * t + 500},
    "acquisition": lambda t, k, n: {"AcquisitionNumber": t + 1},
    "clock": lambda t, k, n: {},
    "number": lambda t, k, n: {},
}
# Those in which times, or numbers, tell volumes apart; and the contrast of volume t where that differs as well
BY_TIME = {
    *("b-value, then clock", "echo and acquisition", "trigger time", "trigger time and phase", "uneven trigger time"),
    *("frame time", "acquisition", "clock", "number"),
}
CONTRAST = {"b-value, then clock": lambda t: t > 0, "echo and acquisition": lambda t: t % 2}
CLOCKS = ("none", "volume", "slice", "cut", "fixed", "content by volume", "content by slice")
NUMBERS = ("volume", "place", "volume downwards", "absent", "again", "by volume from 1")
GAPS = ("thickness", "off", "absent", "thick", "thin")
ORDERS = ("upwards", "downwards", "interleaved")


@dataclass(frozen=True)
class Case:
    """A series of ``volumes`` x ``slices`` images.

    Attributes:
        label: what tells its volumes apart, of LABELS.
        clock: how its times run, of CLOCKS.
        order: in which slices are acquired, of ORDERS.
        numbers: how InstanceNumber counts, of NUMBERS.
        gap: what the header says of the gap, of GAPS.
        oblique: whether its planes are.
        seed: of its voxels.
    """

    volumes: int
    slices: int
    label: str
    clock: str
    order: str
    numbers: str
    gap: str
    oblique: bool
    seed: int = 0

    @property
    def stored(self):
        return stored_values((self.volumes, self.slices, 2, 3), seed=self.seed)


def draw_case(choose, whole):
    """A case; ``choose`` draws one of a sequence, ``whole`` a number between two."""
    volumes = whole(2, 12)
    slices = whole(3, max(3, min(12, 60 // volumes)))
    label = choose(sorted(LABELS))
    needs_clock = label in ("clock", "b-value, then clock")
    clock = choose(("volume", "slice", "content by volume", "content by slice") if needs_clock else CLOCKS)
    numbers = choose(("volume", "place", "volume downwards") if label == "number" else NUMBERS)
    if label == "number":
        clock = choose(("none", "fixed"))
    order, gap, oblique = choose(ORDERS), choose(GAPS), choose((False, True))
    return Case(volumes, slices, label, clock, order, numbers, gap, oblique, whole(0, 99))


def _rank(case, k):
    """When slice k of a volume is acquired."""
    order = list(range(case.slices))
    if case.order == "downwards":
        order.reverse()
    elif case.order == "interleaved":
        order = order[::2] + order[1::2]
    return order.index(k)


def _time(seconds):
    seconds += 36000
    return f"{int(seconds) // 3600:02}{int(seconds) // 60 % 60:02}{seconds % 60:09.6f}"


def _clock(case, t, k):
    rank = _rank(case, k)
    running = 7 * t + 5 * rank / case.slices
    total = 7 * case.volumes
    return {
        "none": {},
        "volume": {"AcquisitionTime": _time(7 * t)},
        "slice": {"AcquisitionTime": _time(running)},
        "cut": {"AcquisitionTime": _time(60 * (running > total * 0.55))},
        "fixed": {"AcquisitionTime": _time(0), "ContentTime": _time(99)},
        "content by volume": {"ContentTime": _time(7 * t)},
        "content by slice": {"ContentTime": _time(running)},
    }[case.clock]


def _number(case, t, k):
    n, s = case.volumes, case.slices
    return {
        "volume": t * s + k + 1,
        "volume downwards": t * s + s - k,
        "place": k * n + t + 1,
        "absent": None,
        "again": 1,
        "by volume from 1": k + 1,
    }[case.numbers]


def write_case(case, folder):
    """Write the images; returns their paths by (volume, slice)."""
    shutil.rmtree(folder, ignore_errors=True)
    orientation = OBLIQUE if case.oblique else AXIAL
    normal = direction_of(orientation)[:, 2]
    stated = {
        "thickness": {},
        "off": {"SpacingBetweenSlices": f"{1.075 * SPACING[2]:g}"},
        "absent": {"SliceThickness": None},
        "thick": {"SliceThickness": f"{2 * SPACING[2]:g}"},
        "thin": {"SliceThickness": f"{SPACING[2] / 2:g}"},
    }[case.gap]
    datasets, keys = [], []
    for t, volume in enumerate(case.stored):
        for k, image in enumerate(volume):
            elements = {
                "Modality": "MR",
                "SOPClassUID": MRImageStorage,
                "AcquisitionDate": "20200229",
                "ContentDate": "20200229",
                "InstanceNumber": _number(case, t, k),
                **stated,
                **LABELS[case.label](t, k, case.volumes),
                **_clock(case, t, k),
            }
            datasets.append(make_slice(image, np.array(ORIGIN) + k * SPACING[2] * normal, orientation, **elements))
            keys.append((t, k))
    return dict(zip(keys, map(str, write(datasets, folder)), strict=True))


def draw_lost(case, choose, whole):
    """Some of the images (volume, slice) of a case, as they are lost."""
    everything = [(t, k) for t in range(case.volumes) for k in range(case.slices)]
    how = choose(("one", "some", "most", "end", "ends", "broken off", "every second", "block", "end of most"))
    t, n = whole(0, case.volumes - 1), whole(1, case.slices - 1)
    if how == "one":
        return {(t, whole(0, case.slices - 1))}
    if how in ("some", "most"):
        share = whole(1, 5) if how == "some" else whole(6, 9)
        lost = {image for image in everything if whole(0, 9) < share}
        return lost or {(t, 0)}
    if how == "end":
        return set(_end(case, t, n, choose((False, True))))
    if how == "ends":
        first = choose((False, True))
        other = (t + whole(1, case.volumes - 1)) % case.volumes
        return {*_end(case, t, n, first), *_end(case, other, whole(1, case.slices - 1), not first)}
    if how == "end of most":
        others = [v for v in range(case.volumes) if v != t]
        ends = [_end(case, v, whole(1, case.slices - 1), choose((False, True))) for v in others]
        return {image for end in ends for image in end}
    if how == "broken off":
        by_place = choose((False, True))
        ordered = sorted(everything, key=lambda image: image[::-1] if by_place else image)
        return set(ordered[whole(1, len(ordered) - 1) :])
    if how == "every second":
        step = whole(2, 3)
        return {(t, k) for k in range(case.slices) if k % step}
    first, last = sorted((whole(0, case.slices - 1), whole(0, case.slices - 1)))
    return {(v, k) for v in range(min(t, case.volumes - 1) + 1) for k in range(first, last + 1)}


def _end(case, t, n, first):
    return [(t, k) for k in range(case.slices) if (k < n if first else k >= case.slices - n)]


def outcome(case, folder, files, lost):
    """What each row of the inventory of the rest gives: ``right``, ``refused``, or in words what is wrong."""
    away = folder + "_away"
    os.makedirs(away, exist_ok=True)
    moved = {files[image]: os.path.join(away, os.path.basename(files[image])) for image in lost}
    for path, stash in moved.items():
        os.rename(path, stash)
    try:
        left = [image for image in files if image not in lost]
        if not left:
            return []
        places = sorted({k for _, k in left})
        stored = case.stored
        found = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _, row in dicom_inventory(folder).iterrows():
                try:
                    array = read_dicom(row)[0]
                except ReadError:
                    found.append("refused")
                    assert row["problems"], "refused, and the inventory says nothing"
                    continue
                if row["problems"]:
                    found.append("read with problems")
                elif any(np.array_equal(array, volume[places]) for volume in stored):
                    found.append("right")
                else:
                    found.append(_what(array, stored, row["distinct"]))
        return found
    finally:
        for path, stash in moved.items():
            os.rename(stash, path)


def is_traceless(case, left):
    """Whether images of several volumes are left that a time alone told apart, and now look like whole volumes.

    No two of them lie at one place; or equally many lie at each, and no number says whether these are of one volume.
    """
    kinds = {}
    for t, k in left:
        kinds.setdefault(CONTRAST.get(case.label, lambda t: 0)(t), []).append((t, k))
    if case.label not in BY_TIME:
        return False
    for images in kinds.values():
        counts = Counter(k for _, k in images)
        if len({t for t, _ in images}) > 1 and (
            max(counts.values()) == 1 or (len(set(counts.values())) == 1 and case.numbers in ("absent", "again"))
        ):
            return True
    return False


def _what(array, stored, distinct):
    known = {image.tobytes(): (t, k) for t, volume in enumerate(stored) for k, image in enumerate(volume)}
    images = [known.get(image.astype(stored.dtype).tobytes(), (-1, -1)) for image in array]
    kind = "mixed" if len({t for t, _ in images}) > 1 else "short"
    return f"{kind}: {distinct}: {images}"
