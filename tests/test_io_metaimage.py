"""MetaImage against SimpleITK and hand-written headers."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from faimed3d.errors import DamagedFile, MissingGeometry, ReadError, TruncatedFile, UnsupportedImage
from faimed3d.io.metaimage import read_metaimage, read_metaimage_header

VOXELS = np.arange(24, dtype="<i2").reshape(2, 3, 4)
FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "0.6 0.8 0 -0.8 0.6 0 0 0 1",
    "Offset": "10 -20 30",
    "ElementSpacing": "1 2 3",
    "DimSize": "4 3 2",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def save(path, data=None, extra="", **changes):
    """Write a header of FIELDS with changes (None leaves one out), then the data."""
    fields = {**FIELDS, **changes}
    last = fields.pop("ElementDataFile")
    text = "".join(f"{name} = {value}\n" for name, value in fields.items() if value is not None)
    end = "" if last is None else f"ElementDataFile = {last}\n"
    path.write_bytes(f"{text}{extra}{end}".encode() + (VOXELS.tobytes() if data is None else data))
    return str(path)


def peer(path):
    """SimpleITK's voxels and affine."""
    image = sitk.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


class TestRead:
    def test_as_simpleitk(self, tmp_path):
        path = save(tmp_path / "a.mha")
        array, geometry, files = read_metaimage(path)
        np.testing.assert_array_equal(array, VOXELS)
        np.testing.assert_allclose(geometry.affine, peer(path)[1], atol=1e-12)
        assert files == (path,)
        assert read_metaimage_header(path)["DimSize"] == "4 3 2"

    def test_channels(self, tmp_path):
        data = np.arange(72, dtype="<i2").tobytes()
        path = save(tmp_path / "a.mha", data, ElementNumberOfChannels="3")
        np.testing.assert_array_equal(read_metaimage(path)[0], np.moveaxis(peer(path)[0], -1, 0))

    @pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
    def test_packed_and_big_endian(self, tmp_path, pack):
        data = pack(VOXELS.astype(">i2").tobytes())
        changes = {"CompressedData": "True", "BinaryDataByteOrderMSB": "True", "CompressedDataSize": str(len(data))}
        np.testing.assert_array_equal(read_metaimage(save(tmp_path / "a.mha", data, **changes))[0], VOXELS)

    @pytest.mark.parametrize(("size", "junk"), [("5", b"12345"), ("-1", b"any")])
    def test_header_in_the_data_file(self, tmp_path, size, junk):
        (tmp_path / "a.raw").write_bytes(junk + VOXELS.tobytes())
        path = save(tmp_path / "a.mhd", b"", ElementDataFile="a.raw", HeaderSize=size)
        array, _, files = read_metaimage(path)
        np.testing.assert_array_equal(array, VOXELS)
        assert files == (path, str(tmp_path / "a.raw"))

    def test_absent_position_is_told(self, tmp_path):
        with pytest.warns(UserWarning, match=r"has no Offset; \[0.0, 0.0, 0.0\] is taken"):
            assert read_metaimage(save(tmp_path / "a.mha", Offset=None))[1].origin == (0, 0, 0)
        with pytest.warns(UserWarning, match="has no TransformMatrix"):
            assert read_metaimage(save(tmp_path / "a.mha", TransformMatrix=None))[1].orientation == "LPS"

    def test_absent_spacing_is_refused(self, tmp_path):
        path = save(tmp_path / "a.mha", ElementSpacing=None)
        with pytest.raises(MissingGeometry, match="has no ElementSpacing"):
            read_metaimage(path)
        with pytest.warns(UserWarning, match=r"has no ElementSpacing; \[1.0, 1.0, 1.0\] is taken"):
            assert read_metaimage(path, strict=False)[1].spacing == (1, 1, 1)


