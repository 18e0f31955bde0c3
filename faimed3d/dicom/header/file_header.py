"""What is kept of one DICOM file's header: raw values of the wanted elements, and where the pixels lie."""

from __future__ import annotations

import math
import os
import re

from faimed3d._decimals import decimal_number
from faimed3d._file_signature import file_signature
from faimed3d.dicom.header.parser import HEAD, Window, looks_bare, walk_file
from faimed3d.dicom.header.tags import Tag, name_tag, standard_vr
from faimed3d.errors import DamagedFile, MissingGeometry, ReadError, TruncatedFile

__all__ = ["Header", "is_dicom", "quote_value", "read_header"]

# What one value of a VR may hold (PS3.5 section 6.2), and a little more that writers put there
_PLAUSIBLE = {
    "CS": r"[A-Za-z0-9 _./+-]{0,16}",
    "DS": r"[0-9.,eE +-]{0,32}",
    "IS": r"[0-9 +-]{0,16}",
    "UI": r"[0-9.]{0,64}",
}
_PLAIN = r"[ -\]_-~]{0,64}"


class Header:
    """Raw values of the wanted elements of one file, and the place of its pixels.

    Attributes:
        path: the file.
        size: bytes of the file (of the inflated data set where the transfer syntax is deflated).
        syntax: transfer syntax UID, as text; guessed where the file names none.
        values: raw bytes by tag; None for a sequence that is there and not empty.
        order: ``'<'`` or ``'>'``, the byte order of binary values and pixels.
        pixel_tag: (7FE0,0010), (7FE0,0008) or (7FE0,0009) as a number; 0 where the file has no pixels.
        pixel_vr: VR of the pixel element, b"" in implicit files.
        offset, length: place of the pixel bytes; length is -1 where they are encapsulated.
        deflated: whether offset counts in the inflated data set; ``start`` is where that begins in the file.
        vrs: VR by tag (b"" in implicit files), where all elements were asked for; else None.
        error: the ReadError that ended the walk, or None.
        identity: device and number of the file; links have those of what they lead to.
        written: its :func:`~faimed3d._file_signature.file_signature` when the header was read.
    """

    __slots__ = (
        "deflated",
        "error",
        "identity",
        "length",
        "offset",
        "order",
        "path",
        "pixel_tag",
        "pixel_vr",
        "size",
        "start",
        "syntax",
        "values",
        "vrs",
        "written",
    )

    def __init__(self, path):
        self.path = path
        self.size = self.offset = self.length = self.pixel_tag = self.start = 0
        self.syntax, self.order, self.values = "", "<", {}
        self.vrs = None
        self.pixel_vr, self.deflated, self.error, self.identity = b"", False, None, None
        self.written = None

    def open(self, buffering=-1):
        """Open the file for its pixels.

        Raises:
            ReadError: the file is not the one any more whose header was read, so its pixels belong to another header.
        """
        file = open(self.path, "rb", buffering)  # noqa: SIM115 - the caller closes it
        if file_signature(os.fstat(file.fileno())) != self.written:
            file.close()
            raise ReadError(
                f"{self.path}: the file changed while the volume was read. Read it again when it is written"
            )
        return file

    def text(self, tag):
        """Value of ``tag`` as text without padding, '' where it is absent; multi values stay joined by a backslash."""
        value = self.values.get(tag)
        return value.decode("latin-1").strip(" \0") if value else ""

    @property
    def known_series(self):
        """(0020,000E) SeriesInstanceUID where it is well formed, else ``''``: then the file may be of any series."""
        uid = self.text(Tag.SeriesInstanceUID)
        return uid if re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid) else ""

    def number(self, tag):
        """Number of a DS or IS element; None where it is absent or empty.

        Raises:
            DamagedFile: the text is not one finite number.
        """
        text = self.text(tag)
        if not text:
            return None
        try:
            value = decimal_number(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DamagedFile(f"{self.path}: {name_tag(tag)} must be one finite number, got {quote_value(text, tag)!r}")
        return value

    def vector(self, tag, count):
        """``count`` finite numbers of a DS element as a tuple; None where it is absent or empty.

        Raises:
            MissingGeometry: another count, or a value that is no finite number.
        """
        text = self.text(tag)
        if not text:
            return None
        try:
            values = tuple(map(decimal_number, text.split("\\")))
        except ValueError:
            values = ()
        if len(values) != count or not all(map(math.isfinite, values)):
            raise MissingGeometry(
                f"{self.path}: {name_tag(tag)} must be {count} finite numbers, got {quote_value(text, tag)!r}"
            )
        return values

    def integer(self, tag, default=None):
        """Value of a US or UL element, or ``default`` where it is absent."""
        value = self.values.get(tag)
        if not value:
            return default
        if len(value) == 2:
            return int.from_bytes(value, "little" if self.order == "<" else "big")
        if len(value) == 4:
            return int.from_bytes(value, "little" if self.order == "<" else "big")
        raise DamagedFile(f"{self.path}: {name_tag(tag)} must hold one integer, has {len(value)} bytes")


def quote_value(text, tag=None):
    """A value as a message quotes it: not at all if it cannot be one.

    An element with a damaged length swallows those behind it, the patient's name among them.
    """
    allowed = _PLAUSIBLE.get(standard_vr(tag) if tag else "", _PLAIN)
    whole = all(re.fullmatch(allowed, part) for part in text.split("\\"))
    return text[:80] if whole else "a damaged value"


class _Everything:
    def __contains__(self, tag):
        return True


def read_header(path, wanted):
    """Walk the top level of one file.

    Args:
        path: file name.
        wanted: tags to keep, as a set of numbers; None for all.

    Returns:
        The Header, its ``error`` set where the file is damaged or cut, or None where the file is not DICOM.
    """
    header = Header(str(path))
    if wanted is None:
        wanted, header.vrs = _Everything(), {}
    with open(path, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        header.size, header.identity = status.st_size, (status.st_dev, status.st_ino)
        header.written = file_signature(status)
        window = Window(file.read(HEAD), 0, header.size, file)
        head = window.data
        if head[128:132] == b"DICM":
            position = 132
        elif looks_bare(head, header.size):
            position = 0
        else:
            return None
        try:
            walk_file(header, window, position, wanted)
        except EOFError:
            header.error = TruncatedFile(f"{path}: the header runs past the end of the file ({header.size} bytes)")
        except (DamagedFile, TruncatedFile) as error:
            header.error = error
    return header


def is_dicom(path):
    """Whether the file begins as DICOM does: 'DICM' after the preamble, or a data set without one. False for a folder.

    Raises:
        FileNotFoundError: no such file.
    """
    if os.path.isdir(path):
        return False
    with open(path, "rb") as file:
        head = file.read(HEAD)
        return head[128:132] == b"DICM" or looks_bare(head, os.fstat(file.fileno()).st_size)
