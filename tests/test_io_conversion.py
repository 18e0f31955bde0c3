"""Stored numbers to another dtype: exact or refused."""

import numpy as np
import pytest

from faimed3d.errors import ReadError, UnsupportedImage
from faimed3d.io.conversion import convert
from faimed3d.io.voxels import Voxels, read_voxels


class TestConversion:
    @pytest.mark.parametrize(
        ("stored", "value", "dtype"),
        [
            ("i4", 2**24 + 1, "f4"),
            ("u4", 2**32 - 1, "f4"),
            ("i4", -(2**24) - 1, "f4"),
            ("i8", 2**53 + 1, "f8"),
            ("i8", 2**63 - 1, "f8"),
            ("u8", 2**64 - 1, "f8"),
            ("u8", 2**63, "i8"),
            ("i8", -1, "u8"),
            ("i2", 300, "u1"),
            ("i2", -1, "u2"),
            ("u1", 2, "?"),
            ("i2", 2049, "f2"),
            ("u2", 65535, "f2"),
            ("f4", 0.5, "i2"),
            ("f4", np.nan, "i2"),
            ("f4", np.inf, "i4"),
            ("f8", 1e300, "f4"),
            ("f4", 1e6, "f2"),
        ],
    )
    def test_refuses_a_value_that_would_change(self, stored, value, dtype):
        array = np.array([1, value], stored)
        with pytest.raises(ReadError, match=r"cannot be held by .* Pass dtype=None"):
            convert(array, dtype, "a.nii")

    @pytest.mark.parametrize(
        ("stored", "value", "dtype"),
        [
            ("i4", 2**24 + 2, "f4"),
            ("u4", 2**31, "f4"),
            ("i8", -(2**63), "f8"),
            ("i8", 2**53, "f8"),
            ("u8", 2**63, "f4"),
            ("i2", -32768, "f4"),
            ("u8", 255, "u1"),
            ("f8", 7.0, "i2"),
            ("f8", np.inf, "f4"),
            ("u1", 1, "?"),
        ],
    )
    def test_keeps_a_value_that_fits(self, stored, value, dtype):
        got = convert(np.array([1, value], stored), dtype, "a.nii")
        assert got.dtype == np.dtype(dtype)
        assert got[1] == value

    def test_fractions_are_rounded_and_nan_stays(self):
        got = convert(np.array([0.1, np.nan], "f8"), np.float32, "a.nii")
        assert got[0] == np.float32(0.1)
        assert np.isnan(got[1])

    def test_refuses_other_kinds(self):
        with pytest.raises(UnsupportedImage, match="the voxels are complex"):
            convert(np.zeros(3, "c8"), None, "a.nii")
        with pytest.raises(UnsupportedImage, match="are not supported"):
            convert(np.zeros(3, "U3"), None, "a.nii")
        with pytest.raises(TypeError, match="dtype must be a real number type or None, got complex64"):
            convert(np.zeros(3), np.complex64, "a.nii")


class TestScaling:
    def read(self, path, values, slope, inter, dtype=None):
        path.write_bytes(values.tobytes())
        return read_voxels(Voxels(path, 0, values.dtype, values.shape, "raw", float(slope), float(inter)), dtype)

    @pytest.mark.parametrize("stored", ["i8", "u8"])
    @pytest.mark.parametrize("dtype", [None, "f8", "i8", "u8", "f4"])
    @pytest.mark.parametrize(("value", "slope", "inter"), [(2**53 + 1, 1, 1), (2**53 + 1, 1, -(2**53)), (2**52, 3, 0)])
    def test_labels_beyond_float64_are_refused(self, tmp_path, stored, dtype, value, slope, inter):
        with pytest.raises(ReadError, match="beyond what float64 holds exactly, so that two could become one"):
            self.read(tmp_path / "a", np.array([0, value], stored), slope, inter, dtype)

    def test_labels_up_to_there_are_exact(self, tmp_path):
        values = np.array([2**53 - 2, 0, 2**52], "i8")
        np.testing.assert_array_equal(self.read(tmp_path / "a", values, 1, 1), values + 1)
        assert self.read(tmp_path / "a", values, 1, 1, "i8").dtype == np.int64

    def test_fractions_are_rounded_as_ever(self, tmp_path):
        values = np.array([2**60, 3], "i8")
        np.testing.assert_array_equal(self.read(tmp_path / "a", values, 0.5, 0), values * 0.5)

    def test_what_overflows_is_refused(self, tmp_path):
        with pytest.raises(ReadError, match="beyond what float64 holds"):
            self.read(tmp_path / "a", np.array([1e300, 1]), 1e30, 0)
        assert np.isinf(self.read(tmp_path / "a", np.array([np.inf, 1]), 1e30, 0)[0])
