"""A ball as a scanner of known, uneven sensitivity sees it."""

import torch
from coordinates import LOPSIDED

from faimed3d.basics import TensorDicom3D
from faimed3d.geometry import Geometry

GRID = Geometry((20, 24, 28), spacing=(2, 2.5, 3), origin=(-7, 11, 5), direction=LOPSIDED.direction)


def field_like(shape):
    d, h, w = (torch.linspace(-1, 1, n) for n in shape)
    return torch.exp(0.4 * w + 0.2 * h[:, None] ** 2 - 0.3 * d[:, None, None])


def phantom(scale=1.0, seed=0):
    """A ball of two tissues in air, by turns, and the same seen by an uneven coil."""
    d, h, w = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in GRID.shape), indexing="ij")
    inside = d**2 + h**2 + w**2 < 0.8
    tissue = torch.where(torch.sin(9 * d) * torch.sin(9 * h) * torch.sin(9 * w) > 0, 60.0, 100.0)
    noise = torch.randn(GRID.shape, generator=torch.Generator().manual_seed(seed))
    truth = (tissue * inside + 2 * noise.abs()) * scale
    return TensorDicom3D(truth, GRID), TensorDicom3D(truth * field_like(GRID.shape), GRID), inside
