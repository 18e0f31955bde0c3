"""The header table: one row for each tag, one column for each slice file."""

from __future__ import annotations

import os
import struct

import pandas as pd
from pydicom.charset import convert_encodings, decode_bytes

from faimed3d.dicom.header.confidentiality import is_identifying
from faimed3d.dicom.header.file_header import read_header
from faimed3d.dicom.header.tags import standard_vr
from faimed3d.errors import DamagedFile

__all__ = ["header_table"]

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
_CHARACTER_SET = 0x00080005


def header_table(files, deidentify=False):
    """Read the top-level headers of files into a table of text.

    Args:
        files: paths, in slice order.
        deidentify: leave out what the Basic Profile of DICOM PS3.15 annex E removes or replaces, all private elements,
            and all dates, times, names, addresses and UIDs of instances. It reads no free text and no pixels, so it is
            no substitute for a reviewed de-identification; the column names stay the paths of the files.

    Returns:
        DataFrame: column ``tags`` (``0008|0005``: group and element, hexadecimal, lower case), then one column per
        file, named by its path. Values are text without padding, several values joined by a backslash; '' where a file
        lacks the tag. Left out: sequences, pixel data, overlays and other binary values, the file meta information.

    Raises:
        FileNotFoundError: no such file.
        DamagedFile: a file is not DICOM, or its header is damaged.
    """
    if isinstance(files, (str, os.PathLike)):
        files = [files]
    files = [os.fspath(file) for file in files]
    columns, tags = {}, set()
    for file in files:
        columns[file] = values = _texts(file)
        tags.update(values)
    tags = sorted(tag for tag in tags if not (deidentify and is_identifying(tag)))
    table = {"tags": [f"{tag >> 16:04x}|{tag & 0xFFFF:04x}" for tag in tags]}
    for file, values in columns.items():
        table[file] = [values.get(tag, "") for tag in tags]
    return pd.DataFrame(table, dtype=object)


def value_text(element):
    """Value of a pydicom element as the table shows it."""
    value = element.value
    if value is None or element.VR in ("SQ", "OB", "OW", "UN", "OF", "OD", "OL", "OV"):
        return ""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__") or (element.VR == "PN" and element.VM == 1):
        return str(value)
    return "\\".join(map(str, value))


def _texts(file):
    header = read_header(file, None)
    if header is None:
        raise DamagedFile(f"{file}: not a DICOM file")
    if header.error and not header.pixel_tag:
        raise header.error
    order = header.order
    try:
        encodings = convert_encodings(header.text(_CHARACTER_SET).split("\\"))
    except Exception:  # unknown names of character sets
        encodings = ["latin-1"]
    texts = {}
    for tag, raw in header.values.items():
        if raw is None or tag >> 16 == 2 or tag & 0xFFFF == 0:
            continue
        text = _text(tag, raw, header.vrs[tag].decode("ascii") or standard_vr(tag), order, encodings)
        if text is not None:
            texts[tag] = text
    return texts


def _text(tag, raw, vr, order, encodings):
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


def _stripped(text):
    parts = text.strip(" \0").split("\\")
    return "\\".join(part.strip(" \0") for part in parts) if len(parts) > 1 else parts[0]
