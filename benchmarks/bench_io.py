"""Time and memory of reading a volume to a float32 tensor, against SimpleITK and nibabel in one process.

Run ``python benchmarks/bench_io.py``; it writes synthetic files to a temporary folder (500 MB) and prints a table of
medians, ratios and peak memory (the latter of one fresh process a cell, above the imports). nibabel maps a float32 .nii
into memory and reads nothing: that cell is no reading time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PEAK = """
import resource, sys, threading
sys.path.insert(0, {here!r})
import bench_io
read = bench_io.READERS[{reader!r}]
read({warm!r})
def status(key):
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(key))
open('/proc/self/clear_refs', 'w').write('5')
before = status('VmRSS')
tensor = read({path!r})
print((status('VmHWM') - before) / 1024)
"""


def ours(path):
    """faimed3d: every check included."""
    import torch

    from faimed3d.io import read

    return torch.from_numpy(read(path)[0])


def simpleitk(path):
    """The plain SimpleITK way."""
    import SimpleITK as sitk
    import torch

    return torch.from_numpy(sitk.GetArrayFromImage(sitk.ReadImage(path, sitk.sitkFloat32)))


def nibabel(path):
    """The plain nibabel way, axes reversed to (D,H,W)."""
    import nibabel as nib
    import torch

    return torch.from_numpy(np.ascontiguousarray(nib.load(path).get_fdata(dtype=np.float32).T))


READERS = {"faimed3d": ours, "SimpleITK": simpleitk, "nibabel": nibabel}


def make_files(folder, sides):
    """Write a CT-like volume (smooth tissue, noise of a few HU, air outside) in the formats under test."""
    import SimpleITK as sitk

    random = np.random.default_rng(0)
    grid = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in sides), indexing="ij", sparse=True)
    radius = sum(axis**2 for axis in grid)
    volume = (1000 * np.sin(3 * radius) + random.normal(0, 8, sides)).astype(np.int16)
    volume[radius > 1.2] = -1024
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.7, 0.7, 2.0))
    files = {}
    for name, source, suffix in (
        ("int16 .nii", image, ".nii"),
        ("int16 .nii.gz", image, "-z.nii.gz"),  # a name of its own: ITK would open volume.nii beside volume.nii.gz
        ("float32 .nii", sitk.Cast(image, sitk.sitkFloat32), "-f.nii"),
        ("uint8 .nii.gz", sitk.Cast(image > 0, sitk.sitkUInt8), "-m.nii.gz"),
        ("int16 .nrrd (gzip)", image, ".nrrd"),
        ("int16 .mha (raw)", image, ".mha"),
    ):
        files[name] = str(folder / f"volume{suffix}")
        sitk.WriteImage(source, files[name], suffix == ".nrrd")
    raw = bytearray(Path(files["int16 .nii"]).read_bytes())
    raw[112:120] = np.array([0.25, -3.5], "<f4").tobytes()
    files["int16 .nii, scaled"] = str(folder / "scaled.nii")
    Path(files["int16 .nii, scaled"]).write_bytes(raw)
    small = str(folder / "small.nii")
    sitk.WriteImage(image[:8, :8, :8], small)
    return files, small


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sides", type=int, nargs=3, default=(140, 512, 512))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files, small = make_files(Path(folder), tuple(options.sides))
        print(f"{'x'.join(map(str, options.sides))} voxels; seconds: median of {options.repeats}, read in turns\n")
        print(
            "| file | MB | faimed3d s | SimpleITK s | nibabel s | vs SimpleITK | vs nibabel | peak MB: ours, "
            "SimpleITK |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for name, path in files.items():
            readers = [r for r in READERS if r != "nibabel" or ".nii" in path]
            for reader in readers:
                READERS[reader](path)
            times = {reader: [] for reader in readers}
            for _ in range(options.repeats):
                for reader in readers:
                    start = time.perf_counter()
                    READERS[reader](path)
                    times[reader].append(time.perf_counter() - start)
            median = {reader: statistics.median(values) for reader, values in times.items()}
            peak = []
            for reader in ("faimed3d", "SimpleITK"):
                code = PEAK.format(here=str(Path(__file__).parent), reader=reader, path=path, warm=small)
                result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
                peak.append(float(result.stdout))
            cells = [f"{median[r]:.3f}" if r in median else "" for r in READERS]
            cells += [f"{median[r] / median['faimed3d']:.2f}x" if r in median else "" for r in ("SimpleITK", "nibabel")]
            size = Path(path).stat().st_size / 1e6
            print(f"| {name} | {size:.0f} | {' | '.join(cells)} | {peak[0]:.0f}, {peak[1]:.0f} |")


if __name__ == "__main__":
    main()
