"""Patches of a core per second, out of a cache and moved by an affine map, against MONAI and TorchIO; memory.

Two sets with masks: 96x96x96 out of 140x512x512, and 40x56x40 out of small volumes. All are standardized and kept as
the library does it (MONAI: PersistentDataset on the disk, CacheDataset in memory; TorchIO keeps nothing), a third of
the patches is around labels, each is rotated and scaled at random, image linearly and mask by the nearest voxel, and
one process makes them; its time is that of the processor, so that other programs count little. MONAI and TorchIO take 4
patches of a large volume and 1 of a small one; TorchIO moves whole volumes.
Then a step of training with patches from the cache against a step on one batch over and over.
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
from timing import print_machine, table

from faimed3d.augment import RandomAffine3D, ZScore3D, aug_transforms_3d
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.cache import preprocess
from faimed3d.losses import DiceCELoss3D
from faimed3d.models import UNet3D
from faimed3d.patches import PatchDataLoaders3D

BATCH = 2
DEGREES, SCALE = 15, 0.15
SETS = {  # name: shape, patch, cases, patches that peers take of a volume, patches a round of (ours, peers), rounds
    "96x96x96 of 140x512x512": ((140, 512, 512), (96, 96, 96), 2, 4, (16, 8), 3),
    "40x56x40 of 36x50x36": ((36, 50, 36), (40, 56, 40), 24, 1, (96, 48), 3),
}


def make_files(root, shape, count):
    """Table of .nii.gz volumes of whole numbers, with masks of a box and a ball."""
    z, y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    rows = []
    for number in range(count):
        random = np.random.default_rng(number)
        spot = ((x - 0.2) ** 2 + y**2 + z**2 < 0.05).astype(np.uint8)
        spot[:, 2:9, 2:9] = 2
        body = np.broadcast_to(x**2 + y**2 < 0.6, shape)
        voxels = np.where(body, 40 + 100 * (spot > 0) + random.normal(0, 15, shape), -1000).astype(np.int16)
        geometry = Geometry(shape, (0.8, 0.8, 1.5))
        row = {name: str(root / f"{name}{number}.nii.gz") for name in ("image", "mask")}
        TensorDicom3D(torch.from_numpy(voxels), geometry).save(row["image"])
        TensorMask3D(torch.from_numpy(spot), geometry).save(row["mask"])
        rows.append(row)
    return pd.DataFrame(rows)


def ours(cache, patch, length, workers=0, tfms=None):
    tfms = RandomAffine3D(degrees=DEGREES, scale=SCALE) if tfms is None else tfms
    dls = PatchDataLoaders3D.from_cache(
        cache, patch, BATCH, length=length, batch_tfms=tfms, num_workers=workers, device="cpu"
    )
    return dls.train


def monai_way(files, patch, a_volume, root, persistent):
    import monai.transforms as mt
    from monai.data import CacheDataset, DataLoader, PersistentDataset

    keys = ["image", "mask"]
    angle = np.radians(DEGREES)
    steps = mt.Compose(
        [
            mt.LoadImaged(keys),
            mt.EnsureChannelFirstd(keys),
            mt.NormalizeIntensityd("image"),
            mt.SpatialPadd(keys, patch[::-1]),
            mt.RandCropByPosNegLabeld(keys, "mask", patch[::-1], pos=1, neg=2, num_samples=a_volume),
            mt.RandAffined(
                keys, spatial_size=patch[::-1], prob=1, rotate_range=[angle] * 3, scale_range=[SCALE] * 3,
                mode=("bilinear", "nearest"), padding_mode="border",
            ),
        ]
    )  # fmt: skip
    items = files[keys].to_dict("records")
    if persistent:
        dataset = PersistentDataset(items, steps, root)
        for number in range(len(dataset)):
            dataset[number]
    else:
        dataset = CacheDataset(items, steps, progress=False)
    volumes = max(1, BATCH // a_volume)
    return DataLoader(dataset, batch_size=volumes, num_workers=0, shuffle=True), volumes * a_volume


def torchio_way(files, patch, a_volume):
    import torchio as tio

    size = [max(n, m) for n, m in zip(shape_of(files), patch, strict=True)]
    steps = [tio.ZNormalization(), tio.RandomAffine(scales=SCALE, degrees=DEGREES), tio.CropOrPad(size[::-1])]
    subjects = [
        tio.Subject(image=tio.ScalarImage(row.image), mask=tio.LabelMap(row.mask)) for row in files.itertuples()
    ]
    dataset = tio.SubjectsDataset(subjects, transform=tio.Compose(steps))
    sampler = tio.LabelSampler(patch[::-1], "mask", {0: 2, 1: 0.5, 2: 0.5})
    queue = tio.Queue(dataset, len(subjects) * a_volume, a_volume, sampler, num_workers=0)
    return tio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0), BATCH


def shape_of(files):
    return tuple(TensorDicom3D.create(files["image"][0]).shape)


def speed(loader, a_batch, wanted):
    """Patches per second of the processor, of at least as many as are wanted, in whole epochs."""
    count, start = 0, time.process_time()
    while count < wanted:
        count += sum(a_batch for _ in loader)
    return count / (time.process_time() - start)


def worker_memory(loader):
    """MB that a worker has for itself at most, and how much it grows from its second quarter to its third (Linux)."""
    held = []
    for _ in loader:
        now = 0
        for worker in multiprocessing.active_children():
            try:
                lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
            except (ProcessLookupError, FileNotFoundError):  # it has done its part
                continue
            now = max(now, *[int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")], 0)
        held.append(now)
    quarter = len(held) // 4
    early, late = held[quarter : 2 * quarter], held[2 * quarter : 3 * quarter]
    return max(held), statistics.median(late) - statistics.median(early)


def compare(root, name):
    shape, patch, cases, a_volume, (many, few), rounds = SETS[name]
    files = make_files(root, shape, cases)
    codes, steps = ["air", "ball", "box"], [ZScore3D()]
    cache = preprocess(files, root / "cache", codes=codes, item_tfms=steps, n_jobs=1, progress=False)
    loaders = {"ours": (ours(cache, patch, many), BATCH, many)}
    if importlib.util.find_spec("monai"):
        loaders["MONAI PersistentDataset"] = (*monai_way(files, patch, a_volume, root / "monai", True), few)
        loaders["MONAI CacheDataset"] = (*monai_way(files, patch, a_volume, None, False), few)
    if importlib.util.find_spec("torchio"):
        loaders["TorchIO Queue"] = (*torchio_way(files, patch, a_volume), few)
    found = {kind: [] for kind in loaders}
    for _ in range(rounds):
        for kind, (loader, a_batch, wanted) in loaders.items():
            found[kind].append(speed(loader, a_batch, wanted))
    rows = []
    for kind in list(loaders)[1:]:
        ratio = statistics.median(a / b for a, b in zip(found["ours"], found[kind], strict=True))
        rows.append(
            (f"{name}, {kind}", statistics.median(found["ours"]), statistics.median(found[kind]), ratio, rounds)
        )
    if not rows:
        rows.append((f"{name}, alone", statistics.median(found["ours"]), "", "", rounds))
    return rows, cache, patch


def step_ratio(cache, patch, steps=12):
    """ms of a training step with patches from the cache and with one batch over and over, in turn, and the ratio."""
    model = UNet3D(1, 3, widths=(16, 32, 64))
    optimizer, loss = torch.optim.SGD(model.parameters(), 1e-3), DiceCELoss3D()
    images, masks = ours(cache, patch, BATCH).one_batch()
    fixed = images.as_subclass(torch.Tensor), masks.as_subclass(torch.Tensor)

    def step(x, y):
        loss(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    step(*fixed)
    times = {"cache": [], "fixed": []}
    for _ in range(3):
        loader = ours(cache, patch, BATCH * (steps + 2), 2, aug_transforms_3d())
        start = None
        for number, (x, y) in enumerate(loader):
            if number == 2:  # the workers have started
                start = time.perf_counter()
            step(x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor))
        times["cache"].append((time.perf_counter() - start) / steps)
        start = time.perf_counter()
        for _ in range(steps):
            step(*fixed)
        times["fixed"].append((time.perf_counter() - start) / steps)
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    return *(statistics.median(each) * 1000 for each in times.values()), ratio


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print_machine()
    header = ("case", "ours patches/s of a core", "peer", "ratio ours/peer", "n")
    steps, memory = [], []
    for name in SETS:
        with tempfile.TemporaryDirectory() as root:
            found, cache, patch = compare(Path(root), name)
            table(found, header)
            many = 2000 if name.startswith("40x") else 200
            memory.append((name, many, *worker_memory(ours(cache, patch, many, 2))))
            if name.startswith("40x"):
                steps.append((name, *step_ratio(cache, patch), 3))
    table(memory, ("case", "patches", "MB a worker at most", "growth in MB"))
    table(steps, ("case", "ms a step, cache", "ms a step, one batch", "ratio", "n"))


if __name__ == "__main__":
    main()
