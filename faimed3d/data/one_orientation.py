"""The one storage order in which the items of a training set reach the network."""

from __future__ import annotations

from typing import Any  # of what fastai calls transforms with

from fastai.data.load import DataLoader
from fasttransform import ItemTransform
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.masks import is_mask
from faimed3d.spatial import reorient
from faimed3d.volume import TensorDicom3D


class OneOrientation(ItemTransform):
    """Store all volumes in one orientation: axes are exchanged and flipped, no voxel moves in the patient.

    ``ImageBlock3D`` brings it. A network sees no geometry: of scans that are stored in several ways it cannot tell left
    from right, and on a scan stored another way than those that it learned from it takes one for the other. So all
    items, those of validation and those to be predicted too, are brought to one order. It acts after masks have come
    onto the grids of their images and before the user's item transforms, among which ``Reorient3D`` may choose another.

    A volume without a geometry stays as it is stored; a mask without one follows the image of its item. Arrays lie at
    1 mm and origin 0, stored as LPS, unless they are given a place.

    Args:
        orientation: such as 'LPS' or 'RAS'. Default: that of the first training item, taken when the loaders are made.

    >>> import torch
    >>> image, mask = TensorDicom3D(torch.rand(2, 3, 4)), TensorDicom3D(torch.rand(2, 3, 4)).reorient("SRA")
    >>> [volume.geometry.orientation for volume in OneOrientation("RAS")((image, mask))]
    ['RAS', 'RAS']
    """

    order = -99  # after MatchMask, before the user's item transforms

    def __init__(self, orientation: str | None = None) -> None:
        super().__init__()
        if orientation is not None:
            Geometry((1, 1, 1)).reorientation(orientation)  # checks it
            orientation = orientation.upper()
        self.orientation = orientation

    @property
    def name(self) -> str:
        """As pipelines show it."""
        return f"{type(self).__name__}({self.orientation!r})"

    def setups(self, dl: DataLoader):
        """Take the orientation of the first training item where none was given."""
        if self.orientation is None and len(dl.dataset):
            item = dl.dataset[0]
            for volume in item if isinstance(item, tuple | list) else (item,):
                if isinstance(volume, TensorDicom3D) and not is_mask(volume) and volume.geometry is not None:
                    self.orientation = volume.geometry.orientation
                    return

    def encodes(self, item: Any):
        """Reorient the volumes of an item."""
        if self.orientation is None:
            return item
        if not isinstance(item, tuple | list):
            return self._stored(item, None)
        image = next((x for x in item if isinstance(x, TensorDicom3D) and not is_mask(x)), None)
        return [self._stored(x, image) for x in item]

    def _stored(self, x, image):
        if not isinstance(x, TensorDicom3D):
            return x
        if x.geometry is not None:
            return x if x.geometry.orientation == self.orientation else reorient(x, self.orientation)
        if is_mask(x) and image is not None and image.geometry is not None and x.shape[-3:] == image.shape[-3:]:
            # index by index on the image: what happens to the one happens to the other
            placed = type(x)(x.as_subclass(Tensor), image.geometry)
            return x.with_voxels(reorient(placed, self.orientation).as_subclass(Tensor))
        return x
