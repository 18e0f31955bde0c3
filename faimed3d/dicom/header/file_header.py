"""What is kept of one DICOM file's header: raw values of the wanted elements, and where the pixels lie."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from typing import BinaryIO, Literal, overload

from faimed3d._decimals import decimal_number
from faimed3d._file_signature import file_signature
from faimed3d.dicom.header.tags import Tag, name_tag, quote_value
from faimed3d.errors import DamagedFile, MissingGeometry, ReadError


@dataclass(slots=True, eq=False, repr=False)  # a repr would print what is of the patient
class FileHeader:
    """Raw values of the wanted elements of one file, and where its pixels lie.

    Attributes:
        path: the file.
        size: bytes of the file (of the inflated data set where the transfer syntax is deflated).
        syntax: transfer syntax UID; guessed where the file names none.
        values: raw bytes by tag; None for a sequence that is there and not empty.
        byte_order: of binary values and pixels, as ``struct`` names it.
        pixel_tag: tag of the pixel element, see ``PIXEL_TAGS``; 0 where the file has no pixels.
        pixel_vr: its VR, b"" in implicit files.
        pixel_offset: where its bytes begin, in the file or in the inflated data set.
        pixel_length: how many they are; -1 where they are encapsulated.
        deflated_start: where the deflated data set begins in the file; None where it is not deflated.
        vrs: VR by tag (b"" in implicit files), where they were asked for; else None.
        error: what ended the reading of the header early.
        identity: device and number of the file; links have those of what they lead to.
        signature: its :func:`~faimed3d._file_signature.file_signature` when the header was read.
    """

    path: str
    size: int = 0
    syntax: str = ""
    values: dict[int, bytes | None] = field(default_factory=dict)
    byte_order: Literal["<", ">"] = "<"
    pixel_tag: int = 0
    pixel_vr: bytes = b""
    pixel_offset: int = 0
    pixel_length: int = 0
    deflated_start: int | None = None
    vrs: dict[int, bytes] | None = None
    error: ReadError | None = None
    identity: tuple[int, int] | None = None
    signature: tuple[int, int, int] | None = None

    @property
    def deflated(self) -> bool:
        """Whether the data set is deflated (PS3.5 section A.5)."""
        return self.deflated_start is not None

    def open(self, buffering: int = -1) -> BinaryIO:
        """Open the file for its pixels.

        Raises:
            ReadError: the file is not the one any more whose header was read, so its pixels belong to another header.
        """
        file = open(self.path, "rb", buffering)  # noqa: SIM115 - the caller closes it
        if file_signature(os.fstat(file.fileno())) != self.signature:
            file.close()
            raise ReadError(
                f"{self.path}: the file changed while the volume was read. Read it again when it is written"
            )
        return file

    def text(self, tag: int) -> str:
        """Value of ``tag`` as text without padding, '' where it is absent; multi values stay joined by a backslash."""
        value = self.values.get(tag)
        return value.decode("latin-1").strip(" \0") if value else ""

    @property
    def known_series(self) -> str:
        """(0020,000E) SeriesInstanceUID where it is well formed, else ``''``: then the file may be of any series."""
        uid = self.text(Tag.SeriesInstanceUID)
        return uid if re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid) else ""

    def number(self, tag: int) -> float | None:
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

    def vector(self, tag: int, count: int) -> tuple[float, ...] | None:
        """``count`` finite numbers of a DS element; None where it is absent or empty.

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

    @overload
    def integer(self, tag: int) -> int | None: ...

    @overload
    def integer(self, tag: int, default: int) -> int: ...

    def integer(self, tag: int, default: int | None = None) -> int | None:
        """Value of a US or UL element, or ``default`` where it is absent or empty.

        Raises:
            DamagedFile: it is not 2 or 4 bytes long.
        """
        value = self.values.get(tag)
        if not value:
            return default
        if len(value) not in (2, 4):
            raise DamagedFile(f"{self.path}: {name_tag(tag)} must hold one integer, has {len(value)} bytes")
        return int.from_bytes(value, "little" if self.byte_order == "<" else "big")
