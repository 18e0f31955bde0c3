"""Resampling against SimpleITK's Resample, from and to its own image type, on 40x256x256 voxels."""

import SimpleITK as sitk
import torch
from timing import compare, print_machine, table

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D

SOURCE = Geometry((40, 256, 256), (1, 1, 3), (-128, -128, -60))
TARGETS = {
    "finer, parallel": Geometry((60, 300, 300), (0.8, 0.8, 2), (-120, -120, -60)),
    "turned by 37 degrees": Geometry((40, 200, 200), (1, 1, 2), (-20, -120, -40), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)),
}


def main():
    print_machine()
    voxels = torch.rand(SOURCE.shape).mul(30).round()
    rows = []
    for name, target in TARGETS.items():
        reference = TensorDicom3D(torch.zeros(target.shape), target).as_sitk()
        for kind, how in ((TensorDicom3D, sitk.sitkLinear), (TensorMask3D, sitk.sitkNearestNeighbor)):
            volume = kind(voxels, SOURCE)
            image = volume.as_sitk()

            def peer(image=image, reference=reference, how=how):
                return sitk.Resample(image, reference, sitk.Transform(), how, 0.0, sitk.sitkFloat32)

            def ours(volume=volume, target=target):
                return volume.resample_like(target, value=0)

            rows.append((f"{name}, {'mask' if kind is TensorMask3D else 'image'}", *compare(ours, peer)))
    table(rows)


if __name__ == "__main__":
    main()
