"""The parser of headers on damaged files, byte by byte: what it refuses, and in which words."""

import io
import re
import struct

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from faimed3d import errors
from faimed3d.dicom.header import WANTED, Tag, read_header
from faimed3d.dicom.header.parser import _Bytes

UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)


def short(tag, vr, value):
    """An element whose VR has a length of two bytes."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag, vr, length, value=b""):
    """An element whose VR has a length of four bytes; the length may be a lie."""
    return struct.pack("<HH2s2xI", tag >> 16, tag & 0xFFFF, vr, length) + value


def written(folder, *elements):
    """A file of explicit little endian elements behind the preamble."""
    uid = ExplicitVRLittleEndian.encode() + b"\0"
    path = folder / "file.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + short(Tag.TransferSyntaxUID, b"UI", uid) + b"".join(elements))
    return path


SEQUENCE = long(0x00081140, b"SQ", UNDEFINED)
DAMAGED = {
    "a value of a megabyte": (
        [long(Tag.SeriesDescription, b"UN", (1 << 20) + 2, b" " * ((1 << 20) + 2))],
        r"\(0008,103E\) SeriesDescription claims 1048578 bytes",
    ),
    "nested without end": ([SEQUENCE, *[ITEM + SEQUENCE] * 70], "sequences are nested deeper than 64"),
    "no item in a sequence": (
        [SEQUENCE, short(Tag.Modality, b"CS", b"CT")],
        r"an item \(FFFE,E000\) was expected at byte \d+, got \(0008,0060\) Modality",
    ),
    "no VR in an item": ([SEQUENCE, ITEM, long(Tag.Modality, b"??", 2)], r"Modality at byte \d+ has no valid VR"),
    "no VR": ([short(Tag.ImageType, b"CS", b"AB"), long(Tag.Modality, b"??", 2)], r"Modality at .* has no valid VR"),
    "one element twice": (
        [short(Tag.Modality, b"CS", b"CT"), short(Tag.Modality, b"CS", b"MR")],
        r"\(0008,0060\) Modality occurs twice with different values",
    ),
}
CUT = {
    "an item": ([SEQUENCE, struct.pack("<HHI", 0xFFFE, 0xE000, 999)], "the header runs past the end of the file"),
    "an element of an item": ([SEQUENCE, ITEM, long(Tag.Modality, b"UN", 999)], "the header runs past the end"),
    "an element": ([short(Tag.ImageType, b"CS", b"AB"), long(Tag.Modality, b"UN", 999)], "claims 999 bytes, the file"),
    "the pixels": ([short(Tag.ImageType, b"CS", b"AB"), long(Tag.PixelData, b"OW", 999)], "claims 999 bytes of pixels"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_header_is_told(tmp_path, name):
    elements, text = DAMAGED[name]
    error = read_header(written(tmp_path, *elements), WANTED).error
    assert type(error) is errors.DamagedFile
    assert re.search(text, str(error))


@pytest.mark.parametrize("name", CUT)
def test_a_cut_header_is_told(tmp_path, name):
    elements, text = CUT[name]
    error = read_header(written(tmp_path, *elements), WANTED).error
    assert type(error) is errors.TruncatedFile
    assert re.search(text, str(error))


def test_an_integer_of_three_bytes_is_none(tmp_path):
    header = read_header(written(tmp_path, short(Tag.ImageType, b"CS", b"AB"), short(Tag.Rows, b"US", b"abc")), WANTED)
    with pytest.raises(errors.DamagedFile, match=r"\(0028,0010\) Rows must hold one integer, has 3 bytes"):
        header.integer(Tag.Rows)


def test_a_file_that_shrinks_while_it_is_read_ends():
    with pytest.raises(EOFError):
        _Bytes(b"", 0, 100, io.BytesIO(b"x" * 10)).index_of(0, 50)


def test_tags_are_those_of_the_standard():
    from pydicom.datadict import tag_for_keyword

    private = ("Siemens", "GE", "Philips", "United")
    ours = {name: tag for name, tag in vars(Tag).items() if isinstance(tag, int) and not name.startswith(private)}
    assert ours == {name: tag_for_keyword(name) for name in ours}
