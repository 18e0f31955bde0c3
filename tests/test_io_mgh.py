"""FreeSurfer's .mgh and .mgz, with nibabel as the independent answer; and every type of voxel in every format."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from io_volumes import OBLIQUE, SHEARED, load_mgh, rotation, volume

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D, get_volumetric_files
from faimed3d.errors import DamagedFile, MissingGeometry, TruncatedFile, UnsupportedImage
from faimed3d.io import WRITE_SUFFIXES, read, write

RAS = np.diag([-1, -1, 1, 1])


def mgh(path, array, affine=None):
    """Written by nibabel; ``array`` is (x, y, z) or (x, y, z, frames)."""
    nib.MGHImage(array, RAS @ OBLIQUE.affine if affine is None else affine).to_filename(path)
    return path


def damaged(path, start, content):
    raw = bytearray(path.read_bytes())
    raw[start : start + len(content)] = content
    path.write_bytes(bytes(raw))
    return path


class TestReading:
    @pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "uint16"])
    @pytest.mark.parametrize("name", ["a.mgh", "a.mgz", "A.MGZ"])
    @pytest.mark.parametrize("frames", [(), (3,)])
    def test_as_nibabel_does(self, tmp_path, dtype, name, frames):
        array = np.abs(volume(dtype, (4, 3, 2, *frames)))
        path = mgh(tmp_path / name.lower(), array).rename(tmp_path / name)
        for kind in (TensorDicom3D, TensorMask3D):
            t = kind.create(path, dtype=None)
            np.testing.assert_array_equal(t.numpy(), array.T)
            np.testing.assert_allclose(t.geometry.affine, OBLIQUE.affine, atol=1e-5)
            assert str(t.dtype) == f"torch.{dtype}"
        assert TensorDicom3D.create(path).dtype == torch.float32

    def test_the_header_is_there_when_it_is_asked_for(self, tmp_path):
        t = TensorDicom3D.create(mgh(tmp_path / "a.mgz", volume().T))
        assert t.get_metadata("dims") == [4, 3, 2, 1]

    def test_what_follows_the_voxels_is_left_out(self, tmp_path):
        path = mgh(tmp_path / "a.mgh", volume().T)
        path.write_bytes(path.read_bytes() + b"mri_convert and its arguments")
        np.testing.assert_array_equal(read(path, dtype=None)[0], volume())

    def test_without_a_position_freesurfer_s_own_is_assumed(self, tmp_path):
        path = damaged(mgh(tmp_path / "a.mgh", volume().T), 28, b"\0\0")
        with pytest.warns(UserWarning, match="goodRASFlag is not set.*1 mm and coronal slices are assumed"):
            geometry = read(path)[1]
        assert geometry.assumed == "all"
        # x, y, z of the array point to the patient's left, feet and front, as mriio.cpp of FreeSurfer has it
        directions = [[-1, 0, 0], [0, 0, 1], [0, -1, 0]]
        np.testing.assert_allclose((RAS @ geometry.affine)[:3, :3], directions)
        np.testing.assert_allclose((RAS @ geometry.affine) @ (2, 1.5, 1, 1), (0, 0, 0, 1))

    @pytest.mark.parametrize(
        ("start", "content", "error", "text"),
        [
            (0, b"\0\0\0\2", DamagedFile, "its version should be 1, it is 2"),
            (4, b"\0\0\0\0", DamagedFile, "every size in the header should be at least 1"),
            (20, b"\0\0\0\6", UnsupportedImage, "type 6 are not supported; convert it with mri_convert"),
            (30, bytes(4), MissingGeometry, "delta should be the voxel sizes, positive numbers"),
            (30, b"\x7f\xc0\0\0", MissingGeometry, "describes no grid in space"),
            (42, bytes(12), MissingGeometry, "describes no grid in space"),
            (4, b"\0\0\0\x20", TruncatedFile, "bytes of voxels are there. The file was cut"),
        ],
    )
    def test_faults_are_refused(self, tmp_path, start, content, error, text):
        with pytest.raises(error, match=text):
            read(damaged(mgh(tmp_path / "a.mgh", volume().T), start, content))

    def test_cut_files_are_refused(self, tmp_path):
        whole = mgh(tmp_path / "a.mgh", volume("float32").T).read_bytes()
        packed = gzip.compress(whole)
        for name, content in (("b.mgh", whole[:300]), ("c.mgh", whole[:200]), ("d.mgz", packed[:-20])):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(TruncatedFile, match=name):
                read(tmp_path / name)

    def test_is_found_in_folders_and_trains(self, tmp_path):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
            for k in range(5):
                mgh(tmp_path / folder / f"p{k}.mgz", np.abs(volume("uint8").T) % 2)
        assert [file.name for file in get_volumetric_files(tmp_path / "images")] == [f"p{k}.mgz" for k in range(5)]
        dls = SegmentationDataLoaders3D.from_folder(
            tmp_path, codes=["none", "lesion"], bs=2, num_workers=0, device="cpu", seed=0, valid_pct=0.5
        )
        assert dls.one_batch()[1].shape == (2, 2, 3, 4)


class TestWriting:
    @settings(max_examples=40, deadline=None)
    @given(
        dtype=st.sampled_from(["uint8", "uint16", "int16", "int32", "float32"]),
        seed=st.integers(0, 1000),
        suffix=st.sampled_from([".mgh", ".mgz"]),
        shape=st.sampled_from([(2, 3, 4), (3, 2, 3, 4), (1, 2, 3, 4), (1, 1, 5)]),
    )
    def test_nibabel_reads_it_as_it_was(self, tmp_path_factory, dtype, seed, suffix, shape):
        path = tmp_path_factory.mktemp("mgh") / f"a{suffix}"
        array = np.abs(volume(dtype, shape))
        geometry = Geometry(shape[-3:], (1, 2, 3), (10.25, -20, 30), rotation(seed))
        write(path, array, geometry)
        image = load_mgh(path)
        np.testing.assert_array_equal(
            np.asarray(image.dataobj), (array[0] if shape[0] == 1 and len(shape) == 4 else array).T
        )
        np.testing.assert_allclose(image.affine, RAS @ geometry.affine, atol=1e-4)
        assert image.get_data_dtype() == np.dtype(dtype).newbyteorder(">")

    def test_a_sheared_grid(self, tmp_path):
        write(tmp_path / "a.mgz", volume(), SHEARED)
        assert read(tmp_path / "a.mgz")[1].agrees(SHEARED, 1e-5)


VALUES = {
    "bool": [0, 1],
    "uint8": [0, 255],
    "int8": [-128, 127],
    "uint16": [0, 65535],
    "int16": [-32768, 32767],
    "uint32": [0, 2**32 - 1],
    "int32": [-(2**31), 2**31 - 1],
    "uint64": [0, 2**64 - 1],
    "int64": [-(2**63), 2**63 - 1],
    "float16": [-65504.0, 0.333],
    "bfloat16": [-3e38, 0.333],
    "float32": [-3.4e38, 0.1],
    "float64": [-1e300, 0.1],
    "complex64": [1j, 2],
}
LARGE = ("uint32", "uint64", "int64", "float64")


@pytest.mark.parametrize("suffix", [*WRITE_SUFFIXES, ""])
@pytest.mark.parametrize("source", ["torch", "numpy"])
@pytest.mark.parametrize("kind", [TensorDicom3D, TensorMask3D])
@pytest.mark.parametrize("large", [False, True])
def test_every_type_comes_back_exactly_or_is_refused_by_name(tmp_path, suffix, source, kind, large):
    """From numpy and torch, in every format ('' is a DICOM series), labels and the largest values of each type."""
    for name, extremes in VALUES.items():
        if source == "numpy" and name == "bfloat16":
            continue
        values = extremes if large else [0, 1]
        dtype = getattr(torch, name)
        if source == "torch":
            x = torch.zeros(2, 3, 4, dtype=dtype)
            x[0, 0] = torch.tensor(values * 2, dtype=dtype)
        else:
            x = np.zeros((2, 3, 4), name)
            x[0, 0] = np.array(values * 2, name)
        t = kind(x, OBLIQUE)
        path = tmp_path / f"{name}{suffix}"
        mgh_cannot = suffix in (".mgz", ".mgh") and large and name in LARGE
        dicom_cannot = not suffix and large and name in (*LARGE, "int32")
        dicom_rounds = not suffix and large and name.endswith(("float16", "float32"))
        if name == "complex64" or mgh_cannot or dicom_cannot:
            with pytest.raises((TypeError, ValueError), match=rf"{name}|cannot be written exactly|beyond float32"):
                t.save(path)
            assert not path.exists()
            continue
        t.save(path)
        if dicom_rounds:
            continue
        back = kind.create(path, dtype=None)
        assert back.geometry.agrees(OBLIQUE, 1e-3)
        ours, theirs = (
            np.asarray(
                v.as_subclass(torch.Tensor).float()
                if "float" in str(v.dtype) and v.element_size() < 8
                else v.as_subclass(torch.Tensor)
            )
            for v in (t, back)
        )
        assert [int(v) if float(v).is_integer() else float(v) for v in theirs.ravel()] == [
            int(v) if float(v).is_integer() else float(v) for v in ours.ravel()
        ]
