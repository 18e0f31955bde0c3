"""The ``DataLoader`` of patches: what it draws follows from one random number of each epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from fastai.torch_core import num_distrib
from fastcore.basics import chunked

from faimed3d.data.volume_dl import VolumeDL
from faimed3d.patches.drawing import drawn_by, numbers_of_epoch
from faimed3d.tracking import attach_grid
from faimed3d.volume import TensorDicom3D, TensorMask3D


class PatchDL(VolumeDL):
    """Batches of patches: items and their transforms are drawn by the number of the patch, in whatever process.

    So ``torch.manual_seed`` repeats a run with any number of workers, and in a distributed run the processes share the
    patches of one epoch.
    """

    def get_idxs(self) -> list[int]:
        """Numbers of the patches of the next epoch.

        Of several processes fastai gives each a run of them in one piece. They are ordered so that the batches that the
        processes make at the same time are together one batch of a single process.
        """
        numbers = numbers_of_epoch(self.n)
        count = num_distrib()
        if count < 2:
            return numbers
        batches = list(chunked(numbers, self.bs, drop_last=True))
        batches = batches[: len(batches) // count * count] or batches
        return [number for rank in range(count) for batch in batches[rank::count] for number in batch]

    def do_item(self, s: Any) -> Any:
        """Make an item, and let its transforms draw by its number."""
        with drawn_by(s or 0):
            return super().do_item(s)


class DevicePatchDL(PatchDL):
    """Batches of patches of cases that lie on a device, where they are cut, moved and decoded; without workers.

    The labels of the cases are known to be classes, and their voxels to be finite, so that no item is looked at.
    """

    def create_batches(self, samps: Iterable[int]) -> Iterator[Any]:
        """Make batches of the patches of these numbers."""
        for numbers in chunked(samps, self.bs, self.drop_last):
            drawn = []
            for number in numbers:
                with drawn_by(number):
                    drawn.append(self.dataset.draw(number))
            images, masks = map(torch.stack, self.dataset.sample(drawn))
            grid = np.empty(len(drawn), object)
            grid[:] = [one.geometry for one in drawn]
            batch = images.as_subclass(TensorDicom3D), masks.as_subclass(TensorMask3D)
            attach_grid(batch[0], grid[:, None])
            attach_grid(batch[1], grid)
            yield batch
