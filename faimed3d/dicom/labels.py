"""What tells the planes at one position from each other: echo, b-value, time, image type, ..."""

from __future__ import annotations

import struct

from .header import decimal_number, shown
from .tags import T

__all__ = ["CONTENT", "DIMENSIONS", "TIMES", "VOLUMES", "b_value", "distinct_label", "labels_of", "order_keys"]

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
