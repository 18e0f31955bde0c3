"""Files of a cache that are damaged, of another kind, cut, replaced, or could not be written: never wrong voxels."""

import errno
import json
import pickle
import struct
import threading

import numpy as np
import pytest
import torch
from cache_cases import make_case
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from faimed3d.cache import CaseFile, tensor_file, write_case
from faimed3d.errors import ChangedFile, DamagedFile, ReadError, TruncatedFile, UnsupportedImage


def case_bytes(folder, bricks=None, kind="many steps"):
    """A file with all kinds of arrays; (path, its bytes, image, mask)."""
    image, mask = make_case((1, 8, 14, 20), kind=kind)
    write_case(folder / "a", image, mask, key="3f9a", recipe={"source": "a.nii"}, bricks=bricks)
    return folder / "a", (folder / "a").read_bytes(), image, mask


@pytest.fixture(scope="module", params=[None, 5])
def whole(request, tmp_path_factory):
    return case_bytes(tmp_path_factory.mktemp("damage"), request.param)


class TestDamaged:
    @settings(max_examples=150)
    @given(data=st.data())
    def test_changed_cut_and_longer_files_are_refused(self, whole, data):
        path, content, *_ = whole
        changed = bytearray(content)
        way = data.draw(st.sampled_from(["flip", "flip in the header", "cut", "lengthen", "zeros", "swap"]))
        at = data.draw(st.integers(0, len(content) - 1))
        if way == "flip":
            changed[at] ^= data.draw(st.integers(1, 255))
        elif way == "flip in the header":
            changed[at % 2000] ^= 1 << data.draw(st.integers(0, 7))
        elif way == "cut":
            del changed[at:]
        elif way == "lengthen":
            changed += bytes(at + 1)
        elif way == "zeros":
            changed[at : at + 512] = bytes(len(changed[at : at + 512]))
        else:
            changed = changed[at:] + changed[:at]
        path.write_bytes(changed)
        if changed == content:
            return
        with pytest.raises(ReadError, match=str(path)):
            CaseFile(path).whole()

    @pytest.mark.parametrize(
        ("length", "error", "text"),
        [
            (0, DamagedFile, "does not begin as a file of safetensors does"),
            (7, DamagedFile, "does not begin as a file of safetensors does"),
            (8, TruncatedFile, "8 bytes cannot hold a header of"),
            (300, TruncatedFile, "300 bytes cannot hold a header of"),
            (-1, TruncatedFile, "bytes where its header says"),
        ],
    )
    def test_where_it_was_cut(self, whole, length, error, text):
        path, content, *_ = whole
        path.write_bytes(content[:length])
        with pytest.raises(error, match=text):
            CaseFile(path)

    @pytest.mark.parametrize("part", ["table", "positions"])
    def test_small_parts_are_checked_before_their_first_use(self, whole, part):
        path, content, *_ = whole
        length = struct.unpack("<Q", content[:8])[0]
        at = 8 + length + json.loads(content[8 : 8 + length])[part]["data_offsets"][0]
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        case = CaseFile(path)
        with pytest.raises(DamagedFile, match=f"the array '{part}' differs from its checksum"):
            case.read() if part == "table" else case.positions(1)

    def test_a_number_that_the_table_lacks_is_told(self, whole):
        path, content, *_ = whole
        length = struct.unpack("<Q", content[:8])[0]
        at = 8 + length + json.loads(content[8 : 8 + length])["image"]["data_offsets"][0]
        path.write_bytes(content[:at] + b"\xff\xff" + content[at + 2 :])
        with pytest.raises(DamagedFile, match="a: the number 65535 is stored, of a table of"):
            CaseFile(path).read((0, 0, 0), (1, 1, 1))

    def test_voxels_are_checked_when_asked_for(self, whole):
        path, content, *_ = whole
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        for read in (CaseFile(path).check, CaseFile(path).whole):
            with pytest.raises(DamagedFile, match="the array 'mask' differs from its checksum"):
                read()


