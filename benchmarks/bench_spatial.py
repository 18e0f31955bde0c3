"""Resampling against SimpleITK's Resample, from and to its own image type, on 40x256x256 voxels."""

import SimpleITK as sitk
import torch
from timing import compare, peak_memory, print_machine, table

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D

SOURCE = Geometry((40, 256, 256), (1, 1, 3), (-128, -128, -60))
TARGETS = {
    "finer, parallel": Geometry((60, 300, 300), (0.8, 0.8, 2), (-120, -120, -60)),
    "another order of the axes": Geometry((200, 40, 200), (1, 3, 1), (-100, -60, 100), (1, 0, 0, 0, 0, 1, 0, -1, 0)),
    "turned by 37 degrees": Geometry((40, 200, 200), (1, 1, 2), (-20, -120, -40), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)),
    "tilted by 37 degrees": Geometry(
        (60, 200, 200), (1, 1, 1.5), (-100, -80, -60), (1, 0, 0, 0, 0.8, -0.6, 0, 0.6, 0.8)
    ),
    "turned about all axes": Geometry(
        (40, 200, 200), (1, 1, 2), (-95, -105, -45),
        (0.97276, -0.220102, -0.072792, 0.206767, 0.965389, -0.159117, 0.105294, 0.139731, 0.984575),
    ),
}  # fmt: skip


def case(target, kind):
    voxels = torch.rand(SOURCE.shape).mul(30).round()
    if kind is TensorMask3D:  # three classes, and background as in most masks
        voxels = torch.zeros(SOURCE.shape, dtype=torch.uint8)
        for label in (1, 2, 3):
            voxels[5 * label : -5 * label, 40 * label : -40 * label, 40 * label : -40 * label] = label
    volume = kind(voxels, SOURCE)
    return volume, target, volume.as_sitk(), TensorDicom3D(torch.zeros(target.shape), target).as_sitk()


def ours(volume, target, image, reference):
    return volume.resample_like(target, value=0)


def peer(volume, target, image, reference):
    how = sitk.sitkNearestNeighbor if isinstance(volume, TensorMask3D) else sitk.sitkLinear
    return sitk.Resample(image, reference, sitk.Transform(), how, 0.0, image.GetPixelID())


def prepared(name):
    arguments = case(TARGETS[name], TensorDicom3D)
    small = TensorDicom3D(torch.rand(2, 3, 4))
    for target in TARGETS.values():  # what is loaded on first use does not count
        small.resample_like(target, value=0)
    return arguments


def memory_of_ours(arguments):
    return None if isinstance(arguments, torch.Tensor) else ours(*arguments)


def memory_of_peer(arguments):
    return None if isinstance(arguments, torch.Tensor) else peer(*arguments)


def main():
    print_machine()
    rows, memory = [], []
    for name, target in TARGETS.items():
        for kind in (TensorDicom3D, TensorMask3D):
            arguments = case(target, kind)
            rows.append(
                (f"{name}, {'mask' if kind is TensorMask3D else 'image'}", *compare(ours, peer, *arguments, n=9))
            )
    table(rows)
    for name, target in TARGETS.items():
        size = torch.Size(target.shape).numel() * 4 / 2**20
        grown = [peak_memory(run, prepared, name) / size for run in (memory_of_ours, memory_of_peer)]
        memory.append((f"{name}, image", *grown, grown[1] / grown[0], 1))
    print("Peak memory, in volumes of the result's size (the result is one):\n")
    table(memory, ("case", "ours", "peer", "ratio peer/ours", "n"))


if __name__ == "__main__":
    main()
