"""Cases that are kept on a device, in the numbers of their files."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from fastprogress.fastprogress import progress_bar
from numpy.typing import NDArray
from torch import Tensor

from faimed3d.cache import CaseFile

SHARE = 0.5  # of the free memory of a device that cases may take; the network needs the rest
_LONG_WORK = 50  # cases from which on a progress bar is shown

Triple = tuple[int, int, int]


class KeptCase:
    """A case whose voxels lie on a device as they are stored; a box is decoded there.

    Args:
        case: the file.
        device: where its voxels lie from now on.
    """

    def __init__(self, case: CaseFile, device: torch.device) -> None:
        self.path, self.shape, self.geometry, self.lowest = case.path, case.shape, case.geometry, case.lowest
        self.labels, self.whole = case.labels, case.whole
        self._positions = {label: case.positions(label) for label in case.labels if label > 0}
        stored = case.stored()
        self.image, self.mask = _on(stored.image, device), _on(stored.mask, device)
        self.decoding = stored.decoding

    def positions(self, label: int) -> NDArray[np.int64]:
        """As of ``CaseFile``."""
        return self._positions[label]

    def read(self, corner: Triple, size: Triple) -> tuple[Tensor, Tensor]:
        """As of ``CaseFile``; tensors on the device, the mask a view."""
        d, h, w = (slice(low, low + n) for low, n in zip(corner, size, strict=True))
        return self.decoding(self.image[:, d, h, w]), self.mask[d, h, w]


def fits(cases: Sequence[CaseFile], device: torch.device) -> bool:
    """Whether the cases fit on a GPU beside a network: into half of its free memory. False for other devices."""
    return device.type == "cuda" and _bytes_of(cases) <= SHARE * torch.cuda.mem_get_info(device)[0]


def keep(cases: Sequence[CaseFile], device: torch.device) -> list[KeptCase]:
    """Bring cases to a device; a progress bar shows how many are there."""
    shown = progress_bar(cases, leave=False) if len(cases) >= _LONG_WORK else cases
    return [KeptCase(case, device) for case in shown]


def place_of(cases: Sequence[CaseFile], device: torch.device | None) -> str:
    """In words where patches are made, and of what.

    Args:
        cases: of training.
        device: on which they are kept; None where they are read from their files.
    """
    size = f"{len(cases)} cases, {_bytes_of(cases) / 2**30:.2g} GiB"
    return f"made by workers from the files of {size}" if device is None else f"made on {device}, which keeps {size}"


def _bytes_of(cases: Sequence[CaseFile]) -> int:
    """What cases take on a device is what their files take on the disk."""
    return sum(os.path.getsize(case.path) for case in cases)


def _on(array: NDArray | None, device: torch.device) -> Tensor:
    assert array is not None  # the loaders have looked for masks
    return torch.from_numpy(np.array(array)).to(device)  # a copy: that of the file is read-only
