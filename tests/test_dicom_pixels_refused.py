"""Pixels that contradict their description: each refusal and its words; fragments that make frames."""

import struct

import numpy as np
import pytest
from dicom_series import ORIGIN, compressed, enhanced, make_slice, stored_values, write
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from faimed3d import errors
from faimed3d.dicom import read_dicom
from faimed3d.dicom.header import WANTED, FileHeader, read_header
from faimed3d.dicom.pixels import pixel_format
from faimed3d.dicom.pixels.format import inflated

SHAPE = (4, 33, 40)
PIXELS = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"  # the head of encapsulated pixels


def multi_frame(kind, fragments=1, table=True):
    """Frames of one Enhanced object, each in some fragments, with or without a basic offset table."""
    dataset = enhanced(stored_values(SHAPE))
    slices = [compressed(make_slice(image, ORIGIN), kind) for image in stored_values(SHAPE)]
    frames = [next(generate_frames(each.PixelData, number_of_frames=1)) for each in slices]
    dataset.file_meta.TransferSyntaxUID = slices[0].file_meta.TransferSyntaxUID
    dataset.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=table)
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    return dataset


def one_frame(kind, pixels):
    """A file of one frame with other compressed pixels than its own."""
    dataset = compressed(make_slice(stored_values(SHAPE)[0], ORIGIN), kind)
    dataset.PixelData = pixels
    return dataset


class TestFragments:
    @pytest.mark.parametrize("kind", ["rle", "jpeg", "jpeg2000"])
    @pytest.mark.parametrize("fragments", [1, 3])
    def test_of_several_frames_are_assigned_by_the_offset_table(self, tmp_path, kind, fragments):
        path = write([multi_frame(kind, fragments)], tmp_path)[0]
        np.testing.assert_array_equal(read_dicom(path)[0], stored_values(SHAPE))

    @pytest.mark.parametrize("kind", ["jpeg", "jpeg2000"])
    def test_of_several_frames_are_assigned_by_their_end_marks(self, tmp_path, kind):
        path = write([multi_frame(kind, 3, table=False)], tmp_path)[0]
        np.testing.assert_array_equal(read_dicom(path)[0], stored_values(SHAPE))

    @pytest.mark.parametrize("table", [True, False])
    def test_that_are_not_as_many_as_the_frames(self, tmp_path, table):
        dataset = multi_frame("rle", 3, table)
        start = 8 + 16 * table  # a table is four offsets long; the first of twelve fragments is lost
        data = dataset.PixelData
        (length,) = struct.unpack_from("<I", data, start + 4)
        dataset.PixelData = data[:start] + data[start + 8 + length :]
        with pytest.raises(
            errors.DamagedFile, match=r"11 fragments of compressed pixels and .* 4, and no offset table"
        ):
            read_dicom(write([dataset], tmp_path)[0])

    @pytest.mark.parametrize(
        ("edit", "error", "text"),
        [
            (lambda data: data[:10], errors.TruncatedFile, "the compressed pixels end within their offset table"),
            (lambda data: b"\0" + data[1:], errors.DamagedFile, r"\(7FE0,0010\) PixelData: Found unexpected tag"),
            (lambda data: data[:24] + b"\0" + data[25:], errors.DamagedFile, "PixelData: Unexpected tag"),
            (lambda data: data[:28] + b"\xff" * 4 + data[32:], errors.DamagedFile, "PixelData: Undefined item length"),
            (lambda data: data[:-8], errors.TruncatedFile, r"the compressed pixels end without \(FFFE,E0DD\)"),
            (lambda data: data[:-50], errors.TruncatedFile, r"a fragment claims \d+ bytes .*, the file has \d+ left"),
        ],
    )
    def test_that_are_damaged(self, tmp_path, edit, error, text):
        path = write([multi_frame("rle")], tmp_path)[0]
        head, mark, data = path.read_bytes().partition(PIXELS)
        path.write_bytes(head + mark + edit(data))
        with pytest.raises(error, match=text):
            read_dicom(path)

    @pytest.mark.parametrize(
        ("kind", "pixels", "text"),
        [
            ("rle", encapsulate([b"ab"]), "frame 1 has no RLE header"),
            (
                "rle",
                encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + b"\0" * 300]),
                r"frame 1 has 1 RLE segments at \[64\], expected 2 in order",
            ),
            (
                "rle",
                encapsulate([struct.pack("<16I", 2, 200, 64, *[0] * 13) + b"\0" * 300]),
                r"frame 1 has 2 RLE segments at \[200, 64\], expected 2 in order",
            ),
            ("jpeg", encapsulate([b"\0" * 100]), r"frame 1 does not begin as 1\.2\.840\.10008\.1\.2\.4\.70 says"),
            ("jpeg", b"\xfe\xff\0\xe0\0\0\0\0", "PixelData holds no compressed frame"),
        ],
    )
    def test_of_a_frame_that_is_none(self, tmp_path, kind, pixels, text):
        path = write([one_frame(kind, pixels)], tmp_path)[0]
        with pytest.raises(errors.DamagedFile, match=text):
            read_dicom(path)

    def test_of_a_frame_that_cannot_be_decoded(self, tmp_path):
        dataset = compressed(make_slice(stored_values(SHAPE)[0], ORIGIN), "jpeg")
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        scan = frame.index(b"\xff\xda")
        dataset.PixelData = encapsulate([frame[:scan] + b"\xff\xd9"])  # the tables and no image
        with pytest.raises(errors.DamagedFile, match="frame 1 cannot be decoded: "):
            read_dicom(write([dataset], tmp_path)[0])

    def test_of_a_frame_that_decodes_to_another_size(self, tmp_path, monkeypatch):
        path = write([compressed(make_slice(stored_values(SHAPE)[0], ORIGIN), "jpeg")], tmp_path)[0]
        monkeypatch.setattr("SimpleITK.GetArrayFromImage", lambda image: np.zeros((1, 2, 3), np.int16))
        with pytest.raises(errors.DamagedFile, match=r"frame 1 decodes to \(1, 2, 3\), not 33 x 40 pixels"):
            read_dicom(path)


