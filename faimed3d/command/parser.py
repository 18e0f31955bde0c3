"""What can be asked of the command ``faimed3d``: subcommands, arguments, examples. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import math
import re
from datetime import datetime

from faimed3d._arguments import memory_bytes
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
    for add in (_add_inventory, _add_show, _add_convert, _add_predict, _add_serve):
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


def count(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds from 0 up."""
    parts = _floats(text)
    if len(parts) != 1 or not 0 <= parts[0] < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return parts[0]


def pause(text: str) -> float:
    """A number of seconds above 0."""
    found = seconds(text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return found


def day(text: str) -> str:
    """A day as 2026-11-29 or 20261129, as DICOM writes it."""
    digits = text.replace("-", "")
    try:
        if not re.fullmatch(r"[0-9]{4}(-?)[0-9]{2}\1[0-9]{2}", text):  # strptime takes fewer digits, too
            raise ValueError
        datetime.strptime(digits, "%Y%m%d")
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a day such as 2026-11-29, got {text!r}") from None
    return digits


def modality(text: str) -> str:
    """(0008,0060), such as CT: capitals, digits, underscores and spaces (PS3.5, VR CS)."""
    if not re.fullmatch("[A-Z0-9_ ]{1,16}", text.upper()):
        raise argparse.ArgumentTypeError(f"expected a modality of DICOM such as CT or MR, got {text!r}")
    return text.upper()


def memory(text: str) -> float:
    """An amount of memory, as 2GB."""
    try:
        return memory_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
        "--slices", type=count, metavar="N", help="of the picture: at most N, evenly spread (default: 40)"
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
    parser.add_argument("--mask", action="store_true", help="IN holds labels, not blended; SEG and .seg.nrrd say so")
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


def _add_predict(commands):
    parser = _add(
        commands,
        "predict",
        "segment scans with a model file",
        """Segment scans with a model file, as learn.export_model writes it, and save each mask on the grid of its scan.
        What is there already is not made again, so that a run that was stopped goes on where it stopped. A case that
        fails, or that the model was not trained for, does not stop the others. OUT/report.csv has the volumes in ml
        and the error of each case that failed.""",
        """
        faimed3d predict liver.fm3d scan.nii.gz masks
        faimed3d predict liver.fm3d export masks --modality CT --report report.html
        faimed3d predict liver.fm3d export objects --form seg --description 'T2*'
        faimed3d predict liver.fm3d export chosen --cases inventory.csv
        faimed3d predict brain.fm3d T1.nii.gz masks --channel FLAIR.nii.gz
        faimed3d predict brain.fm3d heads masks --description 'T1*' --description '*FLAIR*'
        """,
    )
    parser.add_argument("model", metavar="MODEL", help="the model file")
    parser.add_argument("input", metavar="IN", help="a scan, or a folder below which all scans are taken")
    parser.add_argument("output", metavar="OUT", help="folder of the results; it is made if need be")
    parser.add_argument(
        "--report",
        default="report.csv",
        metavar="FILE",
        help="in OUT: .csv, or .html for a page with a viewer beside it; that needs the extra 'viewer'",
    )
    parser.add_argument(
        "--channel",
        action="append",
        default=[],
        metavar="SCAN",
        help="of a model of several channels: IN is the first of one case, and this the next; once for each further "
        "one, in the order of the training. Results are of the first",
    )
    parser.add_argument("--cases", metavar="CSV", help="only the volumes whose key is in this table, as of inventory")
    _add_form(parser)
    _add_choice(parser)
    _add_computing(parser)
    _add_strict(parser)
    _add_overwrite(parser)


def _add_serve(commands):
    parser = _add(
        commands,
        "serve",
        "segment new studies as they come into a folder or an archive",
        """Segment studies as they come into a folder or an archive, each once.

        In a folder, what is there at the start is served, too. DICOM files of one StudyInstanceUID are one study,
        wherever they lie below it; each other volume is one of its own.

        Of an archive that speaks DICOMweb the series of studies from the day of the first start on are served. The
        results, DICOM objects, are kept in OUT and stored in the archive. User and password, or a token, are taken from
        FAIMED3D_PACS_USER and FAIMED3D_PACS_PASSWORD, or FAIMED3D_PACS_TOKEN, of the environment.

        A study that is still being received is waited for until nothing of it has changed for a time. A study that
        cannot be read, or that the model was not trained for, is named and passed over, until its files change.

        What was done is in OUT/served, one file for each study: delete one, and its study is served anew. So it goes on
        after any end. OUT holds results of one model in one form. SIGINT (Ctrl+C) and SIGTERM end it after the case in
        work, with code 0.""",
        """
        faimed3d serve liver.fm3d --watch incoming --out results
        faimed3d serve liver.fm3d --watch incoming --out segs --form seg --modality MR --description 'T2*'
        faimed3d serve liver.fm3d --watch incoming --out objects --form rtstruct --sr --once
        faimed3d serve liver.fm3d --watch incoming --out results --once --quiet 30
        faimed3d serve brain.fm3d --watch heads --out labels --description 'T1*' --description '*FLAIR*'
        faimed3d serve liver.fm3d --pacs http://localhost:8042/dicom-web --out archived --modality CT
        """,
    )
    parser.add_argument("model", metavar="MODEL", help="the model file")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--watch", metavar="FOLDER", help="the folder that studies come to")
    where.add_argument("--pacs", metavar="URL", help="the archive's address of DICOMweb")
    parser.add_argument("--since", type=day, metavar="DAY", help="with --pacs: of studies from this day on: 2026-11-29")
    parser.add_argument("--certificates", metavar="FILE", help="with --pacs: of the authority that it is signed by")
    parser.add_argument("--out", metavar="OUT", required=True, help="folder of the results; it is made if need be")
    parser.add_argument(
        "--quiet",
        type=seconds,
        default=60,
        metavar="S",
        help="seconds without a change after which a study is whole (default: 60)",
    )
    parser.add_argument("--every", type=pause, default=10, metavar="S", help="seconds between two looks (default: 10)")
    parser.add_argument("--once", action="store_true", help="end when nothing is left to do, as for cron")
    _add_form(parser, "nii; of an archive seg")
    parser.add_argument(
        "--sr",
        action="store_true",
        help="with seg or rtstruct: a structured report of the volumes of classes, too",
    )
    _add_choice(parser)
    _add_computing(parser)


def _add_form(parser, default="nii"):
    parser.add_argument(
        "--form",
        choices=("nii", "seg", "rtstruct"),
        help=f"of the results: NIfTI, or a DICOM object that refers to its scan (default: {default})",
    )


def _add_choice(parser):
    parser.add_argument("--modality", type=modality, metavar="CT", help="only DICOM series of this modality")
    parser.add_argument(
        "--description",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only DICOM series so described; * is any text, ? a letter. Once for each channel, in their order, of a "
        "model of several: each study is then one case, in which each pattern must be met by one series",
    )


def _add_computing(parser):
    parser.add_argument("--device", metavar="cpu|cuda", help="where it computes (default: the GPU where there is one)")
    parser.add_argument(
        "--resample-to-first",
        action="store_const",
        const=True,
        help="of a model of several channels: bring all to the grid of the first (default: as in its training)",
    )
    parser.add_argument("--memory", type=memory, metavar="2GB", help="what the probabilities of a large scan may take")
    parser.add_argument(
        "--outside",
        choices=("refuse", "warn"),
        help="of a scan that is not such as the model was trained on: refuse it, or warn and predict (default: refuse)",
    )


def _add(commands, name, short, text, examples):
    """A subcommand, whose help ends with its examples."""
    lines = [line.strip() for line in examples.strip().splitlines()]
    parser = commands.add_parser(
        name,
        help=short,
        description="\n".join(line.strip() for line in text.splitlines()),
        epilog="examples:\n" + "\n".join(f"  {line}" for line in lines) + f"\n\n{EXPLAINED}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    _add_strict(parser)


def _add_strict(parser):
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
