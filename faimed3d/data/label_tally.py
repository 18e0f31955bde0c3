"""How much of the labels of a data set is read: counted by the loaders' workers, compared by the learner's callback."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from faimed3d.masks.labels import labels_in

_WORKERS = 256
_CLASSES = 256


@dataclass(frozen=True)
class LabelCount:
    """Of some masks: how many there are, how many hold a label, their labelled mm3 (voxels where none has a place).

    ``classes`` (256,) says in how many masks each label is.
    """

    masks: int
    labelled: int
    volume: float
    classes: Tensor

    def __sub__(self, other: LabelCount) -> LabelCount:
        return LabelCount(
            self.masks - other.masks,
            self.labelled - other.labelled,
            self.volume - other.volume,
            self.classes - other.classes,
        )


class LabelTally:
    """Counts masks; in memory that the main process and its workers share, a row for each, so that none is lost."""

    def __init__(self) -> None:
        self._rows = torch.zeros(_WORKERS, 3 + _CLASSES, dtype=torch.float64).share_memory_()
        self._wanted = torch.zeros(1, dtype=torch.bool).share_memory_()

    @property
    def wanted(self) -> bool:
        """Whether somebody will read the count, as the loaders' workers ask too: counting takes time."""
        return bool(self._wanted.item())

    @wanted.setter
    def wanted(self, value: bool) -> None:
        self._wanted.fill_(value)

    def add(self, mask: Tensor) -> None:
        """Count one mask of labels (D, H, W), or of regions (R, D, H, W), which count as labels 1 to R."""
        worker = get_worker_info()
        row = self._rows[0 if worker is None else 1 + worker.id % (_WORKERS - 1)].numpy()
        plain = mask.as_subclass(Tensor)
        labelled = int(np.count_nonzero(plain.numpy())) if plain.is_cpu else int(plain.count_nonzero())
        geometry = getattr(mask, "geometry", None)
        if plain.ndim == 4:
            held = {number for number, part in enumerate(plain, 1) if part.any()}
        else:
            held = labels_in(plain) if labelled else set()
        found = [label for label in held if 0 < label < _CLASSES]
        row[[0, 1, 2]] += (1, labelled > 0, labelled * (geometry.voxel_volume if geometry is not None else 1.0))
        row[[3 + label for label in found]] += 1

    def count(self) -> LabelCount:
        """What was counted so far."""
        masks, labelled, volume, *_ = (total := self._rows.sum(0)).tolist()
        return LabelCount(int(masks), int(labelled), volume, total[3:].long())
