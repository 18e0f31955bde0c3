"""Whether a file is still the one that was looked at."""

import os

from faimed3d._file_signature import file_signature


def signature(path):
    return file_signature(os.stat(path))


def test_reading_a_file_leaves_it(tmp_path):
    (tmp_path / "a").write_text("old")
    before = signature(tmp_path / "a")
    (tmp_path / "a").read_text()
    assert signature(tmp_path / "a") == before


def test_a_file_of_the_same_size_and_age_put_in_its_place_is_another(tmp_path):
    (tmp_path / "a").write_text("old")
    before = os.stat(tmp_path / "a")
    (tmp_path / "b").write_text("new")
    os.utime(tmp_path / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(tmp_path / "b", tmp_path / "a")
    assert signature(tmp_path / "a") != file_signature(before)


def test_more_bytes_are_another_content(tmp_path):
    (tmp_path / "a").write_text("old")
    before = signature(tmp_path / "a")
    (tmp_path / "a").write_text("older")
    assert signature(tmp_path / "a") != before
