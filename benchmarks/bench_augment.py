"""Affine, elastic, flip, noise and gamma on 4 volumes of 1x96x96x96 and their masks, against TorchIO and MONAI.

All start from tensors in memory and apply every part to every volume. TorchIO and MONAI work volume by volume, as
their pipelines do; this library takes the batch, and, for comparison, volume by volume too. MONAI offers two ways to
elastic displacement: RandAffine and a dense random field, merged in one class (Rand3DElastic), or a coarse lattice as
here in a class of its own (RandSmoothDeform) after RandAffine.
"""

import importlib.util
import warnings

import torch
from timing import compare, print_machine, table

from faimed3d.augment import (
    RandomAffine3D,
    RandomElastic3D,
    RandomFlip3D,
    RandomGamma3D,
    RandomNoise3D,
    RandomSpatial3D,
)
from faimed3d.volume import TensorDicom3D, TensorMask3D

SIZE = 96
COUNT = 4


def faimed3d_way():
    transforms = [
        RandomSpatial3D(RandomAffine3D(1, degrees=15, scale=0.15), RandomElastic3D(1, 5.0, 7), RandomFlip3D(1, (-1,))),
        RandomNoise3D(1, (0.05, 0.1)),
        RandomGamma3D(1, (0.7, 1.5)),
    ]

    def run(b):
        for transform in transforms:
            b = transform(b, split_idx=0)
        return b

    return run


def torchio_way():
    import torchio as tio

    transform = tio.Compose(
        [
            tio.RandomAffine(scales=0.15, degrees=15),
            tio.RandomElasticDeformation(num_control_points=7, max_displacement=5.0),
            tio.RandomFlip(axes=(2,), flip_probability=1),
            tio.RandomNoise(std=(0.05, 0.1)),
            tio.RandomGamma(log_gamma=(-0.3, 0.3)),
        ]
    )

    def run(image, mask):
        done = transform(tio.Subject(image=tio.ScalarImage(tensor=image), mask=tio.LabelMap(tensor=mask)))
        return done["image"].data, done["mask"].data

    return run


def monai_way(lattice):
    import monai.transforms as mt

    keys, modes, degree = ["image", "mask"], ("bilinear", "nearest"), 15 * torch.pi / 180
    affine = {"rotate_range": (degree,) * 3, "scale_range": (0.15,) * 3}
    if lattice:
        spatial = [
            mt.RandAffined(keys, prob=1, mode=modes, padding_mode="zeros", **affine),
            mt.RandSmoothDeformd(
                keys, (SIZE,) * 3, rand_size=(7,) * 3, prob=1, def_range=0.1, grid_mode=modes, grid_padding_mode="zeros"
            ),
        ]
    else:
        spatial = [
            mt.Rand3DElasticd(
                keys, (5, 7), (100, 200), prob=1, mode=modes, padding_mode="zeros", spatial_size=(SIZE,) * 3, **affine
            )
        ]
    transform = mt.Compose(
        [
            *spatial,
            mt.RandFlipd(keys, prob=1, spatial_axis=2),
            mt.RandGaussianNoised(["image"], prob=1, std=0.1),
            mt.RandAdjustContrastd(["image"], prob=1, gamma=(0.7, 1.5)),
        ]
    )

    def run(image, mask):
        done = transform({"image": image, "mask": mask})
        return done["image"], done["mask"]

    return run


def one_by_one(run):
    return lambda images, masks: [run(image, mask) for image, mask in zip(images, masks, strict=True)]


def make_case(device="cpu"):
    images = torch.nn.functional.interpolate(torch.rand(COUNT, 1, 12, 12, 12), (SIZE,) * 3, mode="trilinear")
    masks = (images * 4).long()
    return images.to(device), masks.to(device)


def main():
    warnings.simplefilter("ignore")
    print_machine()
    images, masks = make_case()
    ours = faimed3d_way()

    def whole_batch(images, masks):
        return ours((TensorDicom3D(images), TensorMask3D(masks[:, 0])))

    each = one_by_one(lambda image, mask: ours((TensorDicom3D(image), TensorMask3D(mask[0]))))
    peers = [
        ("TorchIO", "torchio", torchio_way),
        ("MONAI Rand3DElastic", "monai", lambda: monai_way(False)),
        ("MONAI RandAffine + RandSmoothDeform", "monai", lambda: monai_way(True)),
    ]
    rows = []
    for name, package, make in peers:
        if importlib.util.find_spec(package) is None:
            rows.append((name, "", "not installed", "", ""))
            continue
        peer = one_by_one(make())
        rows.append((f"{name}, ours as a batch", *compare(whole_batch, peer, images, masks, n=5)))
        rows.append((f"{name}, ours one by one", *compare(each, peer, images, masks, n=5)))
    table(rows)


if __name__ == "__main__":
    main()
