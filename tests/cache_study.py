"""A table of small scans with masks on the disk, what their cases should be, and transforms of a user's own."""

import os
import signal
import time

import numpy as np
import pandas as pd
import torch
from fasttransform import ItemTransform, Transform

from faimed3d.augment import CropForeground3D, IntensityTransform3D, Resample3D, ZScore3D
from faimed3d.cache import CaseFile, preprocess
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.geometry import Geometry
from faimed3d.io import write
from faimed3d.volume import TensorDicom3D, TensorMask3D

OBLIQUE = (0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1)
FACTOR = 2  # a constant that a function uses
STEPS = (Resample3D((1.5, 2, 3)), CropForeground3D(), ZScore3D("minimum"))


class Times(IntensityTransform3D):
    """A transform of a user's own: values times a factor."""

    split_idx = None

    def __init__(self, factor=2.0, p=1.0):
        super().__init__(p)
        self.factor = factor

    def apply(self, x):
        return x * self.factor


class Hidden(Transform):
    """It keeps its argument under another name."""

    def __init__(self, factor):
        super().__init__()
        self.hidden = factor


class Callable:
    """An object that is a function."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x

    def method(self, x):
        return x


def same(x: TensorDicom3D | TensorMask3D):
    return x


def doubled(x: torch.Tensor):
    return x * FACTOR


def noisy(x: TensorDicom3D | TensorMask3D):
    return x if x.dtype == torch.uint8 else x + torch.rand(())


def noisy_by_itself(x: TensorDicom3D | TensorMask3D):
    return x if x.dtype == torch.uint8 else x + np.random.default_rng().random()


def draws_for_nothing(x: TensorDicom3D | TensorMask3D):
    torch.rand(())
    return x


def dies(x: TensorDicom3D | TensorMask3D):
    os._exit(9)


def raises(x: TensorDicom3D | TensorMask3D):
    raise KeyError("nothing")


class Remembers(ItemTransform):
    """It keeps on itself what it needs of an item, as random transforms and crops do."""

    def encodes(self, item):
        self.least = item[0].min()
        time.sleep(0.02)  # another thread goes on
        return [item[0] - self.least, *item[1:]]


class TwoImages(ItemTransform):
    """It makes an image of the mask."""

    def encodes(self, item):
        return [item[0], item[0]]


two_images = TwoImages()


def scan(seed, shape=(4, 5, 6)):
    rng = np.random.default_rng(seed)
    geometry = Geometry(shape, spacing=(1, 2, 3), origin=(-7, 11, 5 + seed), direction=OBLIQUE)
    image = rng.integers(-1000, 2000, shape).astype(np.int16)
    return image, (rng.random(shape) > 0.6).astype(np.uint8), geometry


def make_study(folder, count=3, shape=(4, 5, 6)):
    """Write scans and masks; returns their table, whose index is no row number."""
    rows = []
    for k in range(count):
        image, mask, geometry = scan(k, shape)
        write(folder / f"image{k}.nii", image, geometry)
        write(folder / f"mask{k}.nii", mask, geometry)
        rows.append({"image": str(folder / f"image{k}.nii"), "mask": str(folder / f"mask{k}.nii"), "kind": "ab"[k % 2]})
    return pd.DataFrame(rows, index=[f"case {k}" for k in range(count)])


def in_order(table):
    return list(range(len(table))), []


def expected(table, steps=STEPS, **kwargs):
    """The items that the ordinary loaders make of a table, without a cache."""
    dls = SegmentationDataLoaders3D.from_df(
        table, fn_col="image", label_col="mask", codes=["none", "lesion"], splitter=in_order, item_tfms=list(steps),
        bs=1, num_workers=0, device="cpu", **kwargs,
    )  # fmt: skip
    return [dls.train.after_item(dls.train_ds[k]) for k in range(len(table))]


def cached(table, folder, steps=STEPS, **kwargs):
    arguments = {"codes": ["none", "lesion"], "item_tfms": list(steps), "n_jobs": 1, "progress": False}
    return preprocess(table, folder, **{**arguments, **kwargs})


def written(folder):
    """Name of each file in a cache -> what tells that it was written anew."""
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.glob("*.safetensors")}


def differences(table, cache, steps=STEPS, orientation=None):
    """Rows of which the cache holds something else than the ordinary loaders make."""
    wrong = []
    items = expected(table, steps, orientation=orientation)
    for index, (image, mask), case in zip(table.index, items, cache, strict=True):
        kept, labels = case.whole()
        same = torch.equal(image, kept) and torch.equal(mask, labels) and image.geometry == kept.geometry
        wrong += [] if same else [index]
    return wrong


def in_child(function):
    """Run a function in a process of its own; returns its number."""
    number = os.fork()
    if number:
        return number
    try:
        torch.set_num_threads(1)
        function()
    finally:
        os._exit(0)


def kill_at(number, seconds):
    """Kill a process after some time; returns whether it was still running."""
    time.sleep(seconds)
    gone, _ = os.waitpid(number, os.WNOHANG)
    if gone:
        return False
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    return True


def damaged(folder):
    """Names of the files under names of cases that are not whole."""
    wrong = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            case = CaseFile(path)
            case.check()
            wrong += [] if case.key == path.stem else [path.name]
        except ValueError:
            wrong.append(path.name)
    return wrong


def try_to_break(table, folder, rng, rounds):
    """Kill a process that makes a cache at a random time, again and again, changing sources and arguments between.

    Returns:
        (kills, what was wrong): the latter is empty where every case is right after each kill and each completion.
    """
    kills, wrong = 0, []
    scan_shape = TensorDicom3D.create(table["image"].iloc[0]).shape
    folder.mkdir(exist_ok=True)
    for name in ("first", "second"):  # which is not slowed down by imports
        began = time.perf_counter()
        cached(table, folder / name)
        longest = time.perf_counter() - began
    for number in range(rounds):
        steps = STEPS if number % 3 else (*STEPS[:2], ZScore3D("mean"))
        change = rng.integers(4)
        row = int(rng.integers(len(table)))
        if change < 2:  # of a mask, or an image
            image, mask, _ = scan(1000 + number, scan_shape)
            write(table[("image", "mask")[change]].iloc[row], (image, mask)[change], scan(row, scan_shape)[2])
        if change == 2:
            for path in list(folder.glob("*.safetensors"))[: len(table) // 2]:
                path.unlink()
        children = [in_child(lambda steps=steps: cached(table, folder, steps)) for _ in range(1 + number % 2)]
        for child in children:  # of two, the second goes on a little while
            kills += kill_at(child, rng.random() * longest)
        wrong += [(number, name) for name in damaged(folder)]
        if number % 4 == 3:
            wrong += [(number, index) for index in differences(table, cached(table, folder, steps), steps)]
    return kills, wrong