class TestOtherKinds:
    @pytest.mark.parametrize(
        "header",
        [
            b"{}",
            b"[]",
            b"null",
            b'"text"',
            b"{" * 5000,
            b"\xff\xfe",
            b'{"__metadata__": 3}',
            b'{"__metadata__": ["a"]}',
        ],
    )
    def test_headers_of_no_case(self, tmp_path, header):
        (tmp_path / "a").write_bytes(struct.pack("<Q", len(header)) + header)
        with pytest.raises((DamagedFile, UnsupportedImage), match="a: "):
            CaseFile(tmp_path / "a")

    def test_safetensors_of_others(self, tmp_path):
        save_file({"image": np.zeros((1, 2, 3, 4), np.float32)}, tmp_path / "a", {"format": "pt"})
        with pytest.raises(UnsupportedImage, match="is no case of a cache, for its header has no 'faimed3d_case'"):
            CaseFile(tmp_path / "a")

    def test_another_schema(self, tmp_path, monkeypatch):
        monkeypatch.setattr("faimed3d.cache.case_file.SCHEMA", "2")
        case_bytes(tmp_path)
        monkeypatch.undo()
        with pytest.raises(UnsupportedImage, match="is of version 2 where 1 can be read"):
            CaseFile(tmp_path / "a")

    def test_what_is_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nothing"):
            CaseFile(tmp_path / "nothing")
        with pytest.raises(OSError, match=str(tmp_path)):
            CaseFile(tmp_path)


class _FullDisk:
    """A file on a disk that has room for a few bytes more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.write(bytes(content)[: self.room])
        self.room -= len(bytes(content))
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


class TestFullDisk:
    @pytest.mark.parametrize("room", [0, 1500, 5000])
    @pytest.mark.parametrize("there", [True, False])
    def test_says_so_and_leaves_what_was_there(self, tmp_path, monkeypatch, room, there):
        path, content, *_ = case_bytes(tmp_path)
        if not there:
            path.unlink()
        opened = open
        monkeypatch.setattr(tensor_file, "open", lambda name, mode: _FullDisk(opened(name, mode), room), raising=False)
        image, mask = make_case((1, 8, 14, 20), seed=1)
        with pytest.raises(OSError, match=r"could not be written: No space left on device: '.*/a'"):
            write_case(path, image, mask, key="new", recipe={})
        assert [name.name for name in tmp_path.iterdir()] == ["a"] * there
        assert not there or path.read_bytes() == content

    def test_a_folder_that_is_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="missing/a"):
            write_case(tmp_path / "missing" / "a", *make_case(), key="k", recipe={})


class TestReplaced:
    def test_what_is_open_stays_and_others_are_told(self, tmp_path):
        path, _, image, mask = case_bytes(tmp_path)
        case = CaseFile(path)
        sent = pickle.dumps(case)
        other, _ = make_case((1, 8, 14, 20), seed=1)
        write_case(path, other, mask, key="other", recipe={})
        assert case.key == "3f9a"
        assert torch.equal(case.whole()[0], image)
        with pytest.raises(ChangedFile, match="was replaced since it was opened, by a case made anew"):
            _ = pickle.loads(sent).shape
        assert torch.equal(CaseFile(path).whole()[0], other)

    def test_the_same_case_written_again_is_the_same(self, tmp_path):
        path, _, image, mask = case_bytes(tmp_path)
        sent = pickle.dumps(CaseFile(path))
        write_case(path, image, mask, key="3f9a", recipe={"source": "a.nii"})
        assert torch.equal(pickle.loads(sent).whole()[0], image)

    def test_readers_see_one_case_or_the_other(self, tmp_path):
        """Every reader gets the key and the voxels of one writing, while the file is replaced all the time."""
        images = [make_case((1, 3, 4, 5 + n), seed=n) for n in range(3)]
        path = tmp_path / "a"
        write_case(path, *images[0], key="0", recipe={})
        stop, wrong, seen = threading.Event(), [], set()

        def read():
            while not stop.is_set():
                case = CaseFile(path)
                image, mask = images[int(case.key)]
                seen.add(case.key)
                if not (torch.equal(case.whole()[0], image) and np.array_equal(case.read()[1], mask)):
                    wrong.append(case.key)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for n in range(60):
            write_case(path, *images[n % 3], key=str(n % 3), recipe={}, bricks=None if n % 2 else 2)
        stop.set()
        for reader in readers:
            reader.join()
        assert wrong == []
        assert len(seen) > 1
