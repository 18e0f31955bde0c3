"""``faimed3d convert``: a volume in another format, spacing or orientation."""

from __future__ import annotations

import argparse
import os
import warnings

from torch import Tensor

from faimed3d.command.exit_codes import DONE
from faimed3d.command.mask_reading import holds_segments, read_mask
from faimed3d.command.output import refuse_existing
from faimed3d.io import volume_suffix
from faimed3d.io.formats import DICOM_SUFFIXES, structure_set_in
from faimed3d.masks.labels import are_labels, label_counts
from faimed3d.volume import TensorDicom3D

_MOST_LABELS = 128  # whole-body masks have some more than 100


def run(options: argparse.Namespace) -> int:
    """Read, resample, reorient, write, and print what was written."""
    options.mask = options.mask or holds_segments(options.input)
    as_object = volume_suffix(options.output) in DICOM_SUFFIXES
    _check(options, as_object)
    if volume_suffix(options.output):  # a folder for a series is judged where it is written
        refuse_existing(options.output, options.overwrite)
    scan: TensorDicom3D | None = None
    if options.mask:
        if options.like is not None:
            scan = TensorDicom3D.create(options.like, strict=options.strict)
        volume = read_mask(options.input, scan, options.strict, options.series)
    else:
        volume = TensorDicom3D.create(options.input, options.series, options.strict, dtype=None)
        if options.spacing and _may_be_labels(volume):
            warnings.warn(
                f"{options.input}: holds few values, all of them whole numbers, and was blended as an image. If these "
                "are labels, pass --mask",
                stacklevel=2,
            )
    if options.spacing:
        volume = volume.resample(options.spacing)
    if options.orientation:
        volume = volume.reorient(options.orientation)
    if as_object:
        volume.save(options.output, like=scan, form=options.form or "seg")
    else:
        volume.save(options.output)
    geometry = volume.require_geometry("convert")
    print(f"{options.output}: {'x'.join(map(str, volume.shape))}, {geometry.spacing_text}, {geometry.orientation}")
    return DONE


def _may_be_labels(volume):
    """Whether all values are whole numbers from 0 on, as few as a mask has; an image of bytes has more."""
    plain = volume.as_subclass(Tensor)
    return plain.min() == 0 and plain.max() <= 255 and are_labels(plain) and len(label_counts(plain)) <= _MOST_LABELS


def _check(options, as_object):
    """Refuse arguments that do not go together."""
    if options.series is None and structure_set_in(options.input) and not (options.mask and options.like):
        raise ValueError(
            f"{options.input}: a structure set, whose contours become voxels on the grid of the scan that they were "
            "drawn on: pass --mask --like SCAN"
        )
    if not options.mask and (options.like or options.form or as_object):
        what = "--like" if options.like else "--form" if options.form else f"{os.path.basename(options.output)!r}"
        raise ValueError(
            f"{what} is for masks: pass --mask. An image becomes a DICOM series in a folder, a path without extension"
        )
    if as_object and options.like is None:
        raise ValueError(
            f"{options.output}: a DICOM object of a mask refers to the scan that it belongs to: pass --like SCAN"
        )
    if options.form and not as_object:
        raise ValueError(f"--form is of a .dcm file, and OUT is {options.output!r}")
