"""``faimed3d show``: a volume as a picture, or as a page with a viewer."""

from __future__ import annotations

import argparse
import os

import matplotlib as mpl
from matplotlib import pyplot as plt

from faimed3d.command.exit_codes import DONE
from faimed3d.command.mask_reading import read_mask
from faimed3d.command.output import finished_file, refuse_existing
from faimed3d.io import volume_suffix
from faimed3d.io.formats import structure_set_in
from faimed3d.volume import TensorDicom3D

_MOST_SLICES = 40
_SIZE = (15, 12)  # inches at most
_PICTURES, _PAGES = (".png",), (".html", ".htm")


def run(options: argparse.Namespace) -> int:
    """Draw the volume, and print the name of the file."""
    out = _target(options.out, options.file)
    refuse_existing(out, options.overwrite)
    is_page = out.lower().endswith(_PAGES)
    if is_page and (options.plane or options.slices):
        raise ValueError(f"--plane and --slices are of a picture, and {out} is a page, which shows all")
    if os.path.isfile(options.file) and structure_set_in(options.file):
        raise ValueError(
            f"{options.file}: a structure set, whose contours are drawn over the scan that they belong to: show SCAN "
            f"--mask {options.file}"
        )
    image = TensorDicom3D.create(options.file, options.series, options.strict)
    mask = None
    if options.mask:
        mask = read_mask(options.mask, image, options.strict)
        if not mask.require_geometry("show").agrees(image.require_geometry("show")):
            mask = mask.resample_like(image)
    if is_page:
        image.view_3d(mask, window=options.window).save(out)
    else:
        _draw(out, image, mask, options)
    print(out)
    return DONE


def _draw(out, image, mask, options):
    mpl.use("Agg")  # no window, wherever this runs
    figure, axes = plt.subplots(figsize=_SIZE)
    try:
        image.show(
            ax=axes, mask=mask, axis=options.plane or 0, max_slices=options.slices or _MOST_SLICES,
            window=options.window, letters=True, legend=mask is not None,
        )  # fmt: skip
        with finished_file(out) as made:
            figure.savefig(made, dpi=100, bbox_inches="tight")
    finally:
        plt.close(figure)


def _target(out, source):
    """The file to write; for a bare 'png' or 'html' one of the name of the source in the current folder."""
    if f".{out.lower()}" in (*_PICTURES, *_PAGES):
        name = os.path.basename(os.path.abspath(source))
        out = f"{name if os.path.isdir(source) else name[: len(name) - len(volume_suffix(name))]}.{out.lower()}"
    if os.path.splitext(out)[1].lower() not in (*_PICTURES, *_PAGES):
        raise ValueError(f"--out must be a .png or .html file, or png or html alone, got {out!r}")
    return out
