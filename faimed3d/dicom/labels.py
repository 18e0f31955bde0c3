"""What tells the planes at one position from each other: echo, b-value, time, image type, ..."""

from __future__ import annotations

import contextlib
import struct
from collections import defaultdict

import numpy as np

from .header import decimal_number, shown
from .tags import T

__all__ = [
    "CONTENT",
    "DIMENSIONS",
    "TIMES",
    "VOLUMES",
    "alike",
    "b_value",
    "distinct_label",
    "labels_of",
    "nearly",
    "order_keys",
    "rounded",
]

# In the order in which they are tried: what makes another kind of image first, then the course of time.
CONTENT = (
    *("image type", "component", "kernel", "tube voltage", "echo time", "echo", "b-value", "gradient"),
    *("velocity encoding", "spin labelling", "inversion time", "flip angle"),
)
TIMES = ("time point", "time offset", "trigger time", "frame time", "acquisition", "acquisition time", "content time")
# What a multi-frame file orders its frames by (PS3.3 C.7.6.17), whatever it is: one of these is the place
DIMENSIONS = tuple(f"dimension {k + 1}" for k in range(9))
# What all slices of one volume share, by its meaning
VOLUMES = (*CONTENT, "stack", "time point")
_UNITS = {
    "echo time": " ms",
    "inversion time": " ms",
    "b-value": " s/mm2",
    "flip angle": " degrees",
    "tube voltage": " kV",
}
_NEARLY = 0.01  # share within which numbers count as one: scanners round echo times
_SAME_DIRECTION = 0.02  # of diffusion gradients: they are written with as few as two decimals
_COUNTED = ("gradient", "velocity encoding", "acquisition", "stack", *DIMENSIONS)

_TEXT_LABELS = (
    ("image type", (T.ImageType,)),
    ("echo time", (T.EchoTime,)),
    ("echo", (T.EchoNumbers,)),
    ("inversion time", (T.InversionTime,)),
    ("flip angle", (T.FlipAngle,)),
    ("kernel", (T.ConvolutionKernel,)),
    ("tube voltage", (T.KVP,)),
    ("stack", (T.StackID,)),
    ("time point", (T.TemporalPositionIdentifier,)),
    ("trigger time", (T.TriggerTime,)),
    ("frame time", (T.FrameReferenceTime,)),
    ("acquisition", (T.AcquisitionNumber,)),
    ("acquisition time", (T.AcquisitionDateTime,)),
    ("acquisition time", (T.AcquisitionDate, T.AcquisitionTime)),
    ("content time", (T.ContentDate, T.ContentTime)),
    ("instance", (T.InstanceNumber,)),
)


_BINARY = (T.DiffusionBValue, T.UnitedBValue)
_B_VALUES = (
    (None, "", T.DiffusionBValue),
    (T.PhilipsCreator, "Philips Imaging DD 001", T.PhilipsBValue),
    (T.SiemensCreator, "SIEMENS MR HEADER", T.SiemensBValue),
    (T.GECreator, "GEMS_PARM_01", T.GEBValue),
    (T.UnitedCreator, "Image Private Header", T.UnitedBValue),
)
_GRADIENTS = (
    (T.SiemensCreator, "SIEMENS MR HEADER", T.SiemensGradient),
    (T.UnitedCreator, "Image Private Header", T.UnitedGradient),
)


def labels_of(plane):
    """Labels of a plane, text by name; absent ones are left out."""
    header = plane.header
    labels = {}
    for name, tags in _TEXT_LABELS:
        # the last part is a time: a date alone is no label
        if name not in labels and header.values.get(tags[-1]):
            text = " ".join(header.text(tag) for tag in tags)
            labels[name] = _one_spelling(text) if name in CONTENT else text
    value = b_value(header)
    if value is not None:
        labels["b-value"] = f"{value:g}"
    gradient = header.values.get(T.DiffusionGradientOrientation)
    for creator, name, tag in _GRADIENTS:
        if not gradient and header.text(creator) == name:
            gradient = header.values.get(tag)
    if gradient and len(gradient) == 24:
        labels["gradient"] = "\\".join(f"{v:.4f}" for v in struct.unpack(header.order + "3d", gradient))
    if header.text(T.NumberOfFrames) not in ("", "1"):
        labels["instance"] = f"{labels.get('instance', '')} {plane.frame}"
    labels.update(plane.labels)
    return labels


