"""NRRD against SimpleITK and hand-written headers."""

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from faimed3d.errors import DamagedFile, MissingGeometry, ReadError, TruncatedFile, UnsupportedImage
from faimed3d.io.nrrd import read_nrrd, read_nrrd_header

VOXELS = np.arange(24, dtype="<i2").reshape(2, 3, 4)
FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 3 2",
    "space directions": "(0.6,0.8,0) (-1.6,1.2,0) (0,0,3)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(10,-20,30)",
}
AFFINE = np.array([[0.6, -1.6, 0, 10], [0.8, 1.2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])


def save(path, data=None, magic="NRRD0004", extra="", **changes):
    """Write a header of FIELDS with changes (None leaves one out; _ stands for a blank), then the data."""
    fields = {**FIELDS, **{name.replace("_", " "): value for name, value in changes.items()}}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)
    content = VOXELS.tobytes() if data is None else data
    path.write_bytes(f"{magic}\n# a comment\n{text}{extra}\n".encode() + content)
    return str(path)


def peer(path):
    """SimpleITK's voxels and affine."""
    image = sitk.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


class TestRead:
    def test_voxels_and_geometry(self, tmp_path):
        array, geometry, files = read_nrrd(save(tmp_path / "a.nrrd"))
        np.testing.assert_array_equal(array, VOXELS)
        np.testing.assert_allclose(geometry.affine, AFFINE)
        assert files == (str(tmp_path / "a.nrrd"),)

    @pytest.mark.parametrize(
        "space", ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "RAS", "LPS", "LAS"]
    )
    def test_every_space_as_simpleitk(self, tmp_path, space):
        path = save(tmp_path / "a.nrrd", space=space)
        np.testing.assert_allclose(read_nrrd(path)[1].affine, peer(path)[1], atol=1e-12)

    def test_the_other_spelling_of_a_field_means_the_same(self, tmp_path):
        grid = {"space_directions": None, "space_origin": None, "space": "", "spacings": "1 2 3"}
        path = save(tmp_path / "a.nrrd", axismins="10 20 30", centerings="node node node", **grid)
        with pytest.warns(UserWarning, match="names no space"):
            geometry = read_nrrd(path)[1]
        assert geometry.origin == (10, 20, 30)
        with pytest.raises(DamagedFile, match="'axis mins' stands there twice"):
            read_nrrd(save(tmp_path / "b.nrrd", axismins="10 20 30", axis_mins="10 20 30", **grid))

    @pytest.mark.parametrize("centers", [None, "cell cell cell", "node node node"])
    @pytest.mark.parametrize("mins", [None, "5 6 7"])
    def test_spacings_and_axis_mins_as_simpleitk(self, tmp_path, centers, mins):
        changes = {"spacings": "1 2 3", "axis_mins": mins, "centers": centers}
        path = save(tmp_path / "a.nrrd", space=None, space_directions=None, space_origin=None, **changes)
        with pytest.warns(UserWarning, match="names no space, .* LPS is assumed"):
            geometry = read_nrrd(path)[1]
        assert geometry.spacing == (1, 2, 3)
        np.testing.assert_allclose(geometry.affine, peer(path)[1])

    def test_big_endian_and_gzip(self, tmp_path):
        path = save(tmp_path / "a.nrrd", gzip.compress(VOXELS.astype(">i2").tobytes()), endian="big", encoding="gzip")
        array = read_nrrd(path, dtype=None)[0]
        np.testing.assert_array_equal(array, VOXELS)
        assert array.dtype == np.dtype("int16")

    def test_vector_first_and_list_last(self, tmp_path):
        data = np.arange(72, dtype="<i2").tobytes()
        path = save(
            tmp_path / "v.nrrd",
            data,
            dimension="4",
            sizes="3 4 3 2",
            space_directions="none (0.6,0.8,0) (-1.6,1.2,0) (0,0,3)",
            kinds="vector domain domain domain",
        )
        array, geometry, _ = read_nrrd(path)
        np.testing.assert_array_equal(array, np.moveaxis(peer(path)[0], -1, 0))
        np.testing.assert_allclose(geometry.affine, AFFINE)
        path = save(
            tmp_path / "l.nrrd",
            data,
            dimension="4",
            sizes="4 3 2 3",
            space_directions="(0.6,0.8,0) (-1.6,1.2,0) (0,0,3) none",
            kinds="domain domain domain list",
        )
        array, geometry, _ = read_nrrd(path)
        np.testing.assert_array_equal(array, np.arange(72).reshape(3, 2, 3, 4))
        np.testing.assert_allclose(geometry.affine, AFFINE)

    def test_units_become_millimetres(self, tmp_path):
        path = save(tmp_path / "a.nrrd", space_units='"cm" "cm" "cm"')
        np.testing.assert_allclose(read_nrrd(path)[1].affine[:3], AFFINE[:3] * 10)

    @pytest.mark.parametrize("units", ['"cm" "cm" "cm"', "cm cm cm", '"Cm""cm""cm"'])
    @pytest.mark.filterwarnings("ignore:.*LPS is assumed")
    def test_units_of_axes_become_millimetres(self, tmp_path, units):
        grid = {"space": None, "space_directions": None, "space_origin": None, "spacings": "1 2 3"}
        geometry = read_nrrd(save(tmp_path / "a.nrrd", units=units, axis_mins="0 0 0", **grid))[1]
        assert geometry.spacing == (10, 20, 30)
        assert geometry.origin == (5, 10, 15)
        for known in ('"mm" "mm" ""', '"" "" ""', '"mm" "none" "???"'):
            assert read_nrrd(save(tmp_path / "a.nrrd", units=known, **grid))[1].spacing == (1, 2, 3)

    @pytest.mark.filterwarnings("ignore:.*LPS is assumed")
    def test_unit_of_the_channels_is_none_of_the_grid(self, tmp_path):
        data, grid = (
            np.arange(72, dtype="<i2").tobytes(),
            {"space": None, "space_directions": None, "space_origin": None},
        )
        changes = {
            "dimension": "4",
            "sizes": "4 3 2 3",
            "kinds": "domain domain domain time",
            "units": '"m" "m" "m" "s"',
        }
        path = save(tmp_path / "a.nrrd", data, spacings="1 2 3 9", **grid, **changes)
        assert read_nrrd(path)[1].spacing == (1000, 2000, 3000)

    def test_detached_data_with_skips(self, tmp_path):
        (tmp_path / "a.raw").write_bytes(b"one\ntwo\nxy" + VOXELS.tobytes())
        path = save(tmp_path / "a.nhdr", b"", data_file="a.raw", line_skip="2", byte_skip="2")
        array, _, files = read_nrrd(path)
        np.testing.assert_array_equal(array, VOXELS)
        assert files == (path, str(tmp_path / "a.raw"))
        path = save(tmp_path / "b.nhdr", b"", data_file="a.raw", byte_skip="-1")
        np.testing.assert_array_equal(read_nrrd(path)[0], VOXELS)

    def test_key_value_pairs_are_no_fields(self, tmp_path):
        path = save(tmp_path / "a.nrrd", extra="sizes:=1 1 1\nmy key:=a: b\n")
        np.testing.assert_array_equal(read_nrrd(path)[0], VOXELS)
        assert read_nrrd_header(path)["my key"] == "a: b"

    def test_no_origin_is_told(self, tmp_path):
        with pytest.warns(UserWarning, match="no 'space origin'"):
            assert read_nrrd(save(tmp_path / "a.nrrd", space_origin=None))[1].origin == (0, 0, 0)

    def test_unnamed_space_is_told(self, tmp_path):
        with pytest.warns(UserWarning, match="gives space 'scanner-xyz'"):
            read_nrrd(save(tmp_path / "a.nrrd", space="scanner-xyz"))


