"""Items per second out of a DataLoader, from files to batches, against TorchIO and MONAI doing the same work.

Volumes of 60x224x224 with masks are read, resampled to 1.5x1.5x3 mm, cropped to 56x128x128 and put together in
batches of 2, by the main process or by two workers; the start of the workers is part of it. The files lie in a
temporary folder and are in the page cache.
"""

import importlib.util
import logging
import multiprocessing
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench_dicom import AXIAL, make_series, write
from timing import print_machine, table

from faimed3d.augment import PadOrCrop3D, Resample3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageDataLoaders3D, SegmentationDataLoaders3D

COUNT, BATCH, ROUNDS = 13, 2, 5
SHAPE, SPACING = (60, 224, 224), (1.0, 1.0, 2.5)  # D, H, W; x, y, z mm
NEW_SPACING, SIZE = (1.5, 1.5, 3.0), (56, 128, 128)


def phantom(number):
    """int16 voxels (D, H, W) of a noisy body in air, and a mask of what is bright in it."""
    random = np.random.default_rng(number)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    body = x**2 + y**2 < 0.6
    spot = (x - 0.2) ** 2 + y**2 + z**2 < 0.1
    voxels = np.where(body, 40 + 100 * spot + random.normal(0, 15, SHAPE), -1000)
    return voxels.astype(np.int16), spot.astype(np.uint8)


def make_files(root):
    """Table of volumes: .nii.gz, their masks, and the same volumes as DICOM folders."""
    rows = []
    for number in range(COUNT):
        voxels, mask = phantom(number)
        geometry = Geometry(SHAPE, SPACING, (number, 0, 0))
        row = {name: str(root / f"{name}{number}.nii.gz") for name in ("image", "mask")}
        TensorDicom3D(torch.from_numpy(voxels), geometry).save(row["image"])
        TensorMask3D(torch.from_numpy(mask), geometry).save(row["mask"])
        row["dicom"] = str(root / f"dicom{number}")
        write(make_series(voxels, orientation=AXIAL, spacing=SPACING), Path(row["dicom"]))
        rows.append({**row, "label": number % 2, "valid": number == COUNT - 1})
    return pd.DataFrame(rows)


def faimed3d_way(files, workers, kind):
    given = {
        "item_tfms": [Resample3D(NEW_SPACING), PadOrCrop3D(SIZE)],
        **{"valid_col": "valid", "bs": BATCH, "num_workers": workers, "shuffle": False, "device": "cpu"},
    }
    if kind == "mask":
        dls = SegmentationDataLoaders3D.from_df(files, fn_col="image", label_col="mask", codes=["air", "spot"], **given)
    else:
        dls = ImageDataLoaders3D.from_df(files, fn_col=kind, label_col="label", **given)
    return dls.train.new(drop_last=True)


def torchio_way(files, workers, kind):
    import torchio as tio

    transform = tio.Compose([tio.Resample(NEW_SPACING), tio.CropOrPad(SIZE[::-1])])
    subjects = []
    for _, row in files[~files["valid"]].iterrows():
        parts = {"image": tio.ScalarImage(row["dicom" if kind == "dicom" else "image"]), "label": row["label"]}
        if kind == "mask":
            parts["mask"] = tio.LabelMap(row["mask"])
        subjects.append(tio.Subject(**parts))
    dataset = tio.SubjectsDataset(subjects, transform=transform)
    return tio.SubjectsLoader(dataset, batch_size=BATCH, num_workers=workers, drop_last=True)


def monai_way(files, workers, kind):
    import monai.transforms as mt
    from monai.data import DataLoader, Dataset

    keys, modes = (["image", "mask"], ("bilinear", "nearest")) if kind == "mask" else (["image"], ("bilinear",))
    transform = mt.Compose(
        [
            mt.LoadImaged(keys),
            mt.EnsureChannelFirstd(keys),
            mt.Spacingd(keys, pixdim=NEW_SPACING, mode=modes),
            mt.ResizeWithPadOrCropd(keys, SIZE[::-1]),
        ]
    )
    column = "dicom" if kind == "dicom" else "image"
    chosen = files[~files["valid"]]
    items = [
        {"image": row[column], "label": row["label"], **({"mask": row["mask"]} if kind == "mask" else {})}
        for _, row in chosen.iterrows()
    ]
    return DataLoader(Dataset(items, transform), batch_size=BATCH, num_workers=workers, drop_last=True)


def epoch(loader):
    """Items per second."""
    count, start = 0, time.perf_counter()
    for _ in loader:
        count += BATCH
    return count / (time.perf_counter() - start)


def worker_memory(loader):
    """MB that a worker has for itself at most (Linux)."""
    most = 0
    for _ in loader:
        for worker in multiprocessing.active_children():
            try:
                lines = Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines()
            except ProcessLookupError:  # it has done its part
                continue
            private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
            most = max(most, private / 1024)
    return most


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # MONAI tells at each file which readers it has not
    print_machine()
    peers = {"TorchIO": ("torchio", torchio_way), "MONAI": ("monai", monai_way)}
    peers = {name: make for name, (package, make) in peers.items() if importlib.util.find_spec(package)}
    rows = []
    with tempfile.TemporaryDirectory() as root:
        files = make_files(Path(root))
        for kind, text in (("mask", ".nii.gz and mask"), ("image", ".nii.gz"), ("dicom", "DICOM folder")):
            for workers in (0, 2):
                loaders = {name: make(files, workers, kind) for name, make in peers.items()}
                loaders = {"ours": faimed3d_way(files, workers, kind), **loaders}
                found = {name: [] for name in loaders}
                for number in range(ROUNDS + 1):
                    for name, loader in loaders.items():
                        speed = epoch(loader)
                        found[name] += [speed] if number else []
                memory = {name: worker_memory(loader) if workers else "" for name, loader in loaders.items()}
                for name in peers:
                    ratio = statistics.median(a / b for a, b in zip(found["ours"], found[name], strict=True))
                    speeds = statistics.median(found["ours"]), statistics.median(found[name])
                    case = f"{text}, {workers} workers, {name}"
                    rows.append((case, *speeds, ratio, memory["ours"], memory[name], ROUNDS))
    table(
        rows,
        ("case", "ours items/s", "peer items/s", "ratio ours/peer", "ours MB a worker", "peer MB a worker", "n"),
    )


if __name__ == "__main__":
    main()
