"""The mean of what several networks say of one volume, within bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.inference.members import Member, loaded
from faimed3d.inference.probabilities import bring_onto, outside_of
from faimed3d.volume import TensorDicom3D


@dataclass
class Run:
    """A network on its way through a volume.

    Attributes:
        member: has the network.
        working: grid on which it works.
        slabs: its probabilities (C, d, H, W), slices by slices.
    """

    member: Member
    working: Geometry
    slabs: Iterator[Tensor]


def mean_of(
    runs: Sequence[Run], target: Geometry, memory: float, overlapping: bool
) -> tuple[Iterator[Tensor], Geometry]:
    """The mean probabilities of all networks, slices by slices, and the grid that they are on.

    Networks that work on one grid go through the volume side by side, so that a slab of each is all that is held.
    Others are brought onto the grid of the source, one after the other.

    Args:
        runs: one for each network.
        target: grid of the source.
        memory: bytes that the float32 probabilities of all classes may take.
        overlapping: the channels are regions that may overlap.

    Raises:
        ValueError: the networks give scores of different numbers of classes; or they work on several grids, and their
            mean exceeds ``memory``.
    """
    first = runs[0].working
    if all(run.working.agrees(first) for run in runs):
        return _side_by_side(runs), first
    return iter([_on(target, runs, memory, overlapping)]), target


def _side_by_side(runs):
    while True:
        total = None
        for number, run in enumerate(runs, 1):
            with loaded(run.member):
                slab = next(run.slabs, None)
            if slab is None:
                return
            if total is None:
                total = slab
                continue
            _compare(total, slab, number)
            total += slab.to(total.device)
        yield total.div_(len(runs))


def _on(target, runs, memory, overlapping):
    """(C, D, H, W) on the grid ``target``."""
    total = None
    for number, run in zip(count(1), runs, strict=False):
        scores = torch.cat([slab.cpu() for slab in _side_by_side([run])], 1)
        if total is None:
            size = 4 * len(scores) * np.prod(target.shape)
            if size > memory:
                raise ValueError(
                    f"the members work on several grids, so their mean is taken on that of the scan, where the "
                    f"probabilities of {len(scores)} classes take {size / 2**20:.3g} MiB, but memory allows "
                    f"{memory / 2**20:.3g} MiB: allow more, or resample for all members alike"
                )
            total = torch.zeros(len(scores), *target.shape)
        _compare(total, scores, number)
        for channel, voxels in enumerate(scores):
            fill = outside_of(channel, len(scores), overlapping)
            total[channel] += bring_onto(voxels, run.working, target, TensorDicom3D, fill)
    return total.div_(len(runs))


def _compare(total, scores, number):
    if len(scores) != len(total):
        raise ValueError(
            f"member {number} gives scores of {len(scores)} classes, and member 1 of {len(total)}: the members of an "
            "ensemble must say the same things of the same voxels"
        )
