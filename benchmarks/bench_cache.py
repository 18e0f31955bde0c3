"""Patches out of a case of the cache, against a slice of an array in memory, npy, blosc2 and zarr; sizes on the disk.

A patch of image and mask is read out of 140x512x512 voxels, as float32 and uint8. The files lie in the page cache, and
times are those of the processor, so that other programs count little. Before each patch of the last table nothing of
the file is in memory; it counts what the disk reads (Linux). Peers hold float32, as MONAI and nnU-Net store images:
blosc2 as nnU-Net packs it (zstd 8), zarr as it does by default.
"""

import importlib.util
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from timing import print_machine, table

from faimed3d.cache import CaseFile, write_case
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (140, 512, 512)
SIZES = ((96, 96, 96), (40, 56, 40))
ROUNDS = 21
BRICKS = 32


def phantom(kind):
    """Image (1, D, H, W) and mask (D, H, W): a noisy body in air. Kinds: 'whole', 'z-score' of these, 'resampled'."""
    random = np.random.default_rng(0)
    z, y, x = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    body = np.broadcast_to(x**2 + y**2 < 0.6, SHAPE)
    spot = (x - 0.2) ** 2 + y**2 + z**2 < 0.1
    image = np.where(body, random.normal(0, 15, SHAPE) + 40 + 100 * spot, -1000).astype(np.float32)
    if kind != "resampled":
        image = image.round() + 0.0  # no -0.0
    if kind == "z-score":
        image = (image - image.mean()) / image.std()
    return image[None], spot.astype(np.uint8)


def boxes(size):
    """Corners of patches, the same for all."""
    random = np.random.default_rng(1)
    return [tuple(int(random.integers(0, n - m + 1)) for n, m in zip(SHAPE, size, strict=True)) for _ in range(ROUNDS)]


def slices(corner, size):
    return tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))


class Ours:
    def __init__(self, path, image, mask, bricks):
        lying = TensorDicom3D(torch.from_numpy(image), {"spacing": (0.8, 0.8, 2.5)})
        labels = TensorMask3D(torch.from_numpy(mask), like=lying)
        write_case(path, lying, labels, key="benchmark", recipe={}, bricks=bricks)
        self.path, self.case = path, CaseFile(path)

    def read(self, corner, size):
        return self.case.read(corner, size)


class Arrays:
    """Whatever is sliced as an array is."""

    def __init__(self, image, mask):
        self.image, self.mask = image, mask

    def read(self, corner, size):
        box = slices(corner, size)
        return self._new(self.image[(slice(None), *box)]), self._new(self.mask[box])

    @staticmethod
    def _new(array):
        return np.ascontiguousarray(array)


def as_npy(folder, image, mask):
    folder.mkdir()
    np.save(folder / "image.npy", image)
    np.save(folder / "mask.npy", mask)
    return Arrays(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "mask")))


def as_blosc2(folder, image, mask):
    import blosc2

    folder.mkdir()
    packing = {"codec": blosc2.Codec.ZSTD, "clevel": 8, "nthreads": 1}
    for name, array in (("image", image), ("mask", mask)):
        block = (1,) * (array.ndim - 3) + (32, 32, 32)
        chunk = (1,) * (array.ndim - 3) + (96, 96, 96)
        blosc2.asarray(array, urlpath=str(folder / f"{name}.b2nd"), chunks=chunk, blocks=block, cparams=packing)
    return Arrays(
        *(
            blosc2.open(str(folder / f"{name}.b2nd"), mode="r", dparams={"nthreads": 1}, mmap_mode="r")
            for name in ("image", "mask")
        )
    )


def as_zarr(folder, image, mask):
    import zarr

    folder.mkdir()
    found = []
    for name, array in (("image", image), ("mask", mask)):
        chunk = (1,) * (array.ndim - 3) + (64, 64, 64)
        made = zarr.create_array(str(folder / name), shape=array.shape, chunks=chunk, dtype=array.dtype)
        made[:] = array
        found.append(zarr.open_array(str(folder / name), mode="r"))
    return Arrays(*found)