@pytest.mark.parametrize(
    ("error", "text", "changes"),
    [
        (DamagedFile, "without '='", {"extra": "nonsense\n"}),
        (DamagedFile, "gives NDims twice", {"extra": "NDims = 3\n"}),
        (DamagedFile, "'Ofset' but no 'Offset'", {"Offset": None, "extra": "Ofset = 1 2 3\n"}),
        (DamagedFile, "ElementType in the header is none of", {"ElementType": "MET_SHIRT"}),
        (DamagedFile, "DimSize in the header should be numbers", {"DimSize": "4 3 x"}),
        (DamagedFile, "has no DimSize", {"DimSize": None}),
        (DamagedFile, "should be one number", {"NDims": "3 3"}),
        (DamagedFile, "do not go together", {"DimSize": "4 3"}),
        (DamagedFile, "do not go together", {"DimSize": "4 3 0"}),
        (DamagedFile, "should be True or False", {"BinaryDataByteOrderMSB": "Fblse"}),
        (DamagedFile, "CompressedDataSize, but not", {"extra": "CompressedDataSize = 9\n"}),
        (
            DamagedFile,
            "Comment in the header has swallowed TransformMatrix",
            {"extra": "Comment = aTransformMatrix=1 0 0\n"},
        ),
        (DamagedFile, "HeaderSize 7 in the header cannot be", {"HeaderSize": "7"}),
        (DamagedFile, "but 49 bytes follow", {"data": VOXELS.tobytes() + b"x"}),
        (TruncatedFile, "but only 47 bytes", {"data": VOXELS.tobytes()[:-1]}),
        (TruncatedFile, "30000x30000x30000", {"DimSize": "30000 30000 30000"}),
        (TruncatedFile, "ends within ElementDataFile", {"ElementDataFile": "LOC"}),
        (TruncatedFile, "does not end with ElementDataFile", {"ElementDataFile": None, "data": b""}),
        (MissingGeometry, "Offset in the header should be 3 numbers", {"Offset": "1 2"}),
        (MissingGeometry, "describes no grid", {"ElementSpacing": "1 0 3"}),
        (MissingGeometry, "describes no grid", {"TransformMatrix": "0 0 0 0 1 0 0 0 1"}),
        (MissingGeometry, "describes no grid", {"Offset": "nan 0 0"}),
        (UnsupportedImage, "ObjectType 'Tube'", {"ObjectType": "Tube"}),
        (UnsupportedImage, "written as text", {"BinaryData": "False"}),
        (UnsupportedImage, "several files", {"ElementDataFile": "LIST"}),
        (UnsupportedImage, "ElementToIntensityFunction", {"extra": "ElementToIntensityFunctionSlope = 2\n"}),
        (UnsupportedImage, "2 dimensions", {"NDims": "2", "DimSize": "4 6"}),
        (UnsupportedImage, "5 dimensions", {"NDims": "5", "DimSize": "4 3 2 1 1"}),
        (FileNotFoundError, "should lie in .*gone.raw", {"ElementDataFile": "gone.raw"}),
    ],
)
def test_refuses(tmp_path, error, text, changes):
    with pytest.raises(error, match=text):
        read_metaimage(save(tmp_path / "a.mha", **changes))


@pytest.mark.parametrize(
    ("changes", "extra", "one", "other"),
    [
        ({}, "ElementByteOrderMSB = True\n", "BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
        ({}, "Position = 10 -20 31\n", "Offset", "Position"),
        ({}, "Origin = 1 2\n", "Offset", "Origin"),
        ({"Offset": None}, "Position = 1 2 3\nOrigin = 1 2 4\n", "Position", "Origin"),
        ({}, "Orientation = 1 0 0 0 1 0 0 0 1\n", "TransformMatrix", "Orientation"),
        ({}, "Rotation = 1 0 0 0 1 0 0 0 1\n", "TransformMatrix", "Rotation"),
    ],
)
def test_two_names_of_one_thing_must_agree(tmp_path, changes, extra, one, other):
    path = save(tmp_path / "a.mha", extra=extra, **changes)
    with pytest.raises(DamagedFile, match=f"{one} and {other} in the header say the same thing differently"):
        read_metaimage(path)
    with pytest.warns(UserWarning, match=f"differently; {one} is taken"):
        array, geometry, _ = read_metaimage(path, strict=False)
    np.testing.assert_array_equal(array, VOXELS)
    assert geometry.origin == ((1, 2, 3) if changes else (10, -20, 30))


def test_two_names_that_agree_do_no_harm(tmp_path):
    extra = "ElementByteOrderMSB = False\nPosition = 10.0 -20.0 30.0\nRotation = 0.6 0.8 0 -0.8 0.6 0 0 0 1\n"
    array, geometry, _ = read_metaimage(save(tmp_path / "a.mha", extra=extra))
    np.testing.assert_array_equal(array, VOXELS)
    assert geometry.origin == (10, -20, 30)


@pytest.mark.parametrize("name", ["5%.raw", "a%d.raw", "LIST x.raw", "a b.raw", "Größe.raw", "M\udcfcller.raw"])
def test_a_data_file_of_just_that_name_counts(tmp_path, name):
    (tmp_path / name).write_bytes(VOXELS.tobytes())
    path = Path(save(tmp_path / "a.mhd", b"", ElementDataFile="!"))
    path.write_bytes(path.read_bytes().replace(b"!", name.encode("utf-8", "surrogateescape")))
    array, _, files = read_metaimage(path)
    np.testing.assert_array_equal(array, VOXELS)
    assert files[1] == str(tmp_path / name)


@pytest.mark.parametrize("name", ["LIST", "LIST 2D", "LIST 2", "a%02d.raw 1 2 1", "a%d.raw"])
def test_refuses_several_data_files(tmp_path, name):
    with pytest.raises(UnsupportedImage, match="its voxels lie in several files; save them as one file"):
        read_metaimage(save(tmp_path / "a.mhd", b"", ElementDataFile=name))


@pytest.mark.parametrize(
    "changes",
    [
        {"DimSize": "4 3 2PatientName = Doe^Jane"},
        {"NDims": "3 Doe^Jane"},
        {"ElementType": "MET_SHORT PatientName = Doe^Jane"},
        {"ElementType": "Doe^Jane"},
        {"BinaryDataByteOrderMSB": "False PatientName = Doe^Jane"},
        {"ObjectType": "Image PatientName = Doe^Jane"},
        {"ElementSpacing": "1 2 3 Doe^Jane"},
        {"Offset": "1 2 Doe^Jane"},
        {"HeaderSize": "Doe^Jane"},
        {"ElementDataFile": "a.rawPatientName = Doe^Jane"},
        {"extra": "Doe^Jane = 1\nDoe^Jane = 2\n"},
        {"extra": "Doe^Jane = 1 Offset = 2\n"},
        {"extra": "Doe^Jane\n"},
    ],
)
def test_errors_quote_no_value_that_may_be_of_another_field(tmp_path, changes):
    with pytest.raises(ReadError) as error:
        read_metaimage(save(tmp_path / "a.mha", **changes))
    assert "Doe" not in str(error.value)


@pytest.mark.parametrize("changes", [{"DimSize": "4 ٣ 2"}, {"ElementSpacing": "١ 1 1"}, {"NDims": "\uff13"}])
def test_digits_of_other_scripts_are_no_numbers(tmp_path, changes):
    with pytest.raises(DamagedFile, match="should be"):
        read_metaimage(save(tmp_path / "a.mha", **changes))


def test_refuses_a_turned_fourth_axis_and_damaged_packing(tmp_path):
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0].ravel()
    changes = {"NDims": "4", "DimSize": "4 3 2 1", "Offset": "0 0 0 0", "ElementSpacing": "1 1 1 1"}
    with pytest.raises(UnsupportedImage, match="fourth axis is turned"):
        read_metaimage(save(tmp_path / "a.mha", TransformMatrix=" ".join(map(str, matrix)), **changes))
    data = bytearray(zlib.compress(VOXELS.tobytes()))
    data[-1] ^= 1
    with pytest.raises(DamagedFile, match="packed data is damaged"):
        read_metaimage(save(tmp_path / "a.mha", bytes(data), CompressedData="True"))
    with pytest.raises(TruncatedFile, match="ends before its end mark"):
        read_metaimage(save(tmp_path / "a.mha", zlib.compress(VOXELS.tobytes())[:-6], CompressedData="True"))
    (tmp_path / "b.mha").write_bytes(gzip.compress(b"ObjectType = Image\n"))
    with pytest.raises(UnsupportedImage, match="unpack it first"):
        read_metaimage(tmp_path / "b.mha")