@pytest.mark.parametrize(
    ("error", "text", "changes"),
    [
        (DamagedFile, "its first line should be", {"magic": "NRRD0009"}),
        (DamagedFile, "line 12 has no ':'", {"extra": "nonsense\n"}),
        (DamagedFile, "'sizes' stands there twice", {"extra": "sizes: 1 1 1\n"}),
        (DamagedFile, "line 12 is no field of NRRD; perhaps 'sizes' was meant", {"extra": "sixes: 1 1 1\n"}),
        (DamagedFile, "line 12 is no field of NRRD$", {"extra": "Doe^Jane: 1 1 1\n"}),
        (DamagedFile, "no field 'sizes'", {"sizes": None}),
        (DamagedFile, "'sizes' should be numbers", {"sizes": "4 3 x"}),
        (DamagedFile, "'sizes' should be numbers", {"sizes": "4 3 1_0"}),
        (DamagedFile, "do not go together", {"sizes": "4 3"}),
        (DamagedFile, "do not go together", {"sizes": "4 3 -2"}),
        (DamagedFile, "type in the header is none of NRRD's, got a damaged value", {"type": "shirt"}),
        (UnsupportedImage, "type 'block'", {"type": "block"}),
        (DamagedFile, "endian in the header should be 'little' or 'big'", {"endian": None}),
        (UnsupportedImage, "encoding 'hex' is not supported", {"encoding": "hex"}),
        (UnsupportedImage, "several files", {"data_file": "LIST"}),
        (UnsupportedImage, "several files", {"data_file": "a%03d.raw 1 2 1"}),
        (FileNotFoundError, "should lie in .*gone.raw", {"data_file": "gone.raw"}),
        (DamagedFile, "cannot be", {"line_skip": "-1"}),
        (UnsupportedImage, "inside packed data", {"encoding": "gzip", "byte_skip": "3"}),
        (DamagedFile, "should be vectors", {"space_directions": "(1,0,0 (0,1,0) (0,0,1)"}),
        (DamagedFile, "vectors of numbers", {"space_directions": "(0.1 9,0,0) (0,1,0) (0,0,1)"}),
        (MissingGeometry, "should be 3 vectors", {"space_directions": "(1,0) (0,1) (0,0)"}),
        (MissingGeometry, "describe no grid", {"space_directions": "(0,0,0) (0,1,0) (0,0,1)"}),
        (MissingGeometry, "describe no grid", {"space_directions": "(1,0,0) (1,0,0) (0,0,1)"}),
        (MissingGeometry, "describe no grid", {"space_origin": "(nan,0,0)"}),
        (MissingGeometry, "describe no grid", {"space_directions": "(1e300,0,0) (0,1,0) (0,0,1)"}),
        (MissingGeometry, "neither 'space directions' nor 'spacings'", {"space_directions": None}),
        (MissingGeometry, "describe no grid", {"space_directions": None, "spacings": "1 0 3", "space": ""}),
        (MissingGeometry, "describe no grid", {"space_directions": None, "spacings": "1 2", "space": ""}),
        (MissingGeometry, "none that can be placed", {"space": "left-posterior-superxor"}),
        (MissingGeometry, "space units", {"space_units": '"mm" "cm" "mm"'}),
        (MissingGeometry, "space units", {"units": '"mm" "cm" "mm"'}),
        (MissingGeometry, "space units", {"units": '"cm" "cm" ""'}),
        (MissingGeometry, "space units", {"units": '"mm" "mm" "cm'}),
        (MissingGeometry, "space units", {"units": '"inch" "inch" "inch"'}),
        (MissingGeometry, "space units", {"units": '"cm" "cm" "cm"', "space_units": '"mm" "mm" "mm"'}),
        (UnsupportedImage, "no volume of 3 spatial axes", {"dimension": "2", "sizes": "4 6", "kinds": None}),
        (UnsupportedImage, "no volume of 3 spatial axes", {"kinds": "vector domain domain"}),
        (UnsupportedImage, "complex", {"kinds": "complex domain domain"}),
        (UnsupportedImage, "5 axes", {"dimension": "5", "sizes": "1 1 4 3 2", "kinds": None}),
        (UnsupportedImage, "does not say which one", {"dimension": "4", "sizes": "1 4 3 2", "space_directions": None}),
        (TruncatedFile, "30000x30000x30000", {"sizes": "30000 30000 30000"}),
        (TruncatedFile, "48 bytes, but only 47 bytes", {"data": VOXELS.tobytes()[:-1]}),
        (DamagedFile, "but 49 bytes follow", {"data": VOXELS.tobytes() + b"x"}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*LPS is assumed")
def test_refuses(tmp_path, error, text, changes):
    with pytest.raises(error, match=text):
        read_nrrd(save(tmp_path / "a.nrrd", **changes))


DETACHED = "\n".join(
    (
        *("NRRD0004", "data file: {}", "type: short", "dimension: 3", "sizes: 4 3 2", "encoding: raw"),
        *("endian: little", "spacings: 1 2 30.75"),
    )
)


@pytest.mark.filterwarnings("ignore:.*LPS is assumed")
class TestDetached:
    def header(self, folder, name, end="\n"):
        (folder / "a.nhdr").write_bytes(DETACHED.format(name).encode("utf-8", "surrogateescape") + end.encode())
        return folder / "a.nhdr"

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n# the end\n"])
    def test_the_file_may_end_with_the_last_field(self, tmp_path, end):
        (tmp_path / "a.raw").write_bytes(VOXELS.tobytes())
        assert read_nrrd(self.header(tmp_path, "a.raw", end))[1].spacing == (1, 2, 30.75)

    @pytest.mark.parametrize("cut", [0, 1, 2, 4, 40])
    def test_a_last_line_without_its_end_may_be_cut(self, tmp_path, cut):
        (tmp_path / "a.raw").write_bytes(VOXELS.tobytes())
        path = self.header(tmp_path, "a.raw", "")
        path.write_bytes(path.read_bytes()[: -cut or None])
        for strict in (True, False):
            with pytest.raises(TruncatedFile, match=r"a line break after its last line.*If it is whole, add"):
                read_nrrd(path, strict)

    @pytest.mark.parametrize(
        "name", ["5%.raw", "a%d.raw", "LIST x.raw", "a b.raw", "Größe.raw", "M\udcfcller.raw", "a:b.raw"]
    )
    def test_a_file_of_just_that_name_counts(self, tmp_path, name):
        (tmp_path / name).write_bytes(VOXELS.tobytes())
        array, _, files = read_nrrd(self.header(tmp_path, name))
        np.testing.assert_array_equal(array, VOXELS)
        assert files[1] == str(tmp_path / name)

    def test_a_name_in_latin_1_that_is_utf8_on_the_disk(self, tmp_path):
        (tmp_path / "Müller.raw").write_bytes(VOXELS.tobytes())
        np.testing.assert_array_equal(read_nrrd(self.header(tmp_path, "M\udcfcller.raw"))[0], VOXELS)

    @pytest.mark.parametrize("kind", ["folder", "pipe"])
    def test_what_is_no_file(self, tmp_path, kind):
        os.mkfifo(tmp_path / "a.raw") if kind == "pipe" else (tmp_path / "a.raw").mkdir()
        with pytest.raises(DamagedFile, match=r"a\.raw, which is a folder or a device"):
            read_nrrd(self.header(tmp_path, "a.raw"))

    @pytest.mark.parametrize("name", ["a.rawPatientName:=Doe^Jane", "a.rawcontent: Doe^Jane", "Doe^Jane" * 40, ""])
    def test_a_name_that_swallowed_the_next_line_is_not_told(self, tmp_path, name):
        with pytest.raises(DamagedFile, match="the name of the file of its voxels is damaged") as error:
            read_nrrd(self.header(tmp_path, name))
        assert "Doe" not in str(error.value)

    def test_lines_to_skip_that_are_none_do_not_fill_the_memory(self, tmp_path):
        with open(tmp_path / "a.raw", "wb") as file:
            file.truncate(1 << 28)
        path = self.header(tmp_path, "a.raw", "\nline skip: 1\n")
        tracemalloc.start()
        try:
            with pytest.raises(TruncatedFile, match="but only 0 bytes"):
                read_nrrd(path)
            assert tracemalloc.get_traced_memory()[1] < 1 << 26
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "shortPatientName:=Doe^Jane"},
        {"sizes": "4 3 2PatientName:=Doe^Jane"},
        {"dimension": "3 Doe^Jane"},
        {"endian": "little Doe^Jane"},
        {"encoding": "raw Doe^Jane"},
        {"space": "left-posterior-superior Doe^Jane"},
        {"space_directions": "(1,0,0) (0,1,0) (0,0,1) Doe^Jane"},
        {"space_directions": "(1,0,0) (0,1,0) (0,0,Doe)"},
        {"space_origin": "(0,0,0) Doe^Jane"},
        {"space_units": '"mm" "mm" "Doe^Jane"'},
        {"kinds": "vector Doe^Jane domain"},
        {"extra": "Doe^Jane: 1\n"},
        {"extra": "Doe^Jane\n"},
        {"byte_skip": "Doe^Jane"},
    ],
)
def test_errors_quote_no_value_that_may_be_of_another_field(tmp_path, changes):
    with pytest.raises(ReadError) as error:
        read_nrrd(save(tmp_path / "a.nrrd", **changes))
    assert "Doe" not in str(error.value)


