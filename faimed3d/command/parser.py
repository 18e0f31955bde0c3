"""What can be asked of the command ``faimed3d``: subcommands, arguments, examples. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import math
import re

from faimed3d.command.exit_codes import EXPLAINED


def make_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; ``subcommand`` of its result names the module that runs it."""
    parser = argparse.ArgumentParser(
        prog="faimed3d",
        description="Medical volumes from the shell: CT, MR and PET, in DICOM, NIfTI, NRRD, MetaImage, ...",
        epilog=f"{EXPLAINED}\n\nfaimed3d is for research. It is no medical device.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    for add in (_add_inventory, _add_show, _add_convert):
        add(commands)
    return parser


def numbers(text: str) -> tuple[float, float, float]:
    """``'1,1,3'`` or ``'1'`` as three positive numbers."""
    parts = _floats(text)
    if len(parts) not in (1, 3) or not all(0 < part < math.inf for part in parts):
        raise argparse.ArgumentTypeError(f"expected mm as x,y,z or one positive number for all three, got {text!r}")
    x, y, z = parts * 3 if len(parts) == 1 else parts
    return x, y, z


def orientation(text: str) -> str:
    """Three letters, one of each pair of R and L, A and P, S and I, in capitals."""
    if not re.fullmatch("(?=.*[RL])(?=.*[AP])(?=.*[SI])...", text.upper()):
        raise argparse.ArgumentTypeError(f"expected three letters such as RAS or LPS, got {text!r}")
    return text.upper()


def window(text: str) -> str | tuple[float, float]:
    """``'lung'`` as it is, ``'40,400'`` as two numbers."""
    if "," not in text:
        return text
    parts = _floats(text)
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"expected a name, or centre,width as two numbers, got {text!r}")
    return parts[0], parts[1]


def series(text: str) -> str | int:
    """A key or UID as it is, a number as one: a key has 12 characters, all of which may be digits."""
    return int(text) if text.isdecimal() and len(text) < 12 else text


def _floats(text):
    """The numbers of a list; none where one of them is no number."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []


def _add_inventory(commands):
    parser = _add(
        commands,
        "inventory",
        "list the DICOM volumes below a folder",
        """List the DICOM volumes below a folder, one row each, from headers alone: key, modality, slices, spacing,
        orientation, description of the series, folder, and why a volume cannot be read. No name, date or number of
        a patient is read.""",
        """
        faimed3d inventory export
        faimed3d inventory export --csv inventory.csv
        """,
    )
    parser.add_argument("folder", metavar="FOLDER", help="a folder, or one DICOM file")
    parser.add_argument("--csv", metavar="FILE", help="write the table to this file as well, with series UIDs")
    _add_overwrite(parser)


def _add_show(commands):
    parser = _add(
        commands,
        "show",
        "draw a volume as a picture, or as a page with a viewer",
        """Draw the slices of a volume as a picture (.png), or write a page with a viewer (.html), which any browser
        opens from the disk; that needs the extra 'viewer'.""",
        """
        faimed3d show scan.nii.gz
        faimed3d show export/a/1 --mask mask.nii.gz --out check.png --plane coronal
        faimed3d show scan.nii.gz --window 40,400 --out html
        """,
    )
    parser.add_argument("file", metavar="FILE", help="a file of any format that can be read, or a DICOM folder")
    parser.add_argument("--mask", metavar="FILE", help="labels to lay over it; brought onto its grid where need be")
    parser.add_argument(
        "--out",
        default="png",
        metavar="FILE",
        help="a .png or .html file; 'png' or 'html' alone: one of the name of FILE, here (default: png)",
    )
    parser.add_argument(
        "--plane", choices=("axial", "coronal", "sagittal"), help="of the picture (default: as the slices are stored)"
    )
    parser.add_argument(
        "--slices", type=int, default=40, metavar="N", help="draw at most N slices, evenly spread (default: 40)"
    )
    parser.add_argument(
        "--window", type=window, metavar="NAME|C,W", help="grey values: lung, bone, ..., or centre,width"
    )
    _add_reading(parser)
    _add_overwrite(parser)


def _add_convert(commands):
    parser = _add(
        commands,
        "convert",
        "write a volume in another format, spacing or orientation",
        """Write a volume in another format. The ending of OUT chooses it: .nii.gz, .nii, .nrrd, .nhdr, .mha, .mhd,
        .hdr, .img, .mgz or .mgh, .seg.nrrd of masks; no ending: a folder for a DICOM series; .dcm with --mask and
        --like: one DICOM object that refers to a scan. Nothing of a patient goes over, but with --like what such an
        object needs of the scan. What is there already stays, but with --overwrite.""",
        """
        faimed3d convert export/a/1 T2.nii.gz --spacing 1,1,3 --orientation RAS
        faimed3d convert mask.nii.gz mask.seg.nrrd --mask
        faimed3d convert mask.nii.gz contours.dcm --mask --like export/a/1 --form rtstruct
        faimed3d convert contours.dcm contours.nii.gz --mask --like export/a/1
        """,
    )
    parser.add_argument("input", metavar="IN", help="a file of any format that can be read, or a DICOM folder")
    parser.add_argument("output", metavar="OUT", help="a file, or a new folder for a DICOM series")
    parser.add_argument("--mask", action="store_true", help="IN holds labels, which are never blended")
    parser.add_argument("--spacing", type=numbers, metavar="X,Y,Z", help="resample to this spacing in mm")
    parser.add_argument(
        "--orientation", type=orientation, metavar="RAS", help="reorder and flip the axes, without interpolation"
    )
    parser.add_argument("--like", metavar="SCAN", help="with --mask: the scan that the mask belongs to")
    parser.add_argument(
        "--form", choices=("seg", "rtstruct"), help="of a .dcm: segmentation or structure set (default: seg)"
    )
    _add_reading(parser)
    _add_overwrite(parser)


def _add(commands, name, short, text, examples):
    """A subcommand with its examples; ``examples`` of its parser are their lines."""
    lines = [line.strip() for line in examples.strip().splitlines()]
    parser = commands.add_parser(
        name,
        help=short,
        description="\n".join(line.strip() for line in text.splitlines()),
        epilog="examples:\n" + "\n".join(f"  {line}" for line in lines) + f"\n\n{EXPLAINED}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from; may show patient data")
    return parser


def _add_reading(parser):
    parser.add_argument(
        "--series",
        type=series,
        metavar="KEY",
        help="which volume of a folder that holds several: its key in the inventory of FILE, its number there, or "
        "its series UID",
    )
    parser.add_argument(
        "--no-strict", dest="strict", action="store_false", help="mend what can be mended of a faulty scan, and warn"
    )


def _add_overwrite(parser):
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")


class _Version(argparse.Action):
    """``--version``, for which the package's metadata are read only when it is asked for."""

    def __init__(self, option_strings, dest):
        super().__init__(option_strings, dest, nargs=0, help="print the version and end")

    def __call__(self, parser, namespace, values, option_string=None):
        from importlib.metadata import version  # takes time to import

        print(f"faimed3d {version('faimed3d')}")
        parser.exit()
