"""Binary segmentations in the transfer syntaxes that are seen of them: read to the bit, or refused by name."""

import zlib

import jpeg_ls
import numpy as np
import pytest
from dicom_series import write_series
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from faimed3d import errors
from faimed3d.dicom import read_seg
from faimed3d.dicom.pixels.fragments import DEFLATED_FRAMES
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (3, 9, 10)
SLICE = np.random.default_rng(0).random(SHAPE[1:]) > 0.5
# of SLICE: opj_compress -i raw -o file.j2k -F 10,9,1,1,u -n 2, OpenJPEG 2.5
JPEG_2000_BITS = bytes.fromhex(
    "ff4fff51002900000000000a0000000900000000000000000000000a0000000900000000000000000001000101ff52000c00000001000104040001"
    "ff5c00074008101018ff640025000143726561746564206279204f70656e4a5045472076657273696f6e20322e352e30ff90000a000000000031"
    "0001ff93d3801431925742ff7fc9ee8f3a38111e3fe79de97f03ddf6bf94d501256f1c4d2e5d7fffd9"
)


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    """Two classes in three slices; the first is the same in each, and the file has it."""
    folder = tmp_path_factory.mktemp("scan")
    write_series(folder, np.zeros(SHAPE, np.int16))
    scan = TensorDicom3D.create(folder)
    labels = np.where(SLICE, 1, 0).astype(np.uint8)[None].repeat(3, 0)
    labels[2, :2][~SLICE[:2]] = 2
    mask = TensorMask3D(labels, like=scan)
    mask.save(folder / "seg.dcm", like=scan)
    return mask, folder / "seg.dcm"


def packed(frame):
    return np.packbits(frame, axis=None, bitorder="little")


def deflated(frame):
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(packed(frame).tobytes()) + squeezer.flush()


def run_lengths(words):
    """RLE of literal runs alone (PS3.5 annex G)."""
    data = np.asarray(words, np.uint8).tobytes()
    runs = b"".join(bytes([len(data[k : k + 128]) - 1]) + data[k : k + 128] for k in range(0, len(data), 128))
    return np.array([1, 64, *[0] * 14], "<u4").tobytes() + runs


def jpeg_ls_of(value):
    return lambda frame: bytes(jpeg_ls.encode(frame.astype(np.uint8) * np.uint8(value)))


def jpeg_2000(frame):
    assert np.array_equal(frame, SLICE)
    return JPEG_2000_BITS


WAYS = {
    "deflated": (DEFLATED_FRAMES, deflated),
    "RLE, packed": (RLELossless, lambda frame: run_lengths(packed(frame))),
    "RLE, bytes": (RLELossless, run_lengths),
    "JPEG-LS": (JPEGLSLossless, jpeg_ls_of(1)),
    "JPEG-LS, 255": (JPEGLSLossless, jpeg_ls_of(255)),
}


def again(source, path, syntax, encode, first_alone=False):
    """The segmentation in another transfer syntax, its frames through ``encode``."""
    content = dcmread(source)
    count = SHAPE[1] * SHAPE[2]
    bits = np.unpackbits(np.frombuffer(content.PixelData, np.uint8), bitorder="little")
    frames = bits[: count * content.NumberOfFrames].reshape(-1, *SHAPE[1:])
    if first_alone:
        frames = frames[:3]
        content.NumberOfFrames = 3
        content.PerFrameFunctionalGroupsSequence = content.PerFrameFunctionalGroupsSequence[:3]
    unknown = syntax == DEFLATED_FRAMES  # to pydicom 3.0, which writes none of it
    content.file_meta.TransferSyntaxUID = JPEG2000Lossless if unknown else syntax
    content.PixelData = encapsulate([encode(frame.astype(bool)) for frame in frames])
    content["PixelData"].is_undefined_length = True
    content["PixelData"].VR = "OB"
    content.save_as(path)
    if unknown:
        path.write_bytes(path.read_bytes().replace(JPEG2000Lossless.encode(), f"{DEFLATED_FRAMES}\0".encode(), 1))
    return path


@pytest.mark.parametrize("way", WAYS)
def test_compressed_frames(tmp_path, mask, way):
    mask, source = mask
    path = again(source, tmp_path / "seg.dcm", *WAYS[way])
    np.testing.assert_array_equal(TensorMask3D.create(path).numpy(), mask.numpy())
    np.testing.assert_array_equal(read_seg(path, separate=True).array, [mask.numpy() == 1, mask.numpy() == 2])


def test_jpeg_2000_of_one_bit(tmp_path, mask):
    mask, source = mask
    path = again(source, tmp_path / "seg.dcm", JPEG2000Lossless, jpeg_2000, first_alone=True)
    np.testing.assert_array_equal(TensorMask3D.create(path).numpy(), mask.numpy() == 1)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_frames(tmp_path, mask, syntax):
    mask, source = mask
    content = dcmread(source)
    content.file_meta.TransferSyntaxUID = syntax
    content.save_as(tmp_path / "seg.dcm", implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    np.testing.assert_array_equal(TensorMask3D.create(tmp_path / "seg.dcm").numpy(), mask.numpy())


@pytest.mark.parametrize(
    ("syntax", "encode", "error", "text"),
    [
        (DEFLATED_FRAMES, lambda frame: deflated(frame)[:4], errors.TruncatedFile, "ends before its last"),
        (DEFLATED_FRAMES, lambda frame: deflated(np.tile(frame, 2)), errors.DamagedFile, "goes on behind its last"),
        (DEFLATED_FRAMES, lambda frame: b"\xff" * 20, errors.DamagedFile, "cannot be inflated"),
        (RLELossless, lambda frame: run_lengths(frame[0]), errors.TruncatedFile, "an RLE segment is too short"),
        (RLELossless, lambda frame: run_lengths(frame * np.arange(10)), errors.DamagedFile, "more than two values"),
        (JPEGLSLossless, lambda frame: jpeg_ls_of(1)(frame[:4]), errors.DamagedFile, "frame 1 is 4 x 10 pixels"),
        (JPEG2000Lossless, lambda frame: JPEG_2000_BITS[:100] + b"\xff\xd9", errors.DamagedFile, "cannot be decoded"),
    ],
)  # fmt: skip
def test_damaged_frames(tmp_path, mask, syntax, encode, error, text):
    path = again(mask[1], tmp_path / "seg.dcm", syntax, encode)
    with pytest.raises(error, match=text):
        TensorMask3D.create(path)
