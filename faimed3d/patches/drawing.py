"""Which case, and where in it: the random draws of a patch, all of which follow from its number."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import torch

Triple = tuple[int, int, int]

MOST_PATCHES = 1 << 20  # of an epoch
_SEEDS = 1 << 42  # of an epoch; with the number of a patch they are below 2**62


def numbers_of_epoch(length: int) -> list[int]:
    """Numbers for the patches of one epoch, from torch's random numbers: ``torch.manual_seed`` repeats them.

    Each number stands for its epoch as well, so that all that is random about a patch follows from it, in whatever
    process the patch is made.

    Args:
        length: patches in the epoch.
    """
    seed = int(torch.randint(_SEEDS, ()))
    return [seed * MOST_PATCHES + k for k in range(length)]


def case_of(number: int, count: int) -> int:
    """The case of a patch: each case comes once before one comes again, in an order of its own in each round.

    Args:
        number: of :func:`numbers_of_epoch`.
        count: cases.
    """
    seed, k = divmod(number, MOST_PATCHES)
    turn, place = divmod(k, count)
    generator = torch.Generator().manual_seed(_seed_of(seed * MOST_PATCHES + MOST_PATCHES - 1 - turn))
    return int(torch.randperm(count, generator=generator)[place])


@contextmanager
def drawn_by(number: int) -> Iterator[None]:
    """Let torch draw on the CPU what belongs to a number, and go on as before afterwards."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(_seed_of(number))
    try:
        yield
    finally:
        torch.set_rng_state(before)


def draw_corner(
    case: Any, size: Triple, foreground: float, ignored: int | None, wanted: Container[int] | None = None
) -> Triple:
    """The first voxel of a patch, below 0 along axes on which the case is smaller: there it lies in the middle.

    Args:
        case: ``shape``, ``labels`` and ``positions(label)`` of a ``CaseFile``.
        size: voxels of the patch.
        foreground: share of patches around a class. Of those that the case holds one is drawn, each as likely as any
            other whatever its size, and then one of its voxels, which becomes the centre, as near as the edges allow.
        ignored: label that is no class.
        wanted: labels of classes. Default: all others above 0.
    """
    room = [n - m for n, m in zip(case.shape[-3:], size, strict=True)]
    if foreground and torch.rand(()).item() < foreground:
        labels = [label for label in case.labels if label > 0 and label != ignored]
        labels = labels if wanted is None else [label for label in labels if label in wanted]
        if labels:
            positions = case.positions(labels[_below(len(labels))])
            voxel = positions[_below(len(positions))].tolist()
            wanted = [v - m // 2 for v, m in zip(voxel, size, strict=True)]
            return _placed(wanted, room)
    return _placed([_below(max(0, n) + 1) for n in room], room)


def _placed(wanted: Sequence[int], room: Sequence[int]) -> Triple:
    d, h, w = (min(max(0, v), n) if n >= 0 else -(-n // 2) for v, n in zip(wanted, room, strict=True))
    return d, h, w


def _seed_of(number: int) -> int:
    """A seed for torch, which looks at the last 32 bits alone."""
    return int.from_bytes(blake2b(number.to_bytes(8, "little"), digest_size=4).digest(), "little")


def _below(count: int) -> int:
    return int(torch.randint(count, ()))
