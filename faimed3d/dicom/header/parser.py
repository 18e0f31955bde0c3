"""Read the header of one DICOM file: keep the wanted elements, step over all others, stop at the pixels.

pydicom builds a data set of every element on the way; a folder of some hundred slices then spends more time on headers
than on pixels. This parser (PS3.5 section 7.1) keeps the raw bytes of the wanted top-level elements and steps over all
others, sequences included. What lies in sequences is read with pydicom when it is needed, see
``faimed3d.dicom.header.dataset``.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Container
from typing import BinaryIO

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from faimed3d._file_signature import file_signature
from faimed3d.dicom.header.file_header import FileHeader
from faimed3d.dicom.header.tags import FILE_META_TAGS, PIXEL_TAGS, Tag, name_tag, standard_vr
from faimed3d.errors import DamagedFile, TruncatedFile

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
# PS3.5 section 7.1.2: these have two reserved bytes and a length of four bytes, all other VRs a length of two
_LONG = frozenset(b"OB OW OF OD OL OV SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_VRS = _LONG | _SHORT
_BINARY = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ"))  # no text can be made of these
_UINT16 = {order: struct.Struct(order + "H").unpack_from for order in "<>"}
_UINT32 = {order: struct.Struct(order + "I").unpack_from for order in "<>"}
_TAG = {order: struct.Struct(order + "HH").unpack_from for order in "<>"}
_FIRST_READ = 8192  # bytes: most headers end before
_LONGEST_VALUE = 1 << 20  # bytes of one wanted value: none of them is larger in an honest file
_DEEPEST = 64  # nested sequences
_INFLATED_HEAD = 1 << 26  # bytes of a deflated header: a bound against files that inflate without end


def read_header(path: str | os.PathLike[str], wanted: Container[int] | None, vrs: bool = False) -> FileHeader | None:
    """Read the top level of one file's header.

    Args:
        path: file name.
        wanted: tags to keep; None for all.
        vrs: keep their VRs, too, and no binary values; always so for all tags.

    Returns:
        The header, its ``error`` set where the file is damaged or cut; None where the file is not DICOM.
    """
    header = FileHeader(str(path))
    if wanted is None or vrs:
        wanted, header.vrs = _AllTags() if wanted is None else wanted, {}
    with open(path, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        header.size, header.identity = status.st_size, (status.st_dev, status.st_ino)
        header.signature = file_signature(status)
        head = file.read(_FIRST_READ)
        if head[128:132] == b"DICM":
            position = 132
        elif _begins_without_preamble(head, header.size):
            position = 0
        else:
            return None
        try:
            _parse(header, _Bytes(head, 0, header.size, file), position, wanted)
        except EOFError:
            header.error = TruncatedFile(f"{path}: the header runs past the end of the file ({header.size} bytes)")
        except (DamagedFile, TruncatedFile) as error:
            header.error = error
    return header


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as DICOM does: 'DICM' after the preamble, or a data set without one. False for a folder.

    Args:
        path: file name.

    Raises:
        FileNotFoundError: no such file.

    >>> from pydicom.data import get_testdata_file
    >>> is_dicom(get_testdata_file("CT_small.dcm")), is_dicom(__file__)
    (True, False)
    """
    if os.path.isdir(path):
        return False
    with open(path, "rb") as file:
        head = file.read(_FIRST_READ)
        return head[128:132] == b"DICM" or _begins_without_preamble(head, os.fstat(file.fileno()).st_size)


class _AllTags:
    def __contains__(self, tag: object) -> bool:
        return True


class _Bytes:
    """Bytes of a file, or of an inflated data set, by position; of a file they are read in pieces."""

    __slots__ = ("base", "data", "file", "size")

    def __init__(self, data: bytes, base: int, size: int, file: BinaryIO | None = None) -> None:
        self.data, self.base, self.size, self.file = data, base, size, file

    def index_of(self, position: int, count: int) -> int:
        """Make ``count`` bytes from ``position`` available; return their index in ``data``.

        Raises:
            EOFError: they run past the end.
        """
        index = position - self.base
        if index >= 0 and index + count <= len(self.data):
            return index
        if position + count > self.size or self.file is None:
            raise EOFError
        self.file.seek(position)
        self.data = self.file.read(max(_FIRST_READ, count))
        self.base = position
        if len(self.data) < count:
            raise EOFError
        return 0

    def index_of_element(self, position: int) -> int:
        """Index in ``data`` of the element at ``position``: 12 bytes of it, or 8 at the end of the file."""
        index = position - self.base
        if 0 <= index <= len(self.data) - 12:
            return index
        return self.index_of(position, max(8, min(12, self.size - position)))


