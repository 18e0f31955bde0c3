"""Regions that may overlap, one mask each, and labels: from one to the other.

Masks of regions are (R, D, H, W) of 0 and 1, such as whole tumour, tumour core and enhancing tumour of BraTS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from faimed3d.masks.classes import both_ways
from faimed3d.masks.codes import class_name
from faimed3d.masks.labels import T, with_labels


def label_regions(mask: T, regions: Sequence[int | Iterable[int]]) -> T:
    """Masks (..., R, D, H, W) of regions that are made of labels.

    Args:
        mask: labels (..., D, H, W).
        regions: for each region its label, or several.

    >>> label_regions(torch.tensor([[[0, 1, 2, 3]]]), [(1, 2, 3), 3])[:, 0, 0].tolist()
    [[0, 1, 1, 1], [0, 0, 0, 1]]
    """
    plain = mask.as_subclass(Tensor)
    parts = []
    for region in regions:
        labels = (region,) if isinstance(region, int) else tuple(region)
        inside = torch.zeros(plain.shape, dtype=torch.bool, device=plain.device)
        for label in labels:
            inside |= plain == label
        parts.append(inside)
    like: T = mask.unsqueeze(-4)  # type: ignore[assignment]
    result = with_labels(like, torch.stack(parts, -4).to(torch.uint8))
    if hasattr(mask, "codes"):
        result.codes = None  # type: ignore[attr-defined]  # names of labels are none of regions
    return result


def merge_regions(mask: T) -> T:
    """Labels (..., D, H, W) of regions laid over one another in their order: where two overlap, the later one shows.

    List regions from the outermost to the innermost, so that the merged mask shows all of them.

    Args:
        mask: (..., R, D, H, W), not 0 where a voxel is inside.

    Returns:
        0 outside of all regions, 1 for the first, 2 for the second, ...

    >>> merge_regions(torch.tensor([[0, 1, 1, 1], [0, 0, 0, 1]]).view(2, 1, 1, 4)).tolist()
    [[[0, 1, 1, 2]]]
    """
    plain = mask.as_subclass(Tensor)
    count = plain.shape[-4]
    labels = torch.zeros_like(plain.select(-4, 0), dtype=torch.uint8 if count < 256 else torch.int32)
    for number in range(count):
        labels[plain.select(-4, number) != 0] = number + 1
    like: T = mask.select(-4, 0)  # type: ignore[assignment]
    return with_labels(like, labels)  # the leading axes that stay, with their geometry


def swap_regions(mask: T, pairs: Mapping[int, int]) -> T:
    """Exchange pairs of regions, 1 is the first: what :func:`swap_labels` does to labels.

    Args:
        mask: (..., R, D, H, W).
        pairs: ``{left: right}``; each region in one pair.

    Raises:
        ValueError: a region is in two pairs, or there is none of that number.

    >>> swap_regions(torch.tensor([[0, 1], [1, 1]]).view(2, 1, 1, 2), {1: 2})[:, 0, 0].tolist()
    [[1, 1], [0, 1]]
    """
    table, count = both_ways(pairs), mask.shape[-4]
    if max(table) > count:
        raise ValueError(f"swap_labels={dict(pairs)!r} names the region {max(table)}, but the mask has {count} regions")
    order = [table.get(number, number) - 1 for number in range(1, count + 1)]
    plain = mask.as_subclass(Tensor)
    return with_labels(mask, plain.index_select(plain.ndim - 4, torch.tensor(order, device=plain.device)))


def swapped_regions(regions: Sequence[Iterable[int]], pairs: Mapping[int, int]) -> dict[int, int | None]:
    """What regions become where labels are exchanged: number -> number, 1 is the first. Those that stay are left out.

    Args:
        regions: for each region its labels; no two of the same.
        pairs: of labels, as of :func:`swap_labels`.

    Returns:
        None stands for what is none of the regions.

    >>> swapped_regions([(1, 2), (1, 3), (2, 4), (3,)], {1: 2, 3: 4})
    {2: 3, 3: 2, 4: None}
    """
    other = both_ways(pairs)
    parts = [frozenset(region) for region in regions]
    number = {part: place for place, part in enumerate(parts, 1)}
    become = [frozenset(other.get(label, label) for label in part) for part in parts]
    return {number[part]: number.get(new) for part, new in zip(parts, become, strict=True) if new != part}


def region_volumes(mask: Tensor, voxel_volume: float, codes: Mapping[int, str]) -> dict[str, float]:
    """Volume outside of all regions, of what any of them covers, and of each, in mm3; see :func:`class_volumes`.

    Args:
        mask: (R, D, H, W), not 0 where a voxel is inside.
        voxel_volume: of one voxel, in mm3.
        codes: names by number, 1 for the first region.
    """
    inside = mask.as_subclass(Tensor) != 0
    covered = int(inside.any(0).sum())
    volumes = {
        "background": (inside[0].numel() - covered) * voxel_volume,
        "total_mask_volume": covered * voxel_volume,
    }
    return volumes | {
        class_name(number, codes): int(part.sum()) * voxel_volume for number, part in enumerate(inside, 1)
    }