def as_tensors(folder, image, mask):
    """What MONAI's PersistentDataset keeps; it has no patches."""
    folder.mkdir()
    torch.save({"image": torch.from_numpy(image), "mask": torch.from_numpy(mask)}, folder / "case.pt")


def size_of(path):
    """MB of a file or folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 2**20


def times(ways, size):
    """Median of ms for each way, and of the ratio to the first, all in turn for each patch."""
    found = {name: [] for name in ways}
    for corner in [boxes(size)[0], *boxes(size)]:
        for name, way in ways.items():
            start = time.process_time()
            way.read(corner, size)
            found[name].append((time.process_time() - start) * 1000)
    return {name: durations[1:] for name, durations in found.items()}


def disk_bytes():
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def cold(path, size, patches=7):
    """Bytes that the disk reads for one of a patch as it is stored, and ms, with nothing of the file in memory."""
    shares, durations = [], []
    for corner in boxes(size)[:patches]:
        number = os.open(path, os.O_RDONLY)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)
        case = CaseFile(path)
        before, start = disk_bytes(), time.perf_counter()
        case.read(corner, size)
        durations.append((time.perf_counter() - start) * 1000)
        stored = case.stored(corner, size)
        shares.append((disk_bytes() - before) / (stored.image.nbytes + stored.mask.nbytes))
        del case, stored
    return statistics.median(shares), statistics.median(durations), patches


def main():
    print_machine()
    torch.set_num_threads(1)
    peers = {"npy, mapped": as_npy}
    peers |= {name: make for name, make in (("blosc2", as_blosc2), ("zarr", as_zarr)) if importlib.util.find_spec(name)}
    speeds, sizes, reads = [], [], []
    for kind in ("whole", "z-score", "resampled"):
        image, mask = phantom(kind)
        with tempfile.TemporaryDirectory() as root:
            ours = {
                "rows": Ours(f"{root}/rows", image, mask, None),
                "bricks": Ours(f"{root}/bricks", image, mask, BRICKS),
            }
            ways = {"slice in memory": Arrays(image, mask)}
            ways |= {name: make(Path(root) / name, image, mask) for name, make in peers.items()}
            as_tensors(Path(root) / "MONAI", image, mask)
            for size in SIZES:
                found = times(ours | ways, size)
                for name in ways:
                    medians = [statistics.median(found[way]) for way in (*ours, name)]
                    ratios = [
                        statistics.median(b / a for a, b in zip(found[layout], found[name], strict=True))
                        for layout in ours
                    ]
                    case = f"{kind}, {'x'.join(map(str, size))}, {name}"
                    speeds.append((case, *(f"{value:.2f}" for value in (*medians, *ratios)), ROUNDS))
            stored = ours["rows"].case.stored((0, 0, 0), (1, 1, 1))
            held = f"{stored.image.dtype}, {stored.decoding.kind}"
            del stored  # what is mapped stays in memory
            columns = (size_of(Path(root) / name) for name in ("rows", *peers, "MONAI"))
            sizes.append((kind, held, *columns))
            if hasattr(os, "posix_fadvise"):
                for size in SIZES:
                    for layout, way in ours.items():
                        way.case = None
                        reads.append((f"{kind}, {'x'.join(map(str, size))}, {layout}", *cold(way.path, size)))
    table(speeds, ("case", "rows CPU ms", "bricks CPU ms", "peer CPU ms", "ratio peer/rows", "ratio peer/bricks", "n"))
    print("MB of a case with its mask:\n")
    table(sizes, ("case", "ours holds", "ours", *peers, "MONAI PersistentDataset"))
    if reads:
        print("Nothing in memory before each patch:\n")
        table(reads, ("case", "bytes read for one of the patch", "ms", "n"))


if __name__ == "__main__":
    main()