@pytest.mark.parametrize("changes", [{"sizes": "4 ٣ 2"}, {"space_origin": "(١,0,0)"}, {"dimension": "\uff13"}])
def test_digits_of_other_scripts_are_no_numbers(tmp_path, changes):
    with pytest.raises(DamagedFile, match="should be"):
        read_nrrd(save(tmp_path / "a.nrrd", **changes))


def test_refuses_a_packed_file_and_a_header_without_end(tmp_path):
    content = Path(save(tmp_path / "a.nrrd")).read_bytes()
    (tmp_path / "b.nrrd").write_bytes(gzip.compress(content))
    with pytest.raises(UnsupportedImage, match="unpack it first"):
        read_nrrd(tmp_path / "b.nrrd")
    (tmp_path / "b.nrrd").write_bytes(content[:200])
    with pytest.raises(TruncatedFile, match="the NRRD header has no end"):
        read_nrrd(tmp_path / "b.nrrd")


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_right_or_refused(tmp_path):
    """A byte of the header changes: what is read equals SimpleITK's reading where it reads, or a ReadError comes."""
    random = np.random.default_rng(0)
    whole = Path(save(tmp_path / "a.nrrd")).read_bytes()
    outcomes = {"read": 0, "refused": 0}
    for _ in range(200):
        content = bytearray(whole)
        content[random.integers(0, len(content) - 48)] = random.choice(list(b"0123456789 .-:\n()ax"))
        (tmp_path / "a.nrrd").write_bytes(content)
        try:
            array, geometry, _ = read_nrrd(tmp_path / "a.nrrd")
        except (ReadError, FileNotFoundError):
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        try:
            expected, affine = peer(str(tmp_path / "a.nrrd"))
        except RuntimeError:
            continue
        np.testing.assert_array_equal(array, expected)
        np.testing.assert_allclose(geometry.affine, affine, atol=1e-6)
    assert min(outcomes.values()) > 20
