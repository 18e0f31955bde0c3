"""How much memory a training step of a planned network needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from faimed3d.plan import building
from faimed3d.plan.topology import Topology, Triple
from faimed3d.training import training_memory

if TYPE_CHECKING:
    from faimed3d.plan.plan import Plan


def step_memory(
    patch: Triple,
    topology: Topology,
    batch: int,
    widths: Sequence[int],
    channels: int,
    classes: int,
    blocks: Sequence[int] | None = None,
    half: bool = False,
) -> int:
    """Bytes of a training step of a U-Net, estimated from the sizes of what it keeps for the way back.

    Args:
        patch: voxels (D, H, W).
        topology: strides and kernels.
        batch: patches.
        widths: channels of each level.
        channels, classes: of input and output.
        blocks: residual blocks of each level; None: two convolutions.
        half: convolutions run in a type of two bytes.
    """
    size: tuple[int, ...] = patch
    kept = float(math.prod(patch) * (channels + 4 * classes))
    weights = 0.0
    below = channels
    for level, (width, kernel) in enumerate(zip(widths, topology.kernels, strict=True)):
        if level:
            size = tuple(math.ceil(n / by) for n, by in zip(size, topology.strides[level - 1], strict=True))
        voxels, taps = math.prod(size), math.prod(kernel)
        convolutions = 2 if blocks is None else 1 + 2 * blocks[min(level, len(blocks) - 1)]
        kept += voxels * width * 3 * convolutions
        weights += taps * width * (below + width * (convolutions - 1))
        if level + 1 < len(widths):  # the way up: interpolated, joined, two convolutions
            kept += voxels * (widths[level + 1] + 2 * width + 3 * 2 * width)
            weights += taps * width * (widths[level + 1] + 3 * width)
        below = width
    return int(batch * kept * (2 if half else 4) * 1.1 + weights * 16 + 100e6)


def predicted_memory(plan: Plan) -> int:
    """Bytes of a training step of a plan, by :func:`faimed3d.training.training_memory`.

    Args:
        plan: any.
    """
    with torch.device("meta"):  # shapes alone
        network = plan.network()
    values = 1 if plan.optimizer == "sgd" else 2
    shape, target = (plan.batch_size, plan.channels, *plan.patch), building.targets(plan)[:2]
    return training_memory(network, shape, building.loss(plan), target, plan.precision, values)
