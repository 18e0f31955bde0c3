"""One header scan of a folder: which files are image planes, what was skipped, what is damaged."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from faimed3d._atomic import UNFINISHED_PREFIX
from faimed3d.dicom.header import WANTED, FileHeader, Tag, name_tag, quote_value, read_header
from faimed3d.dicom.segmentation.planes import SEGMENTATIONS
from faimed3d.errors import DamagedFile, TruncatedFile, UnsupportedImage

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_DICOMDIR = "1.2.840.10008.1.3.10"
# PS3.4 annex B.5: waveforms, presentation states, raw data, registrations, fiducials, surface meshes, value maps,
# spectroscopy, reports, documents, structure sets, plans and treatment records hold no pixels
_NO_IMAGE = (
    "4.2",
    "9.",
    "11.",
    "66",
    "66.1",
    "66.2",
    "66.3",
    "66.5",
    "66.6",
    "67",
    "68.",
    "77.1.5.3",
    "78.",
    "79.1",
    "80.1",
    "88.",
    "104.",
    "200.",
    "201.",
    "481.4",
    "481.5",
    "481.6",
    "481.7",
    "481.8",
    "481.9",
)
# Classes that are nothing without pixels: a file of one of them that has none is damaged
_PIXELS_EXPECTED = (
    "1",
    "1.1",
    "2",
    "2.1",
    "2.2",
    "4",
    "4.1",
    "4.3",
    "4.4",
    "7",
    "20",
    "30",
    "66.4",
    "128",
    "128.1",
    "130",
    "481.2",
)
_STRUCTURE_SET = "481.3"
_COLOURS = ("RGB", "PALETTE COLOR", "ARGB", "CMYK", "HSV")
_ON_A_SERVER = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95")  # JPIP Referenced, JPIP Referenced Deflate
_MEDIA_CLASS = 0x00020002
_MOST_BELOW = 5000  # files in sub-folders that are looked at: a third of a second
_POINTER = b"version https://git-lfs"  # git-lfs leaves this in the place of a file that was not fetched
_SYSTEM_NAMES = frozenset(
    ("thumbs.db", "desktop.ini", "icon", "lockfile", "version", "checksums", "md5sums", "dirfile")
)
_HEX_NAME = re.compile(r"(?=.*[0-9])[0-9A-Fa-f]{6,}")
_SLICE_SUFFIXES = frozenset((".dcm", ".dicom", ".dic", ".ima"))


@dataclass
class Scan:
    """What one folder holds.

    Attributes:
        folder: its path.
        images: headers of the image files, ordered by name.
        damaged: headers of DICOM files that cannot be used, their ``error`` set.
        colour: headers of colour images.
        skipped: how many files were left out, by reason.
        structure_sets: paths of RT structure sets, which are among the skipped.
        folders: sub-folders (not searched here).
    """

    folder: str
    images: list = field(default_factory=list)
    damaged: list = field(default_factory=list)
    colour: list = field(default_factory=list)
    skipped: Counter = field(default_factory=Counter)
    structure_sets: list = field(default_factory=list)
    folders: list = field(default_factory=list)


def scan_folder(folder):
    """Scan the files that lie directly in ``folder``.

    Raises:
        FileNotFoundError, PermissionError: from the file system.
    """
    files, links, folders = list_folder(folder)
    scan = scan_files(files, folder)
    scan.folders = folders
    suffixes = {os.path.splitext(h.path)[1].lower() for h in scan.images} | _SLICE_SUFFIXES
    for link in links:
        if scan.images and os.path.splitext(link)[1].lower() in suffixes:
            scan.damaged.append(
                _unreadable(
                    link,
                    DamagedFile(
                        f"{link}: a link to a file that is not there, named as a slice: fetch the file (git annex get) "
                        "or delete the link"
                    ),
                )
            )
        else:
            scan.skipped["links to nothing"] += 1
    return scan


def scan_below(scan, series):
    """Headers of the images of the given series that lie below the folder of a scan, files of the scan left out.

    Args:
        scan: of a folder. Not more than 5000 files below it are looked at, those of its own sub-folders first.
        series: set of SeriesInstanceUIDs.
    """
    known = {header.identity for header in scan.images}
    return [
        header
        for header in scan_files(files_below(scan.folders)).images
        if header.text(Tag.SeriesInstanceUID) in series and header.identity not in known
    ]


def files_below(folders):
    """Files in and below some folders that may be read, at most 5000, those of the folders themselves first."""
    files, waiting, seen = [], list(folders), set()
    while waiting and len(files) < _MOST_BELOW:
        folder = waiting.pop(0)
        with suppress(PermissionError):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                inside, _, below = list_folder(folder)
                files += [file for file in inside if os.access(file, os.R_OK)]
                waiting += below
    return files[:_MOST_BELOW]


def list_folder(folder):
    """Return (files, dangling links, sub-folders) of ``folder``, each sorted; links are followed.

    Folders in which a file is still being made, or was when its process was killed, are left out.
    """
    files, links, folders = [], [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.is_dir():
                    if not entry.name.startswith(UNFINISHED_PREFIX):
                        folders.append(entry.path)
                elif entry.is_file():
                    files.append(entry.path)
                elif entry.is_symlink():
                    links.append(entry.path)  # a socket or pipe behind a link counts as nothing there as well
            except OSError:  # a chain of links that leads back to itself
                links.append(entry.path)
    return sorted(files), sorted(links), sorted(folders)


def scan_files(files, folder=""):
    """Read the headers of ``files`` and sort them into a Scan."""
    scan = Scan(str(folder))
    seen = set()
    strangers = []
    for path in files:
        header = read_header(path, WANTED)
        if header is None:
            strangers.append(path)
            continue
        if header.identity in seen and header.identity[1]:
            scan.skipped["second names of one file"] += 1
            continue
        seen.add(header.identity)
        _sort_in(scan, header)
    names = [os.path.basename(header.path) for header in scan.images] if strangers else ()
    suffixes = {os.path.splitext(name)[1].lower() for name in names}
    patterns = {pattern for name in names for pattern in _patterns(name)}
    hidden = any(name.startswith(".") for name in names)
    for path in strangers:
        fault = None if _is_no_slice(os.path.basename(path), hidden) else _stranger(path, suffixes, patterns)
        if fault:
            scan.damaged.append(_unreadable(path, fault))
        else:
            scan.skipped["files that are not DICOM"] += 1
    return scan


def _sort_in(scan, header):
    values = header.values
    kind = header.text(Tag.SOPClassUID) or header.text(_MEDIA_CLASS)
    short = kind[len(_STORAGE) :] if kind.startswith(_STORAGE) else ""
    if kind == _DICOMDIR:
        scan.skipped["DICOMDIR"] += 1
    elif short == _STRUCTURE_SET:
        scan.skipped["RT structure sets"] += 1
        scan.structure_sets.append(header.path)
    elif short and _holds_no_image(short):
        scan.skipped["DICOM objects without an image"] += 1
    elif header.error:
        scan.damaged.append(header)
    elif Tag.Rows not in values and not header.pixel_tag:
        if short in _PIXELS_EXPECTED:
            header.error = DamagedFile(f"{header.path}: {name_tag(Tag.Rows)} and {name_tag(Tag.PixelData)} are absent")
            scan.damaged.append(header)
        else:
            scan.skipped["DICOM objects without an image"] += 1
    elif not header.pixel_tag and kind and not kind.startswith(_STORAGE):
        # a private object beside the slices, or one that is never stored: it may have a size, and is no image
        scan.skipped["DICOM objects without an image"] += 1
    elif not header.pixel_tag and header.syntax in _ON_A_SERVER:
        header.error = UnsupportedImage(
            f"{header.path}: its pixels are not in the file but on a server (JPIP, (0028,7FE0) PixelDataProviderURL): "
            "fetch the image with its pixels"
        )
        scan.damaged.append(header)
    elif not header.pixel_tag:
        header.error = DamagedFile(f"{header.path}: {name_tag(Tag.PixelData)} is absent: an image without pixels")
        scan.damaged.append(header)
    else:
        _sort_by_colour(scan, header)


@lru_cache(maxsize=256)
def _holds_no_image(kind):
    return any(kind.startswith(p) if p[-1] == "." else kind == p for p in _NO_IMAGE)


def _sort_by_colour(scan, header):
    kind = header.text(Tag.PhotometricInterpretation)
    colour = kind in _COLOURS or kind.startswith("YBR")
    try:
        samples = header.integer(Tag.SamplesPerPixel, 1)
        if samples != 1 and not (colour and samples in (3, 4)):
            raise DamagedFile(
                f"{header.path}: {name_tag(Tag.SamplesPerPixel)} is {samples}, though "
                f"{name_tag(Tag.PhotometricInterpretation)} is {quote_value(kind)!r}"
            )
        if samples == 1 and colour and kind != "PALETTE COLOR":
            raise DamagedFile(
                f"{header.path}: {name_tag(Tag.PhotometricInterpretation)} is {quote_value(kind)!r}, though "
                f"{name_tag(Tag.SamplesPerPixel)} is 1"
            )
    except DamagedFile as error:
        header.error = error
        scan.damaged.append(header)
        return
    if colour and header.text(Tag.SOPClassUID) not in SEGMENTATIONS:  # a label map may name colours of its labels
        scan.colour.append(header)
        scan.skipped["colour images"] += 1
    else:
        scan.images.append(header)


def _stranger(path, suffixes, patterns):
    """The fault of a file that is not DICOM, where it is likely a damaged slice; None where it is just another file.

    Args:
        path: the file.
        suffixes, patterns: of the names of the images beside it.
    """
    name = os.path.basename(path)
    stem, suffix = os.path.splitext(name.lower())
    if suffix == ".gz" and os.path.splitext(stem)[1] in _SLICE_SUFFIXES:
        return DamagedFile(f"{path}: a slice packed with gzip; unpack it")
    if suffix not in _SLICE_SUFFIXES and suffix not in suffixes and not suffix[1:].isdigit():
        return None
    with open(path, "rb") as file:
        head = file.read(256)
        size = os.fstat(file.fileno()).st_size
    if not size:
        return TruncatedFile(f"{path}: the file is empty (0 bytes); delete it, or restore it")
    if not head.strip(b"\0"):
        return TruncatedFile(f"{path}: the file holds only zeros where its header should be ({size} bytes)")
    if head.startswith(_POINTER):
        return DamagedFile(f"{path}: a pointer to a file that was not fetched: fetch it (git lfs pull)")
    if suffix in _SLICE_SUFFIXES:
        return DamagedFile(f"{path}: named as DICOM, but it begins with {head[:8]!r} and no DICOM header follows")
    if not _is_text(head) or not patterns.isdisjoint(_patterns(name)):
        return DamagedFile(
            f"{path}: named as the slices beside it, but it begins with {head[:8]!r} and no DICOM header follows"
        )
    return None


def _is_no_slice(name, hidden):
    """Whether a name is one of those that systems and programs leave; ``hidden``: the slices begin with a dot too."""
    return name.startswith("._") or name.strip().lower() in _SYSTEM_NAMES or (name.startswith(".") and not hidden)


def _patterns(name):
    """What a file name that counts looks like, its numbers left open; none for others: a README is no slice."""
    pattern, numbers = re.subn(r"\d+", "0", name)
    found = {pattern} if numbers else set()
    return found | {f"{len(name)} hexadecimal digits"} if _HEX_NAME.fullmatch(name) else found


def _is_text(head):
    return all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head)


def _unreadable(path, error):
    header = FileHeader(str(path))
    header.error = error
    return header
