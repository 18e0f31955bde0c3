"""Step over the top-level elements of one DICOM file: keep the wanted ones, stop at the pixels.

pydicom builds a data set of every element on the way; a folder of some hundred slices then spends more time on headers
than on pixels. This walk (PS3.5 section 7.1) keeps the raw bytes of the wanted top-level elements and steps over all
others, sequences included. Sequences, character sets and the full table are read with pydicom, when they are needed.
"""

from __future__ import annotations

import struct
import zlib

from faimed3d.dicom.header.tags import PIXELS, name_tag, standard_vr
from faimed3d.errors import DamagedFile, TruncatedFile

__all__ = ["HEAD", "Window", "looks_bare", "walk_file"]

_IMPLICIT, _DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_TRANSFER_SYNTAX, _MEDIA_CLASS = 0x00020010, 0x00020002
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
# PS3.5 section 7.1.2: these have two reserved bytes and a length of four bytes, all other VRs a length of two
_LONG = frozenset(b"OB OW OF OD OL OV SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_BINARY = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ"))  # no text can be made of these
HEAD = 8192  # bytes read at first; most headers end before
_LONGEST = 1 << 20  # bytes of one wanted value: none of them is larger in an honest file
_DEEPEST = 64  # nested sequences
_INFLATED_HEAD = 1 << 26  # bytes of a deflated header: a bound against files that inflate without end


class Window:
    """Bytes of a file (or of an inflated data set) by position, read in pieces."""

    __slots__ = ("base", "data", "file", "size")

    def __init__(self, data, base, size, file=None):
        self.data, self.base, self.size, self.file = data, base, size, file

    def at(self, position, count):
        """Make ``count`` bytes from ``position`` available; return their index in ``data``."""
        index = position - self.base
        if index >= 0 and index + count <= len(self.data):
            return index
        if position + count > self.size or self.file is None:
            raise EOFError
        self.file.seek(position)
        self.data = self.file.read(max(HEAD, count))
        self.base = position
        if len(self.data) < count:
            raise EOFError
        return 0


def walk_file(header, window, position, wanted):
    if position or window.data[0:2] == b"\x02\0":
        position = _walk_meta(header, window, position)
    if header.syntax == _DEFLATED:
        window = _inflate(header, window, position)
        header.start, header.deflated, position = position, True, 0
        header.size = window.size
    index = window.at(position, 8)
    group = struct.unpack_from("<H", window.data, index)[0]
    # PS3.5 section 7.1: what the first element looks like settles what the meta header says wrongly or not at all
    explicit = window.data[index + 4 : index + 6] in _LONG | _SHORT
    if not header.syntax:
        if group >= 0x0400:
            header.syntax = _BIG_ENDIAN
        else:
            header.syntax = "1.2.840.10008.1.2.1" if explicit else _IMPLICIT
    header.order = ">" if header.syntax == _BIG_ENDIAN else "<"
    _walk(header, window, position, explicit, wanted)


def _walk_meta(header, window, position):
    """Read group 0002 (always explicit little endian, PS3.10 section 7.1); return where the data set begins."""
    while True:
        index = window.at(position, 8)
        data = window.data
        if data[index : index + 2] != b"\x02\0":
            return position
        tag = 0x00020000 | struct.unpack_from("<H", data, index + 2)[0]
        vr = data[index + 4 : index + 6]
        if vr in _LONG:
            index = window.at(position, 12)
            length, skip = struct.unpack_from("<I", window.data, index + 8)[0], 12
        elif vr in _SHORT:
            length, skip = struct.unpack_from("<H", data, index + 6)[0], 8
        else:
            length, skip = struct.unpack_from("<I", data, index + 4)[0], 8
        if tag in (_TRANSFER_SYNTAX, _MEDIA_CLASS) and length < 256:
            index = window.at(position + skip, length)
            header.values[tag] = window.data[index : index + length]
            if tag == _TRANSFER_SYNTAX:
                header.syntax = header.text(tag)
                if header.syntax.strip("0123456789."):  # what it holds may be of another element
                    raise DamagedFile(f"{header.path}: {name_tag(tag)} is no UID")
        position += skip + length
        if position > window.size:
            raise EOFError


