"""What following the geometry costs: one operation on a TensorDicom3D, on fastai's TensorBase, on a plain tensor."""

import statistics
import time

import torch
import torch.nn.functional as F
from fastai.torch_core import TensorBase
from timing import print_machine, table

from faimed3d.basics import TensorDicom3D

OPERATIONS = {
    "t + 1": lambda t: t + 1,
    "t + t": lambda t: t + t,
    "t[1:]": lambda t: t[1:],
    "t[0, ..., [0, 1]]": lambda t: t[None][0, ..., [0, 1]],
    "t.shape": lambda t: t.shape,
    "flip": lambda t: t.flip(0),
    "permute": lambda t: t.permute(2, 0, 1),
    "clone": lambda t: t.clone(),
    "stack": lambda t: torch.stack([t, t]),
    "unbind": lambda t: t.unbind(0),
    "F.pad": lambda t: F.pad(t, (1, 1)),
    "F.interpolate": lambda t: F.interpolate(t[None, None], (3, 3, 3), mode="trilinear"),
}


def microseconds(operate, t, repeats=300):
    start = time.perf_counter()
    for _ in range(repeats):
        operate(t)
    return (time.perf_counter() - start) / repeats * 1e6


def main():
    print_machine()
    voxels = torch.zeros(4, 6, 8)
    tensors = [TensorDicom3D(voxels), TensorBase(voxels), voxels]
    rows = []
    for name, operate in OPERATIONS.items():
        rounds = [[microseconds(operate, t) for t in tensors] for _ in range(15)]
        ours, base, plain = (statistics.median(column) for column in zip(*rounds, strict=True))
        added = statistics.median(row[0] - row[1] for row in rounds)
        rows.append((name, ours, base, plain, added, len(rounds)))
    table(rows, ("operation on 4x6x8", "ours us", "TensorBase us", "plain us", "ours - TensorBase us", "n"))


if __name__ == "__main__":
    main()
