"""A network over a volume that is too large for it: overlapping windows, blended by Gaussian weights.

Volumes are plain tensors ``(C, D, H, W)``. Finished slices leave at once, so that no more than one slab of scores, as
deep as a window, is held.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from fastcore.basics import chunked
from torch import Tensor

from faimed3d.inference.disagreement import Disagreement


def sliding_windows(
    predict: Callable[[Tensor], Tensor],
    volume: Tensor,
    sides: Sequence[int],
    overlap: float = 0.5,
    bs: int = 1,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Tensor]:
    """Yield what ``predict`` says of ``volume``, from its first slice to its last.

    Args:
        predict: windows (B, C, *sides) -> scores (B, K, *sides), float32.
        volume: (C, D, H, W); where a side is below that of a window, it is padded with the volume's smallest value.
        sides: of a window, (D, H, W).
        overlap: share of a window that its neighbour covers too, 0 to below 1.
        bs: windows at a time.
        tell: gets how many windows are done, of how many, before the first and after each few.

    Yields:
        Mean scores (K, d, H, W) of the next slices.
    """
    size = tuple(volume.shape[1:])
    before = [max(0, m - n) // 2 for n, m in zip(size, sides, strict=True)]
    after = [max(0, m - n) - low for n, m, low in zip(size, sides, before, strict=True)]
    if any(before) or any(after):
        pad = [n for low, high in zip(reversed(before), reversed(after), strict=True) for n in (low, high)]
        volume = F.pad(volume, pad, value=volume.min().item())
    starts_d, starts_h, starts_w = (window_starts(n, m, overlap) for n, m in zip(volume.shape[1:], sides, strict=True))
    corners = list(itertools.product(starts_h, starts_w))
    weights = gaussian_weights(sides).to(volume.device)
    inside = [slice(low, low + n) for low, n in zip(before, size, strict=True)]
    scores = total = None
    count, finished = len(starts_d) * len(corners), 0
    tell(0, count)
    for d, next_d in zip(starts_d, [*starts_d[1:], volume.shape[1]], strict=True):
        for some in chunked(corners, bs):
            windows = [_window(volume, (d, *corner), sides) for corner in some]
            for (h, w), part in zip(some, predict(torch.stack(windows)), strict=True):
                if scores is None or total is None:
                    scores = part.new_zeros(len(part), sides[0], *volume.shape[2:])
                    total = part.new_zeros(sides[0], *volume.shape[2:])
                scores[:, :, h : h + sides[1], w : w + sides[2]].addcmul_(part, weights)
                total[:, h : h + sides[1], w : w + sides[2]] += weights
            finished += len(some)
            tell(finished, count)
        assert scores is not None  # there is a window at each start
        assert total is not None
        done = next_d - d
        low, high = max(d, inside[0].start) - d, min(next_d, inside[0].stop) - d
        if high > low:
            yield (scores[:, low:high] / total[low:high])[:, :, inside[1], inside[2]]
        scores, total = _moved_on(scores, 1, done), _moved_on(total, 0, done)


def window_starts(size: int, side: int, overlap: float) -> list[int]:
    """Where windows begin along one axis: even steps of at most ``side * (1 - overlap)``, the last window at the end.

    Args:
        size: voxels of the axis, at least ``side``.
        side: voxels of the window.
        overlap: share of the window that its neighbour covers too, 0 to below 1.

    >>> window_starts(10, 4, 0.5)
    [0, 2, 4, 6]
    >>> window_starts(9, 4, 0.5)
    [0, 2, 3, 5]
    """
    step = max(1, int(side * (1 - overlap)))
    count = -(-(size - side) // step) + 1
    return [round(number * (size - side) / max(1, count - 1)) for number in range(count)]


def gaussian_weights(sides: Sequence[int]) -> Tensor:
    """Weights (D, H, W) of the voxels of a window: a Gaussian of std side / 8, 1 at the centre, never 0."""
    weights = torch.ones(())
    for n in sides:
        distance = (torch.arange(n) - (n - 1) / 2) / (n / 8)
        weights = weights[..., None] * torch.exp(-0.5 * distance**2)
    return (weights / weights.max()).clamp(min=1e-3)


def flipped_mean(
    predict: Callable[[Tensor], Tensor],
    x: Tensor,
    axes: Sequence[int],
    swap: tuple[int, Mapping[int, int]] | None = None,
    watch: Disagreement | None = None,
) -> Tensor:
    """Mean of ``predict`` over all flips of ``x``, each flipped back.

    Args:
        predict: (B, C, D, H, W) -> scores (B, K, D, H, W).
        x: volumes.
        axes: dimensions of ``x`` to flip.
        swap: dimension with whose flip channels of the scores are exchanged, and which: channel -> channel.
        watch: gets what is decided of each flip, and of the mean.
    """
    combinations = [combo for n in range(len(axes) + 1) for combo in itertools.combinations(axes, n)]
    total = predict(x)
    watch = None if len(combinations) == 1 else watch
    each = [] if watch is None else [watch.decided(total)]
    for combo in combinations[1:]:
        scores = predict(x.flip(combo)).flip(combo)
        if swap is not None and swap[0] in combo:
            scores = scores[:, [swap[1].get(channel, channel) for channel in range(scores.shape[1])]]
        if watch is not None:
            each.append(watch.decided(scores))
        total = total.add_(scores)
    mean = total.div_(len(combinations))
    if watch is not None:
        watch.add(each, watch.decided(mean))
    return mean


def _window(volume, start, sides):
    return volume[(slice(None), *(slice(low, low + n) for low, n in zip(start, sides, strict=True)))]


def _moved_on(slab, axis, done):
    """The slab with its first ``done`` slices gone and as many of zeros at its end."""
    rest = slab.narrow(axis, done, slab.shape[axis] - done)
    fresh = list(slab.shape)
    fresh[axis] = done
    return torch.cat([rest, slab.new_zeros(fresh)], axis)
