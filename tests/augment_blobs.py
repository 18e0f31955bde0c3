"""Blobs on anisotropic grids, which tell where a warp has moved them."""

import numpy as np
import torch

from faimed3d.augment.warp import Warp, apply_warp, spatial_frame
from faimed3d.geometry import Geometry

SIZE = (20, 26, 32)
ANISOTROPIC = Geometry(SIZE, spacing=(1, 1.5, 2.5), origin=(3, -4, 5))


def positions(geometry):
    """Place of each voxel in mm from the centre, along (x, y, z): (D, H, W, 3)."""
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(geometry.shape, geometry.spacing[::-1], strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)[..., ::-1]


def blob(geometry, centre, width=3.0):
    """A Gaussian ball of ``width`` mm at ``centre`` (x, y, z) mm from the centre of the volume."""
    return torch.from_numpy(np.exp(-(((positions(geometry) - centre) / width) ** 2).sum(-1) / 2)).float()


def centroid(image, geometry):
    weights = image.double().numpy()[..., None]
    return (positions(geometry) * weights).sum((0, 1, 2)) / weights.sum()


def frames(*geometries):
    return torch.stack([spatial_frame(geometry) for geometry in geometries])


def warped(image, geometry, interpolation="linear", fill=None, **terms):
    terms = {name: torch.as_tensor(value, dtype=torch.float64)[None] for name, value in terms.items()}
    return apply_warp(image[None, None], frames(geometry), Warp.of(1, **terms), interpolation, fill)[0, 0]
