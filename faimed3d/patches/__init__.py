"""Training from a cache: on patches of cases with masks, on whole cases with classes or numbers."""

from faimed3d.patches.image_loaders import CachedImageDataLoaders3D
from faimed3d.patches.loaders import PatchDataLoaders3D

__all__ = ["CachedImageDataLoaders3D", "PatchDataLoaders3D"]
