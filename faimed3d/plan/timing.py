"""How long a training step of a plan takes, measured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from faimed3d.plan import building
from faimed3d.training.small_convolutions import SmallConvolutions

if TYPE_CHECKING:
    from faimed3d.plan.plan import Plan

_MOST = 20.0  # seconds after which no further step is timed


def require(device: str) -> None:
    """Raise where steps cannot be timed, as there is no such device here.

    Args:
        device: of a plan.

    Raises:
        ValueError: there is none.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, hasattr(torch, device) and getattr(torch, device).is_available()):
        raise ValueError(
            f"training steps are timed on the device of the plan, {device!r}, which is not here: plan there, plan for "
            "device='cpu', or plan without minutes and give plan.for_budget(minutes, seconds_per_step=...)"
        )


def seconds_per_step(plan: Plan, steps: int = 3) -> float:
    """Seconds of a training step of a plan on its device: forward, loss, backward, optimizer; the median of a few.

    Args:
        plan: any.
        steps: how many are timed, after one that is not.
    """
    require(plan.device)
    device = torch.device(plan.device)
    network = building.network(plan).to(device).train()
    images = torch.randn(plan.batch_size, plan.channels, *plan.patch, device=device)
    loss, (shape, dtype, below) = building.loss(plan), building.targets(plan)
    targets = torch.randint(below, shape, dtype=dtype, device=device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    half = None if plan.precision == "float32" else getattr(torch, plan.precision)
    found: list[float] = []
    begun = time.perf_counter()
    for _ in range(steps + 1):
        start = time.perf_counter()
        with torch.autocast(device.type, half, enabled=half is not None), SmallConvolutions():
            scores = network(images)
        loss(_single(scores), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - start)
        if time.perf_counter() - begun > _MOST:
            break
    timed = sorted(found[1:] or found)
    return timed[len(timed) // 2]


def _single(scores):
    """Scores in single precision, of each scale."""
    return [one.float() for one in scores] if isinstance(scores, list | tuple) else scores.float()
