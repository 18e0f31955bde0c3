"""Volumes found on the disk."""

import pytest
from dicom_series import write_series

from faimed3d.data import get_volumetric_files


class TestGetVolumetricFiles:
    @pytest.fixture
    def tree(self, tmp_path):
        for name in ("b.nii.gz", "a.NII", "sub/c.nrrd", "sub/pair.hdr", "sub/pair.img", "notes.txt", ".hidden/d.nii"):
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_bytes(b"")
        write_series(tmp_path / "scan" / "dcm")
        for k, file in enumerate(sorted((tmp_path / "scan" / "dcm").iterdir())):
            bare = tmp_path / "other" / "bare" / f"{k:08d}"
            bare.parent.mkdir(exist_ok=True, parents=True)
            bare.write_bytes(file.read_bytes())
        return tmp_path

    def names(self, tree, **kwargs):
        return [file.relative_to(tree).as_posix() for file in get_volumetric_files(tree, **kwargs)]

    def test_every_volume_once(self, tree):
        assert self.names(tree) == ["a.NII", "b.nii.gz", "other/bare", "scan/dcm", "sub/c.nrrd", "sub/pair.hdr"]

    def test_only_here(self, tree):
        assert self.names(tree, recurse=False) == ["a.NII", "b.nii.gz"]

    def test_only_some_folders(self, tree):
        assert self.names(tree, folders=["sub", "scan"]) == ["scan/dcm", "sub/c.nrrd", "sub/pair.hdr"]

    def test_links_in_a_circle_end(self, tree):
        (tree / "sub" / "back").symlink_to(tree)
        assert len(self.names(tree)) == 6

    def test_no_such_folder(self, tree):
        with pytest.raises(FileNotFoundError, match="no such folder"):
            get_volumetric_files(tree / "none")