class TestFormat:
    def test_several_samples_for_each_pixel(self, tmp_path):
        path = write([make_slice(stored_values(SHAPE)[0], ORIGIN, SamplesPerPixel=3)], tmp_path)[0]
        with pytest.raises(errors.UnsupportedImage, match=r"\(0028,0002\) SamplesPerPixel must be 1, got 3"):
            pixel_format(read_header(path, WANTED))

    @pytest.mark.parametrize(
        ("kind", "syntaxes", "text"),
        [
            ("rle", (RLELossless, ExplicitVRLittleEndian), "the pixels are encapsulated, though .* says they are not"),
            ("", (ExplicitVRLittleEndian, RLELossless), "the pixels are not encapsulated, though .* says so"),
        ],
    )
    def test_a_transfer_syntax_that_is_not_the_pixels_own(self, tmp_path, kind, syntaxes, text):
        dataset = make_slice(stored_values(SHAPE)[0], ORIGIN)
        path = write([compressed(dataset, kind) if kind else dataset], tmp_path)[0]
        own, other = (uid.encode() + b"\0" for uid in syntaxes)
        path.write_bytes(path.read_bytes().replace(own, other, 1))
        with pytest.raises(errors.DamagedFile, match=text):
            read_dicom(path)

    @pytest.mark.parametrize(
        ("content", "error", "text"),
        [
            (b"\xff" * 999, errors.DamagedFile, "the deflated data set cannot be inflated"),
            (b"", errors.TruncatedFile, "the deflated data set ends before the last pixel"),
        ],
    )
    def test_a_deflated_data_set_of_other_bytes_than_its_header(self, tmp_path, monkeypatch, content, error, text):
        path = write([make_slice(stored_values(SHAPE)[0], ORIGIN, syntax=DeflatedExplicitVRLittleEndian)], tmp_path)[0]
        header = read_header(path, WANTED)
        path.write_bytes(path.read_bytes()[: header.deflated_start] + content)
        monkeypatch.setattr(FileHeader, "open", lambda self, buffering=-1: path.open("rb", buffering))
        with pytest.raises(error, match=text):
            inflated(header)

    def test_a_file_that_becomes_shorter_while_it_is_read(self, tmp_path, monkeypatch):
        path = write([make_slice(stored_values(SHAPE)[0], ORIGIN)], tmp_path)[0]
        short = tmp_path / "short"
        short.write_bytes(path.read_bytes()[:-9])
        monkeypatch.setattr(FileHeader, "open", lambda self, buffering=-1: short.open("rb", buffering))
        with pytest.raises(errors.TruncatedFile, match="the file became shorter while it was read"):
            read_dicom(path)