def _value_length(data: bytes, index: int, order: str, explicit: bool) -> tuple[int, int]:
    """(bytes of the value, bytes before it) of the element at ``index``; without a valid VR it is read as implicit."""
    vr = data[index + 4 : index + 6] if explicit else b""
    if vr in _SHORT:
        return _UINT16[order](data, index + 6)[0], 8
    if vr in _LONG:
        if len(data) < index + 12:
            raise EOFError
        return _UINT32[order](data, index + 8)[0], 12
    return _UINT32[order](data, index + 4)[0], 8


def _parse(header: FileHeader, source: _Bytes, position: int, wanted: Container[int]) -> None:
    if position or source.data[0:2] == b"\x02\0":
        position = _parse_file_meta(header, source, position)
    if header.syntax == DeflatedExplicitVRLittleEndian:
        source = _inflate(header, source, position)
        header.deflated_start, position = position, 0
        header.size = source.size
    index = source.index_of(position, 8)
    # PS3.5 section 7.1: what the first element looks like settles what the file meta says wrongly or not at all
    explicit = source.data[index + 4 : index + 6] in _VRS
    if not header.syntax:
        group = _UINT16["<"](source.data, index)[0]
        little = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
        header.syntax = ExplicitVRBigEndian if group >= 0x0400 else little
    header.byte_order = ">" if header.syntax == ExplicitVRBigEndian else "<"
    _parse_elements(header, source, position, explicit, wanted)


def _parse_file_meta(header: FileHeader, source: _Bytes, position: int) -> int:
    """Read group 0002 (always explicit little endian, PS3.10 section 7.1); return where the data set begins."""
    while True:
        index = source.index_of_element(position)
        data = source.data
        if data[index : index + 2] != b"\x02\0":
            return position
        tag = 0x00020000 | _UINT16["<"](data, index + 2)[0]
        length, skip = _value_length(data, index, "<", True)
        if tag in FILE_META_TAGS and length < 256:
            index = source.index_of(position + skip, length)
            header.values[tag] = source.data[index : index + length]
            if tag == Tag.TransferSyntaxUID:
                header.syntax = header.text(tag)
                if header.syntax.strip("0123456789."):  # what it holds may be of another element
                    raise DamagedFile(f"{header.path}: {name_tag(tag)} is no UID")
        position += skip + length
        if position > source.size:
            raise EOFError


def _parse_elements(header: FileHeader, source: _Bytes, position: int, explicit: bool, wanted: Container[int]) -> None:
    order, size, values = header.byte_order, source.size, header.values
    short, long, pair = _UINT16[order], _UINT32[order], _TAG[order]
    data, base = source.data, source.base
    end = len(data) - 12
    while position < size:
        index = position - base
        if not 0 <= index <= end:
            index = source.index_of_element(position)
            data, base = source.data, source.base
            end = len(data) - 12
        group, element = pair(data, index)
        tag = group << 16 | element
        vr = b""
        if explicit:  # as in _value_length, without its call: most of the time of a scan is spent here
            vr = data[index + 4 : index + 6]
            if vr in _SHORT:
                length, skip = short(data, index + 6)[0], 8
            elif vr in _LONG:
                if size - position < 12:
                    raise EOFError
                length, skip = long(data, index + 8)[0], 12
            else:
                raise DamagedFile(f"{header.path}: {name_tag(tag)} at byte {position} has no valid VR, got {vr!r}")
        else:
            length, skip = long(data, index + 4)[0], 8
        start = position + skip
        if tag in PIXEL_TAGS:
            header.pixel_vr = vr
            _note_pixels(header, tag, start, length, size)
            return
        if length == _UNDEFINED:
            position = _skip_sequence(header.path, source, start, explicit and vr != b"UN", order, 0)
            data, base = source.data, source.base
            end = len(data) - 12
            if tag in wanted:
                _keep(header, tag, None)
            continue
        position = start + length
        if position > size:
            raise TruncatedFile(
                f"{header.path}: {name_tag(tag)} claims {length} bytes, the file has {size - start} left"
            )
        if tag in wanted:
            if header.vrs is not None:
                header.vrs[tag] = vr
                if length > _LONGEST_VALUE or vr in _BINARY:
                    continue
            # PS3.5 section 6.2.2: a sequence may be written as UN by a node that did not know it
            if vr == b"SQ" or (vr in (b"", b"UN") and standard_vr(tag) == "SQ"):
                if length:
                    _keep(header, tag, None)
                continue
            if length > _LONGEST_VALUE:
                raise DamagedFile(f"{header.path}: {name_tag(tag)} claims {length} bytes")
            index = source.index_of(start, length)
            if source.data is not data:
                data, base = source.data, source.base
                end = len(data) - 12
            value = data[index : index + length]
            if tag in values:
                _keep(header, tag, value)
            else:
                values[tag] = value