@pytest.mark.parametrize("name", ["LOCAL", "a.zraw"])
def test_packed_bytes_are_counted(tmp_path, name):
    data = zlib.compress(VOXELS.tobytes())
    changes = {"CompressedData": "True", "ElementDataFile": name}

    def read(stated, content, **options):
        if name != "LOCAL":
            (tmp_path / name).write_bytes(content)
        path = save(tmp_path / "a.mha", content if name == "LOCAL" else b"", CompressedDataSize=str(stated), **changes)
        return read_metaimage(path, **options)[0]

    for stated in (len(data), 0):  # 0 is MetaIO's word for unknown
        np.testing.assert_array_equal(read(stated, data), VOXELS)
    with pytest.raises(DamagedFile, match=rf"CompressedDataSize {len(data)} .* but {len(data) + 3} bytes are there"):
        read(len(data), data + b"xyz")
    with pytest.raises(TruncatedFile, match=rf"CompressedDataSize {len(data) + 3} .* but {len(data)} bytes are there"):
        read(len(data) + 3, data)
    np.testing.assert_array_equal(read(len(data), data + b"xyz", strict=False), VOXELS)
    with pytest.raises(DamagedFile, match="CompressedDataSize in the header should be numbers"):
        read(f"{len(data)}TransformMatrix = 1 0 0 0 1 0 0 0 1", data, strict=False)


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_right_or_refused(tmp_path):
    """A byte of the header changes: what is read equals SimpleITK's reading where it reads, or a ReadError comes."""
    random = np.random.default_rng(0)
    whole = Path(save(tmp_path / "a.mha")).read_bytes()
    outcomes = {"read": 0, "refused": 0}
    for _ in range(200):
        content = bytearray(whole)
        content[random.integers(0, len(content) - 48)] = random.choice(list(b"0123456789 .-=\nax"))
        (tmp_path / "a.mha").write_bytes(content)
        try:
            array, geometry, _ = read_metaimage(tmp_path / "a.mha")
        except (ReadError, FileNotFoundError):
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        try:
            expected, affine = peer(str(tmp_path / "a.mha"))
        except RuntimeError:
            continue
        np.testing.assert_array_equal(array, expected)
        np.testing.assert_allclose(geometry.affine, affine, atol=1e-6)
    assert min(outcomes.values()) > 20
