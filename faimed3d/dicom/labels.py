"""What tells the planes at one position from each other: echo, b-value, time, image type, ..."""

from __future__ import annotations

import struct

from .header import decimal_number, shown
from .tags import T

__all__ = ["CONTENT", "TIMES", "b_value", "distinct_label", "labels_of", "order_keys"]

# In the order in which they are tried: what makes another kind of image first, then the course of time.
CONTENT = (
    *("image type", "component", "kernel", "echo time", "echo", "b-value", "gradient"),
    *("inversion time", "flip angle"),
)
TIMES = ("time point", "time offset", "trigger time", "frame time", "acquisition", "acquisition time", "content time")
_UNITS = {"echo time": " ms", "inversion time": " ms", "b-value": " s/mm2", "flip angle": " degrees"}

_TEXT_LABELS = (
    ("image type", (T.ImageType,)),
    ("echo time", (T.EchoTime,)),
    ("echo", (T.EchoNumbers,)),
    ("inversion time", (T.InversionTime,)),
    ("flip angle", (T.FlipAngle,)),
    ("kernel", (T.ConvolutionKernel,)),
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


def labels_of(plane):
    """Labels of a plane, text by name; absent ones are left out."""
    header = plane.header
    labels = {}
    for name, tags in _TEXT_LABELS:
        # the last part is a time: a date alone is no label
        if name not in labels and header.values.get(tags[-1]):
            labels[name] = " ".join(header.text(tag) for tag in tags)
    value = b_value(header)
    if value is not None:
        labels["b-value"] = f"{value:g}"
    gradient = header.values.get(T.DiffusionGradientOrientation) or header.values.get(T.SiemensGradient)
    if gradient and len(gradient) == 24:
        labels["gradient"] = "\\".join(f"{v:.4f}" for v in struct.unpack(header.order + "3d", gradient))
    if plane.frame or plane.labels:
        labels["instance"] = f"{labels.get('instance', '')} {plane.frame}"
    labels.update(plane.labels)
    return labels


def distinct_label(name, value, index, count):
    """How a label is shown: times as numbers in their row, for a date belongs to the patient's data."""
    if name in ("gradient", "acquisition"):
        return f"{name} {index + 1} of {count}"
    if name in TIMES or name == "instance":
        return f"time point {index + 1} of {count}"
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
    raw = header.values.get(T.DiffusionBValue)
    if raw and len(raw) == 8:
        return struct.unpack(header.order + "d", raw)[0]
    try:
        raw = header.values.get(T.PhilipsBValue)
        if raw and len(raw) == 4:
            return struct.unpack(header.order + "f", raw)[0]
        text = header.text(T.SiemensBValue)
        if text:
            return decimal_number(text)
        text = header.text(T.GEBValue).partition("\\")[0]
        if text:
            return decimal_number(text) % 100000  # the vendor adds a multiple of 1e5 (dcm2niix, GE notes)
    except ValueError:  # another vendor's use of the same private tag
        return None
    return None