def _keep(header: FileHeader, tag: int, value: bytes | None) -> None:
    if header.values.setdefault(tag, value) != value:
        raise DamagedFile(f"{header.path}: {name_tag(tag)} occurs twice with different values")


def _note_pixels(header: FileHeader, tag: int, start: int, length: int, size: int) -> None:
    header.pixel_tag, header.pixel_offset = tag, start
    if length == _UNDEFINED:
        header.pixel_length = -1
        return
    header.pixel_length = length
    if start + length > size:
        raise TruncatedFile(
            f"{header.path}: {name_tag(tag)} claims {length} bytes of pixels, the file has {size - start}"
        )


def _skip_sequence(path: str, source: _Bytes, position: int, explicit: bool, order: str, depth: int) -> int:
    """Return the position behind a sequence of undefined length (PS3.5 section 7.5) that begins at ``position``."""
    if depth > _DEEPEST:
        raise DamagedFile(f"{path}: sequences are nested deeper than {_DEEPEST}")
    while True:
        index = source.index_of(position, 8)
        group, element, length = struct.unpack_from(order + "HHI", source.data, index)
        tag = group << 16 | element
        position += 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise DamagedFile(f"{path}: an item (FFFE,E000) was expected at byte {position - 8}, got {name_tag(tag)}")
        if length == _UNDEFINED:
            position = _skip_item(path, source, position, explicit, order, depth)
        else:
            position += length
        if position > source.size:
            raise EOFError


def _skip_item(path: str, source: _Bytes, position: int, explicit: bool, order: str, depth: int) -> int:
    """Return the position behind an item of undefined length whose first element is at ``position``."""
    while True:
        index = source.index_of_element(position)
        data = source.data
        group, element = _TAG[order](data, index)
        tag = group << 16 | element
        if tag == _ITEM_END:
            return position + 8
        vr = data[index + 4 : index + 6]
        if explicit and vr not in _VRS:
            raise DamagedFile(f"{path}: {name_tag(tag)} at byte {position} has no valid VR, got {vr!r}")
        length, skip = _value_length(data, index, order, explicit)
        position += skip
        if length == _UNDEFINED:
            position = _skip_sequence(path, source, position, explicit and vr != b"UN", order, depth + 1)
        else:
            position += length
        if position > source.size:
            raise EOFError


def _inflate(header: FileHeader, source: _Bytes, position: int) -> _Bytes:
    """Inflate the head of a deflated data set (PS3.5 section A.5), enough to reach its pixels."""
    assert source.file is not None
    source.file.seek(position)
    raw = source.file.read()
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = engine.decompress(raw, _INFLATED_HEAD)
        if engine.unconsumed_tail:
            # the pixels alone may be larger than the bound; their end is checked when they are read
            return _Bytes(data, 0, 1 << 62)
        if not engine.eof:
            raise TruncatedFile(f"{header.path}: the deflated data set ends before its end mark")
    except zlib.error as error:
        raise DamagedFile(f"{header.path}: the deflated data set cannot be inflated: {error}") from error
    return _Bytes(data, 0, len(data))


def _begins_without_preamble(head: bytes, size: int) -> bool:
    """Whether a file without preamble starts with two plausible elements of group 0002 or 0008."""
    position, last = 0, -1
    for _ in range(2):
        if len(head) < position + 12:
            return False
        for order in "<>":
            group, element = _TAG[order](head, position)
            if group in (2, 8):
                break
        else:
            return False
        length, skip = _value_length(head, position, order, True)
        tag = group << 16 | element
        if tag <= last or (length != _UNDEFINED and length > size - position):
            return False
        last, position = tag, position + skip + length
        if length == _UNDEFINED or position + 12 > len(head):
            return last >> 16 in (2, 8) and position > 8
    return True