def _one_spelling(text):
    try:
        return f"{decimal_number(text):g}"
    except ValueError:
        return text


def alike(name, values):
    """Whether values of the label ``name`` are equal, or differ by no more than what scanners make of one measure."""
    if len(set(values)) <= 1:
        return True
    return _one_direction(values) if name == "gradient" else name in _UNITS and nearly(values)


def nearly(values):
    """Whether texts are numbers that differ by rounding alone."""
    try:
        numbers = [decimal_number(value) for value in values]
    except ValueError:
        return False
    return max(numbers) - min(numbers) <= _NEARLY * max(map(abs, numbers))


def _one_direction(values):
    try:
        directions = np.array([_direction(value) for value in values])
    except ValueError:
        return False
    return bool((np.ptp(directions, axis=0) <= _SAME_DIRECTION).all())


def _direction(value):
    x, y, z = map(float, value.split("\\")) if value else (0.0, 0.0, 0.0)
    return x, y, z


def rounded(labels, places):
    """Labels in which values that are nearly equal, and never occur at one place, are one.

    Args:
        labels: a dictionary for each plane, as :func:`labels_of` gives them.
        places: a number for each plane, equal for planes at the same place.
    """
    same = {name: _same_values(name, labels, places) for name in ("gradient", *_UNITS)}
    return [{name: same.get(name, {}).get(value, value) for name, value in each.items()} for each in labels]


def _same_values(name, labels, places):
    """The value that stands for each one that is nearly equal to it."""
    held = defaultdict(set)
    for each, place in zip(labels, places, strict=True):
        if each.get(name):
            held[each[name]].add(place)
    points = {}
    for value in held if len(held) > 1 else ():
        with contextlib.suppress(ValueError):
            points[value] = _direction(value) if name == "gradient" else (decimal_number(value),)
    kept, same, known = [], {}, np.empty((len(points), 3 if name == "gradient" else 1))
    for value, point in sorted(points.items(), key=lambda pair: pair[1]):
        below = _SAME_DIRECTION if name == "gradient" else 2 * _NEARLY * abs(point[0])
        start = np.searchsorted(known[: len(kept), 0], point[0] - below)  # scanners may make thousands of values
        near = known[start : len(kept)]
        reach = _SAME_DIRECTION if name == "gradient" else _NEARLY * np.maximum(np.abs(near), abs(point[0]))
        candidates = start + np.flatnonzero((np.abs(near - point) <= reach).all(1))[::-1]
        first = next((kept[k] for k in candidates if held[kept[k]].isdisjoint(held[value])), None)
        if first is None:
            known[len(kept)] = point
            kept.append(value)
        else:
            same[value] = first
            held[first] |= held[value]
    return same


def distinct_label(name, value, index, count):
    """How a label is shown: times as numbers in their row, for a date belongs to the patient's data."""
    if name in _COUNTED:
        return f"{name} {index + 1} of {count}"
    if name in TIMES:
        return f"time point {index + 1} of {count}"
    if name == "instance":
        return f"repetition {index + 1} of {count}"
    if not value:
        return f"without {name}"
    keys = order_keys(value)
    number = f"{keys[0][1]:g}" if len(keys) == 1 and keys[0][0] == 0 else shown(value)
    return f"{name} {number}{_UNITS.get(name, '')}"


def order_keys(value):
    """Sort key of a label: numbers by size, other texts behind them by themselves."""
    parts = []
    for part in value.replace("\\", " ").split():
        try:
            parts.append((0, decimal_number(part), ""))
        except ValueError:
            parts.append((1, 0.0, part))
    return parts


def b_value(header):
    """Diffusion weighting of a file in s/mm2, from the standard element or a vendor's own; None where it has none."""
    try:
        for creator, name, tag in _B_VALUES:
            raw = header.values.get(tag)
            if not raw or (creator and header.text(creator) != name):
                continue
            if len(raw) == 8 and tag in _BINARY:
                return struct.unpack(header.order + "d", raw)[0]
            if len(raw) == 4 and tag == T.PhilipsBValue:
                return struct.unpack(header.order + "f", raw)[0]
            if tag == T.SiemensBValue:
                return decimal_number(header.text(tag))
            if tag == T.GEBValue:
                # the vendor adds a multiple of 1e5 (dcm2niix, GE notes)
                return decimal_number(header.text(tag).partition("\\")[0]) % 100000
    except ValueError:
        return None
    return None
