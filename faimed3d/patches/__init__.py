"""Training on patches of cached cases."""

from faimed3d.patches.loaders import PatchDataLoaders3D

__all__ = ["PatchDataLoaders3D"]
