"""Files of the safetensors format: a header of JSON, then arrays, read through a map of the file.

The format is that of https://github.com/huggingface/safetensors: 8 bytes with the length of the header, little-endian;
the header; the arrays without a gap. Its metadata are texts. One of them, ``sha256``, is the checksum of the whole
header, computed while it stands at zeros itself; the header in turn holds a CRC32 of each array.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from isal import isal_zlib
from numpy.typing import NDArray

from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d.cache.prefetch import part_of, will_need
from faimed3d.errors import DamagedFile, TruncatedFile, UnsupportedImage

_DTYPES = {"U8": "u1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "I32": "<i4", "U32": "<u4", "F32": "<f4"}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_ANEW = "Delete it, and it is made anew when the cache is"
_NO_SUM = "0" * 64
_ALIGNMENT = 64  # bytes: of the first array
_LONGEST_HEADER = 100_000_000  # bytes, as of the reference implementation


@dataclass(frozen=True, eq=False)
class Mapped:
    """A file that is mapped into memory.

    Args:
        path: the file.
        checksum: of its header.
        metadata: texts by name, without the checksums.
        arrays: by name; read-only views of the map.
        sums: CRC32 of each array.
    """

    path: str
    checksum: str
    metadata: dict[str, str]
    arrays: dict[str, NDArray[Any]]
    sums: dict[str, int]

    def check(self, name: str) -> NDArray[Any]:
        """An array, after all its bytes were compared with their checksum.

        Raises:
            DamagedFile: they differ.
        """
        array = self.arrays[name]
        will_need([part_of(array)])
        if _crc(array) != self.sums[name]:
            raise DamagedFile(
                f"{self.path}: the array {name!r} differs from its checksum: the file is damaged. {_ANEW}"
            )
        return array


def write_arrays(path: str, metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays with their metadata and checksums, whole or not at all.

    Raises:
        OSError: the disk is full or read-only; nothing is left behind.
    """
    # large numbers first, so that each array begins where its numbers may
    ordered = {
        name: np.ascontiguousarray(array) for name, array in sorted(arrays.items(), key=lambda a: -a[1].itemsize)
    }
    sums = {name: _crc(array) for name, array in ordered.items()}
    header: dict[str, Any] = {"__metadata__": {**metadata, "crc32": json.dumps(sums), "sha256": _NO_SUM}}
    end = 0
    for name, array in ordered.items():
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end := end + array.nbytes],
        }
    text = json.dumps(header, ensure_ascii=True).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    text = _with_sum(text, hashlib.sha256(text).hexdigest())
    with unfinished_folder(path) as folder:
        made = os.path.join(folder, "case")
        with open(made, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for array in ordered.values():
                file.write(array.reshape(-1).view(np.uint8).data)
        replace_file(made, path)


def map_arrays(path: str, marker: str, version: str) -> Mapped:
    """Map a file into memory; its header is compared with its checksum, and its size with the header.

    Args:
        path: the file.
        marker: the name of a metadata text that a file of ours has.
        version: what that text must be.

    Raises:
        FileNotFoundError: no such file.
        TruncatedFile, DamagedFile: the file is damaged.
        UnsupportedImage: it is not of ours, or of another version.
    """
    data, text = _map(path)
    try:
        header = json.loads(text)
        metadata = dict(header.pop("__metadata__", {}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise DamagedFile(f"{path}: its header is no JSON object: the file is damaged, or of another kind") from None
    checksum = metadata.pop("sha256", None)
    if marker not in metadata or not isinstance(checksum, str) or len(checksum) != len(_NO_SUM):
        raise UnsupportedImage(
            f"{path}: is no case of a cache, for its header has no {marker!r} with a checksum; or it is damaged"
        )
    if hashlib.sha256(_with_sum(text, _NO_SUM, checksum)).hexdigest() != checksum:
        raise DamagedFile(f"{path}: its header differs from its checksum: the file is damaged. {_ANEW}")
    if metadata[marker] != version:
        raise UnsupportedImage(f"{path}: is of version {metadata[marker]} where {version} can be read. {_ANEW}")
    start = 8 + len(text)
    end = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if len(data) != end:
        fault = TruncatedFile if len(data) < end else DamagedFile
        raise fault(f"{path}: has {len(data)} bytes where its header says {end}: the file is damaged. {_ANEW}")
    sums = json.loads(metadata.pop("crc32"))
    arrays = {name: _view(data, start, entry) for name, entry in header.items()}
    return Mapped(path, checksum, metadata, arrays, sums)


def _map(path):
    """All bytes of a file as a read-only array on a map of it, and its header.

    The map is torch's, which needs no open file once it is made: each of Python's mmap keeps one, and systems allow a
    process about a thousand.
    """
    while True:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            text = _header_text(path, file, status.st_size)
            try:
                storage = torch.UntypedStorage.from_file(path, False, status.st_size)
                fault = ""
            except RuntimeError as error:
                fault = str(error)
            # torch opens the file itself, and by then another may have got its name
            same = os.path.samestat(status, os.stat(path))
        if same and fault:
            raise OSError(f"{path}: could not be mapped into memory: {fault}")
        if same:
            break
    array = torch.tensor([], dtype=torch.uint8).set_(storage, 0, (status.st_size,), (1,)).numpy()
    array.flags.writeable = False
    return array, text


def _header_text(path, file, size):
    """The header of a file; read and not mapped, for systems may read on far beyond a page of a map."""
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= _LONGEST_HEADER:
        raise DamagedFile(f"{path}: does not begin as a file of safetensors does: it is damaged, or of another kind")
    if length > size - 8:
        raise TruncatedFile(f"{path}: {size} bytes cannot hold a header of {length} bytes: the file was cut")
    return file.read(length)


def _view(data, start, entry):
    low, high = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    shape = tuple(entry["shape"])
    assert math.prod(shape) * dtype.itemsize == high - low  # the checksum of the header was right
    return data[start + low : start + high].view(dtype).reshape(shape)


def _with_sum(text, new, old=_NO_SUM):
    """The bytes of a header with another checksum in it."""
    return text.replace(f'"sha256": "{old}"'.encode(errors="replace"), f'"sha256": "{new}"'.encode(), 1)


def _crc(array):
    return isal_zlib.crc32(array.reshape(-1).view(np.uint8).data)