def _walk(header, window, position, explicit, wanted):
    order, size, values = header.order, window.size, header.values
    short, long = struct.Struct(order + "H").unpack_from, struct.Struct(order + "I").unpack_from
    pair = struct.Struct(order + "HH").unpack_from
    data, base = window.data, window.base
    end = len(data) - 12
    while position < size:
        index = position - base
        if not 0 <= index <= end:
            index = window.at(position, min(12, size - position))
            data, base = window.data, window.base
            end = len(data) - 12
            if size - position < 8:
                raise EOFError
        group, element = pair(data, index)
        tag = group << 16 | element
        vr = b""
        if explicit:
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
        if tag in PIXELS:
            header.pixel_vr = vr
            _note_pixels(header, tag, start, length, size)
            return
        if length == _UNDEFINED:
            position = _skip_undefined(header.path, window, start, explicit and vr != b"UN", order, 0)
            data, base = window.data, window.base
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
                if length > _LONGEST or vr in _BINARY:
                    continue
            # PS3.5 section 6.2.2: a sequence may be written as UN by a node that did not know it
            if vr == b"SQ" or (vr in (b"", b"UN") and standard_vr(tag) == "SQ"):
                if length:
                    _keep(header, tag, None)
                continue
            if length > _LONGEST:
                raise DamagedFile(f"{header.path}: {name_tag(tag)} claims {length} bytes")
            index = window.at(start, length)
            if window.data is not data:
                data, base = window.data, window.base
                end = len(data) - 12
            value = data[index : index + length]
            if tag in values:
                _keep(header, tag, value)
            else:
                values[tag] = value


def _keep(header, tag, value):
    if header.values.setdefault(tag, value) != value:
        raise DamagedFile(f"{header.path}: {name_tag(tag)} occurs twice with different values")


def _note_pixels(header, tag, start, length, size):
    header.pixel_tag, header.offset = tag, start
    if length == _UNDEFINED:
        header.length = -1
        return
    header.length = length
    if start + length > size:
        raise TruncatedFile(
            f"{header.path}: {name_tag(tag)} claims {length} bytes of pixels, the file has {size - start}"
        )


def _skip_undefined(path, window, position, explicit, order, depth):
    """Return the position behind a sequence of undefined length (PS3.5 section 7.5) that begins at ``position``."""
    if depth > _DEEPEST:
        raise DamagedFile(f"{path}: sequences are nested deeper than {_DEEPEST}")
    while True:
        index = window.at(position, 8)
        group, element, length = struct.unpack_from(order + "HHI", window.data, index)
        tag = group << 16 | element
        position += 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise DamagedFile(f"{path}: an item (FFFE,E000) was expected at byte {position - 8}, got {name_tag(tag)}")
        if length == _UNDEFINED:
            position = _skip_item(path, window, position, explicit, order, depth)
        else:
            position += length
        if position > window.size:
            raise EOFError


def _skip_item(path, window, position, explicit, order, depth):
    while True:
        index = window.at(position, 8)
        data = window.data
        group, element = struct.unpack_from(order + "HH", data, index)
        tag = group << 16 | element
        if tag == _ITEM_END:
            return position + 8
        vr = data[index + 4 : index + 6] if explicit else b""
        if vr in _SHORT:
            length, skip = struct.unpack_from(order + "H", data, index + 6)[0], 8
        elif vr in _LONG:
            index = window.at(position, 12)
            length, skip = struct.unpack_from(order + "I", window.data, index + 8)[0], 12
        elif explicit:
            raise DamagedFile(f"{path}: {name_tag(tag)} at byte {position} has no valid VR, got {vr!r}")
        else:
            length, skip = struct.unpack_from(order + "I", data, index + 4)[0], 8
        position += skip
        if length == _UNDEFINED:
            position = _skip_undefined(path, window, position, explicit and vr != b"UN", order, depth + 1)
        else:
            position += length
        if position > window.size:
            raise EOFError


def _inflate(header, window, position):
    """Inflate the head of a deflated data set (PS3.5 section A.5), enough to walk its elements."""
    window.file.seek(position)
    raw = window.file.read()
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = engine.decompress(raw, _INFLATED_HEAD)
        if engine.unconsumed_tail:
            # the pixels alone may be larger than the bound; their end is checked when they are read
            return Window(data, 0, 1 << 62)
        if not engine.eof:
            raise TruncatedFile(f"{header.path}: the deflated data set ends before its end mark")
    except zlib.error as error:
        raise DamagedFile(f"{header.path}: the deflated data set cannot be inflated: {error}") from error
    return Window(data, 0, len(data))


def looks_bare(head, size):
    """Whether a file without preamble starts with two plausible elements of group 0002 or 0008."""
    position, last = 0, -1
    for _ in range(2):
        if len(head) < position + 12:
            return False
        for order in "<>":
            group, element = struct.unpack_from(order + "HH", head, position)
            if group in (2, 8):
                break
        else:
            return False
        vr = head[position + 4 : position + 6]
        if vr in _SHORT:
            length, skip = struct.unpack_from(order + "H", head, position + 6)[0], 8
        elif vr in _LONG:
            length, skip = struct.unpack_from(order + "I", head, position + 8)[0], 12
        else:
            length, skip = struct.unpack_from(order + "I", head, position + 4)[0], 8
        tag = group << 16 | element
        if tag <= last or (length != _UNDEFINED and length > size - position):
            return False
        last, position = tag, position + skip + length
        if length == _UNDEFINED or position + 12 > len(head):
            return last >> 16 in (2, 8) and position > 8
    return True
