"""The header table: one row for each tag, one column for each slice file."""

from __future__ import annotations

import os
import struct
from collections.abc import Container, Sequence

import pandas as pd
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import keyword_for_tag

from faimed3d.dicom.header.confidentiality import is_identifying
from faimed3d.dicom.header.parser import read_header
from faimed3d.dicom.header.tags import Tag, standard_vr
from faimed3d.errors import DamagedFile

_TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
_ENCODED = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_NUMBERS = {
    "US": "H",
    "SS": "h",
    "UL": "I",
    "SL": "i",
    "UV": "Q",
    "SV": "q",
    "FL": "f",
    "FD": "d",
}


def header_table(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], deidentify: bool = False
) -> pd.DataFrame:
    """Read the top-level headers of files into a table of text.

    Args:
        files: paths, in slice order.
        deidentify: leave out what the Basic Profile of DICOM PS3.15 annex E removes or replaces, all private elements,
            and all dates, times, names, addresses and UIDs of instances. It reads no free text and no pixels, so it is
            no substitute for a reviewed de-identification; the column names stay the paths of the files.

    Returns:
        DataFrame: column ``tags`` (``0008|0005``: group and element, hexadecimal, lower case), then one column per
        file, named by its path; the index, ``keyword``, has the standard's keywords, '' of private tags. Values are
        text without padding, several values joined by a backslash; '' where a file lacks the tag. Left out: sequences,
        pixel data, overlays and other binary values, the file meta information.

    Raises:
        FileNotFoundError: no such file.
        DamagedFile: a file is not DICOM, or its header is damaged.

    >>> from pydicom.data import get_testdata_file
    >>> table = header_table(get_testdata_file("CT_small.dcm"), deidentify=True).set_index("tags")
    >>> table.loc["0028|0030"].item()
    '0.661468\\\\0.661468'
    >>> "0010|0010" in table.index
    False
    >>> header_table(get_testdata_file("CT_small.dcm")).loc["Modality", "tags"]
    '0008|0060'
    """
    columns: dict[str, dict[int, str]] = {}
    tags: set[int] = set()
    for file in [files] if isinstance(files, (str, os.PathLike)) else files:
        columns[os.fspath(file)] = values = _texts(os.fspath(file))
        tags.update(values)
    rows = sorted(tag for tag in tags if not (deidentify and is_identifying(tag)))
    table = {"tags": [f"{tag >> 16:04x}|{tag & 0xFFFF:04x}" for tag in rows]}
    for name, values in columns.items():
        table[name] = [values.get(tag, "") for tag in rows]
    keywords = pd.Index([keyword_for_tag(tag) for tag in rows], dtype=object, name="keyword")
    return pd.DataFrame(table, index=keywords, dtype=object)


def header_values(files: Sequence[str | os.PathLike[str]], tag: int) -> list[str] | None:
    """One row of the header table: the texts of ``tag`` in the files, in their order; None where no file has it.

    >>> from pydicom.data import get_testdata_file
    >>> header_values([get_testdata_file("CT_small.dcm")], 0x00080060)
    ['CT']
    """
    found = [_texts(os.fspath(file), (tag, Tag.SpecificCharacterSet)) for file in files]
    return [texts.get(tag, "") for texts in found] if any(tag in texts for texts in found) else None


def _texts(file: str, wanted: Container[int] | None = None) -> dict[int, str]:
    """Values of a file's top-level elements as text, by tag; binary ones are left out."""
    header = read_header(file, wanted, vrs=True)
    if header is None:
        raise DamagedFile(f"{file}: not a DICOM file")
    if header.error and not header.pixel_tag:
        raise header.error
    order, vrs = header.byte_order, header.vrs or {}
    try:
        encodings = convert_encodings(header.text(Tag.SpecificCharacterSet).split("\\"))
    except Exception:  # unknown names of character sets
        encodings = ["latin-1"]
    texts = {}
    for tag, raw in header.values.items():
        if raw is None or tag >> 16 == 2 or tag & 0xFFFF == 0:
            continue
        text = _text(raw, vrs[tag].decode("ascii") or standard_vr(tag), order, encodings)
        if text is not None:
            texts[tag] = text
    return texts


def _text(raw: bytes, vr: str, order: str, encodings: list[str]) -> str | None:
    """Value as text; None for binary ones."""
    if vr in _TEXT:
        return _stripped(raw.decode("latin-1"))
    if vr in _ENCODED:
        if raw.isascii() and b"\x1b" not in raw:
            return _stripped(raw.decode("ascii"))
        try:
            return _stripped(decode_bytes(raw, encodings, set()))
        except Exception:  # bytes that are not in the character set the file names
            return _stripped(raw.decode("latin-1"))
    code = _NUMBERS.get(vr[:2])  # 'US or SS' of implicit files is read as US
    if code:
        count = len(raw) // struct.calcsize(code)
        values = struct.unpack_from(f"{order}{count}{code}", raw)
        return "\\".join(f"{v:.9g}" if code == "f" else repr(v) for v in values)
    if vr == "AT":
        pairs = struct.unpack_from(f"{order}{len(raw) // 4 * 2}H", raw)
        return "\\".join(f"{a:04x}|{b:04x}" for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    if vr == "UN":
        text = raw.rstrip(b"\0 ")
        return _stripped(text.decode("ascii")) if text.isascii() and text.decode("ascii").isprintable() else None
    return None


def _stripped(text: str) -> str:
    parts = text.strip(" \0").split("\\")
    return "\\".join(part.strip(" \0") for part in parts) if len(parts) > 1 else parts[0]
