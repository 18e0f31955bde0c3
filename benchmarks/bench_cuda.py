"""On a CUDA device: augmentation, resampling and scaling against the CPU, training steps, prediction of a volume.

Without a device it prints nothing, and the tables that another machine has made stay in README.md.
"""

import importlib.util
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import fastai.callback.fp16  # noqa: F401 - gives Learner to_fp16
import numpy as np
import torch
from bench_augment import COUNT, SIZE, faimed3d_way, make_case, monai_way, one_by_one
from bench_spatial import SOURCE, TARGETS
from fastai.torch_core import set_seed
from timing import compare, make_volume, print_machine, table
from torchvision.models.video import r3d_18

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D, normalize
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.losses import DiceCELoss3D
from faimed3d.models import UNet3D, create_unet_model_3d
from faimed3d.training import unet_learner_3d

HEADER = ("case", "CUDA ms", "CPU ms", "ratio CPU/CUDA", "n")
STEPS = 12
SIDE = 256


def waiting(function):
    """The function, ended only when the device has ended its work."""

    def call(*args):
        result = function(*args)
        torch.cuda.synchronize()
        return result

    return call


def against_cpu(function, t, n=5):
    """Times of ``function`` of a tensor, or of a tuple of them, on the device and on the CPU."""
    several = isinstance(t, tuple)
    here, there = (t, tuple(one.cuda() for one in t)) if several else ((t,), (t.cuda(),))
    return compare(waiting(lambda: function(*there)), lambda: function(*here), n=n)


def augmentation():
    ours = faimed3d_way()

    def batch(images, masks):
        return ours((TensorDicom3D(images), TensorMask3D(masks[:, 0])))

    rows = [(f"{COUNT} volumes of {SIZE}^3 and masks, against the CPU", *against_cpu(batch, make_case()))]
    table(rows, HEADER)
    if importlib.util.find_spec("monai") is None:
        return
    rows, case = [], make_case("cuda")
    for name, lattice in (("MONAI Rand3DElastic", False), ("MONAI RandAffine + RandSmoothDeform", True)):
        peer = waiting(one_by_one(monai_way(lattice)))
        rows.append((f"{name}, both on CUDA", *compare(waiting(batch), peer, *case, n=15)))
    table(rows)


def volumes():
    rows = []
    ct = make_volume("whole")
    case = "x".join(map(str, ct.shape))
    rows.append((f"hist_scaled {case}, whole numbers", *against_cpu(lambda t: TensorDicom3D(t).hist_scaled(), ct)))
    noise = make_volume("float")
    rows.append((f"hist_scaled {case}, floats", *against_cpu(lambda t: TensorDicom3D(t).hist_scaled(), noise)))
    rows.append((f"normalize {case}", *against_cpu(lambda t: normalize(TensorDicom3D(t)), ct)))
    for size in ((64, 256, 256), (200, 512, 512)):
        name = f"{case} -> {'x'.join(map(str, size))}"
        rows.append((f"resize {name}", *against_cpu(lambda t, size=size: TensorDicom3D(t).resize_3d_tensor(size), ct)))
    voxels = torch.rand(SOURCE.shape).mul(30).round()
    for name, target in TARGETS.items():
        for kind in (TensorDicom3D, TensorMask3D):
            rows.append(
                (
                    f"resample_like, {name}, {'mask' if kind is TensorMask3D else 'image'}",
                    *against_cpu(lambda t, kind=kind, to=target: kind(t, SOURCE).resample_like(to, value=0), voxels),
                )
            )
    table(rows, HEADER)


def steps_of(model, precision, bs):
    """Median ms of a training step, and the device's memory at most in GB."""
    set_seed(0)
    model = model.cuda().train()
    optimizer, loss = torch.optim.AdamW(model.parameters()), DiceCELoss3D()
    scaler = torch.amp.GradScaler("cuda", enabled=precision == torch.float16)
    images = torch.randn(bs, 1, SIZE, SIZE, SIZE, device="cuda")
    masks = torch.randint(0, 3, (bs, SIZE, SIZE, SIZE), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        with torch.autocast("cuda", precision or torch.float16, enabled=precision is not None):
            scores = model(images)
        scaler.scale(loss(scores, masks)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[3:]), torch.cuda.max_memory_allocated() / 2**30


def training():
    rows = []
    nets = {"UNet3D": lambda: UNet3D(1, 3), "U-Net over r3d_18": lambda: create_unet_model_3d(r3d_18, 3)}
    for name, make in nets.items():
        for text, precision in (("float32", None), ("float16", torch.float16), ("bfloat16", torch.bfloat16)):
            step, memory = steps_of(make(), precision, bs=2)
            torch.cuda.empty_cache()
            rows.append((f"{name}, {text}, 2 x {SIZE}^3", step, 2000 / step, memory, STEPS - 3))
    print("Training steps: forward, loss, backward, AdamW.\n")
    table(rows, ("case", "step ms", "volumes/s", "memory GB", "n"))


def prediction():
    """Whole volumes through ``predict_volume``, after an epoch of fastai's loop."""
    rows, geometry = [], Geometry((SIDE,) * 3)
    with tempfile.TemporaryDirectory() as folder:
        learn = small_learner(Path(folder))
        with learn.no_bar(), learn.no_logging():
            start = time.perf_counter()
            learn.fit(1)
        rows.append(("first epoch of 8 volumes, cuDNN's choice included", (time.perf_counter() - start) * 1000, "", 1))
        source = TensorDicom3D(torch.randn(geometry.shape), geometry)
        for name, half, arguments in (
            ("float32", False, {}),
            ("float32, 4 windows at a time", False, {"bs": 4}),
            ("float16 model", True, {}),
            ("float16 model, tta", True, {"tta": True}),
        ):
            if half:
                learn.model.half()
            times = []
            torch.cuda.reset_peak_memory_stats()
            for _ in range(3):
                start = time.perf_counter()
                learn.predict_volume(source, patch=96, **arguments)
                times.append((time.perf_counter() - start) * 1000)
            memory = torch.cuda.max_memory_allocated() / 2**30
            rows.append((f"predict_volume {SIDE}^3, windows of 96, {name}", statistics.median(times), memory, 3))
    table(rows, ("case", "ms", "memory GB", "n"))


def small_learner(folder):
    """A Learner of UNet3D over eight volumes of 96^3."""
    import pandas as pd

    rows = []
    for number in range(9):
        row = {"image": str(folder / f"image{number}.nii"), "mask": str(folder / f"mask{number}.nii")}
        labels = np.random.default_rng(number).integers(0, 3, (SIZE,) * 3, dtype=np.uint8)
        TensorDicom3D(labels.astype(np.float32)).save(row["image"])
        TensorMask3D(labels).save(row["mask"])
        rows.append({**row, "valid": number == 8})
    dls = SegmentationDataLoaders3D.from_df(
        pd.DataFrame(rows), fn_col="image", label_col="mask", codes=["a", "b", "c"], valid_col="valid", bs=2,
        num_workers=2, device="cuda",
    )  # fmt: skip
    return unet_learner_3d(dls, UNet3D)


def main():
    if not torch.cuda.is_available():
        return
    warnings.simplefilter("ignore")
    print_machine()
    print(f"{torch.cuda.get_device_name()}\n")
    for part in (augmentation, volumes, training, prediction):
        part()


if __name__ == "__main__":
    main()
