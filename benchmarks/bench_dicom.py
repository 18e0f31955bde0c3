"""Reading DICOM folders against its peers, in one process and in turns: ``python benchmarks/bench_dicom.py``.

Every task runs once in each round, so that a busy machine slows all of them alike; medians over the rounds and the
ratio to the first row of each table are printed. The files are made with pydicom in a temporary folder and are in the
page cache. ``--slices``, ``--files`` and ``--rounds`` make it smaller.
"""

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from dicom_series import AXIAL, compressed, make_series, write

from faimed3d.dicom import dicom_inventory, header_table, read_dicom
from faimed3d.dicom.grouping.scan import scan_folder
from faimed3d.dicom.header import WANTED, read_header

SIDE = 512
PEAK = """
import re, sys
sys.path.insert(0, {here!r})
import bench_dicom

def peak():
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\\s+(\\d+)", file.read())[1])

before = peak()
{call}
print(peak() - before)
"""


def phantom(depth, side=SIDE):
    """int16 slices (D, H, W) of a noisy disc in air, so that they compress as a CT does."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    noise = np.random.default_rng(0).normal(0, 15, (side, side))
    body = x**2 + y**2 < 0.6
    slices = [np.where(body, 60 * np.cos(3 * x + k / 9) + noise, -1000) + 1024 for k in range(depth)]
    return np.array(slices).astype(np.int16)


def with_simpleitk(folder):
    """The plain series call of SimpleITK, cast to float32."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(sitk.Cast(reader.Execute(), sitk.sitkFloat32))


def with_simpleitk_and_headers(folder):
    """The same with the header of each slice."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    reader.MetaDataDictionaryArrayUpdateOn()
    reader.LoadPrivateTagsOn()
    image = sitk.Cast(reader.Execute(), sitk.sitkFloat32)
    count = image.GetSize()[2]
    headers = [{tag: reader.GetMetaData(k, tag) for tag in reader.GetMetaDataKeys(k)} for k in range(count)]
    return sitk.GetArrayFromImage(image), headers


def with_headers(folder):
    """Volume and header table of this library."""
    array, _, files = read_dicom(folder)
    return array, header_table(files)


def with_torchio(folder):
    import torchio

    return torchio.ScalarImage(folder).data


def with_monai(folder):
    import logging

    logging.getLogger("monai").setLevel(logging.ERROR)  # it tells at each call which decoders it has not
    from monai.transforms import LoadImage

    return LoadImage(image_only=True)(str(folder))  # with the itk package installed, through ITK


def the_floor(folder):
    """Read the pixel bytes of each file and scale them into the output: no header is looked at."""
    size = SIDE * SIDE * 2
    files = sorted(Path(folder).iterdir(), reverse=True)
    out = np.empty((len(files), SIDE, SIDE), dtype=np.float32)
    buffer = np.empty((SIDE, SIDE), dtype=np.int16)
    for k, path in enumerate(files):
        with open(path, "rb", buffering=0) as file:
            file.seek(path.stat().st_size - size)
            file.readinto(buffer)
        np.multiply(buffer, np.float32(1), out=out[k])
    return out


def with_pydicom(folder):
    """pydicom's plain loop over headers."""
    return [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(Path(folder).iterdir())]


def with_pydicom_tags(folder):
    """pydicom's loop with the wanted tags alone."""
    tags = sorted(WANTED)
    paths = sorted(Path(folder).iterdir())
    return [pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags) for path in paths]


def take_turns(title, tasks, rounds):
    """Run all tasks in turns and print medians; returns them by name."""
    times = {name: [] for name in tasks}
    for n in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if n:  # the first round warms the caches
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    print(f"\n{title}\n{'':44} {'median ms':>10} {'best ms':>9} {'speed-up':>9}")
    for name, median in medians.items():
        print(f"{name:44} {1e3 * median:10.1f} {1e3 * min(times[name]):9.1f} {first / median:9.2f}")
    return medians


def peak_mib(call):
    """Growth in MiB of the highest memory use of a fresh process by one call (Linux)."""
    code = PEAK.format(here=str(Path(__file__).parent), call=call)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=140)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        elements = {"orientation": AXIAL, "spacing": (0.8, 0.8, 1), "RescaleSlope": 1, "RescaleIntercept": -1024}
        series = make_series(phantom(options.slices), **elements)
        write(series, root / "plain")
        tasks = {
            "SimpleITK series, float32": lambda: with_simpleitk(root / "plain"),
            "faimed3d read_dicom": lambda: read_dicom(root / "plain"),
            "the floor: bytes to float32, no header": lambda: the_floor(root / "plain"),
        }
        peers = (("torchio", "TorchIO ScalarImage", with_torchio), ("monai", "MONAI LoadImage", with_monai))
        for package, name, task in peers:
            if importlib.util.find_spec(package):
                tasks[name] = lambda task=task: task(root / "plain")
        medians = take_turns(f"{options.slices} slices of {SIDE} x {SIDE} int16, uncompressed", tasks, options.rounds)
        ratio = medians["faimed3d read_dicom"] / medians["the floor: bytes to float32, no header"]
        print(f"read_dicom takes {ratio:.2f} times the floor")
        tasks = {
            "SimpleITK series and headers": lambda: with_simpleitk_and_headers(root / "plain"),
            "faimed3d read_dicom and header_table": lambda: with_headers(root / "plain"),
        }
        take_turns("the same with all headers", tasks, max(3, options.rounds // 2))
        output = options.slices * SIDE * SIDE * 4 / 2**20
        print(f"\npeak memory over an output of {output:.0f} MiB")
        for name, call in (
            ("SimpleITK", f"bench_dicom.with_simpleitk({str(root / 'plain')!r})"),
            ("faimed3d", f"bench_dicom.read_dicom({str(root / 'plain')!r})"),
        ):
            peak = peak_mib(call)
            print(f"{name:44} {peak:10.0f} MiB {peak / output:9.2f} x")
        for kind in ("jpeg2000", "jpeg", "rle"):
            write([compressed(dataset, kind) for dataset in series[:16]], root / kind)
            tasks = {
                "SimpleITK series, float32": lambda kind=kind: with_simpleitk(root / kind),
                "faimed3d read_dicom": lambda kind=kind: read_dicom(root / kind),
            }
            take_turns(f"16 slices, {kind}", tasks, max(3, options.rounds // 2))
        small = make_series(phantom(options.files, 8), **elements)
        for k, dataset in enumerate(small):
            dataset.SeriesInstanceUID = f"1.2.3.{k // 50}"
        write(small, root / "many")
        paths = sorted((root / "many").iterdir())
        tasks = {
            "pydicom, plain loop": lambda: with_pydicom(root / "many"),
            "pydicom, wanted tags alone": lambda: with_pydicom_tags(root / "many"),
            "faimed3d headers": lambda: [read_header(path, WANTED) for path in paths],
            "faimed3d scan_folder": lambda: scan_folder(root / "many"),
            "faimed3d dicom_inventory": lambda: dicom_inventory(root / "many"),
        }
        medians = take_turns(f"headers of {options.files} files", tasks, 3)
        for name, median in medians.items():
            print(f"{name:44} {options.files / median:10.0f} files/s")


if __name__ == "__main__":
    main()
