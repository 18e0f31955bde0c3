"""What a network would see of the items of a loader: mean and std of each channel, spacing, orientation.

One pass over the items, one volume at a time, without random changes: the same numbers in every session. The sums are
merged in float64 as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances" (1979).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fastai.data.core import TfmdDL
from fastai.torch_core import no_random
from fastprogress.fastprogress import progress_bar
from fasttransform.transform import compose_tfms
from joblib import Parallel, delayed
from torch import Tensor

from faimed3d.augment.base import find_volumes
from faimed3d.geometry import Geometry
from faimed3d.intensity import percentiles_of
from faimed3d.io.source_header import modality_of, source_name
from faimed3d.masks import is_mask
from faimed3d.volume import TensorDicom3D

MOST_ITEMS = 100  # mean and std vary by a tenth of their spread between scans then
_LONG_WORK = 20  # items from which on a progress bar is shown


Ends = tuple[float, float]  # of the values of an item: its percentiles of ENDS

ENDS = (0.5, 99.5)  # percentiles, as nnU-Net cuts CT (Isensee et al. 2021): a few voxels of metal or noise say nothing
_MOST_VALUES = 2**18  # of a channel, evenly spread: its percentiles vary by less than a tenth of a percent then
_HEADERS = 8  # items whose headers are asked


@dataclass(frozen=True)
class InputStatistics:
    """What was seen of some items.

    Attributes:
        mean, std: of each channel.
        grids: of each item, where it has one.
        resampled: the transforms have changed the spacing of an item.
        items: how many.
        extents: sides (x, y, z) in mm of each item, before anything crops it to a size.
        ends: of each item those of its channels, before anything crops it, too.
        modalities: that headers of DICOM name.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    grids: tuple[Geometry, ...]
    resampled: bool
    items: int
    extents: tuple[tuple[float, float, float], ...] = ()
    ends: tuple[tuple[Ends, ...], ...] = ()
    modalities: tuple[str, ...] = ()


def measure_inputs(
    dl: TfmdDL, leave_out: Sequence[type] = (), most: int = MOST_ITEMS, then: Sequence[Any] = ()
) -> InputStatistics | None:
    """Look at the images of a loader as its transforms of validation prepare them.

    Args:
        dl: loader of the training set.
        leave_out: types of transforms that are not applied.
        most: items that are looked at. Of more, these are spread evenly over the data set, and a warning says so.
        then: transforms that the network's input goes through after those of the loader.

    Returns:
        The statistics of the first input of all items, of finite voxels, and of whole volumes where the items are
        patches of them; None where it is no volume.
    """
    dataset = getattr(dl.dataset, "whole", dl.dataset)
    count = len(dataset)
    chosen = range(count) if count <= most else [number * (count - 1) // max(1, most - 1) for number in range(most)]
    if count > most == MOST_ITEMS:
        warnings.warn(
            f"mean and std for the normalization are of {most} of the {count} training items, evenly spread. For those "
            "of all pass Normalize3D(*intensity_stats(items).mean_std()) in batch_tfms",
            stacklevel=4,
        )
    channels: _Channels | None = None
    grids, resampled = [], False
    extents, ends, modalities = [], [], []
    crops = any(crops_to_size(step) for pipeline in (dl.after_item, dl.after_batch) for step in pipeline.fs)
    with no_random(0, reproducible=False):  # the loaders draw what they would have drawn without this
        # joblib begins here: what items draw, as patches do, is drawn within this block
        read: Any = Parallel(min(8, os.cpu_count() or 1, len(chosen) or 1), prefer="threads", return_as="generator")(
            delayed(dataset.__getitem__)(number) for number in chosen
        )
        if len(chosen) >= _LONG_WORK:
            read = progress_bar(read, total=len(chosen), leave=False)
        for item in read:
            stored = next(_images(item), None)
            x = _prepared(dl, item, tuple(leave_out), then)
            if x is None or x.ndim != 5:
                return None
            channels = channels or _Channels(x.shape[1])
            if len(channels.means) != x.shape[1]:
                raise ValueError(
                    f"{source_name(x)}: has {x.shape[1]} channels, items before it have {len(channels.means)}: give "
                    "every item the same number of channels"
                )
            channels.add(x.as_subclass(Tensor)[0])
            whole = _prepared(dl, item, tuple(leave_out), then, crop=False) if crops else x
            assert whole is not None  # as x
            ends.append(ends_of(whole.as_subclass(Tensor)[0]))
            modalities += [modality_of(stored)] if len(ends) <= _HEADERS else []
            grid = x[0].geometry
            if grid is not None:
                grids.append(grid)
                extents.append(extent_of(whole[0].geometry or grid))
                before = None if stored is None else stored.geometry
                resampled |= before is not None and sorted(before.spacing) != sorted(grid.spacing)
    if channels is None:
        return None
    named = tuple(sorted({name for name in modalities if name}))
    return InputStatistics(
        channels.mean(), channels.std(), tuple(grids), resampled, len(chosen), tuple(extents), tuple(ends), named
    )


def crops_to_size(step: Any) -> bool:
    """Whether a transform fits volumes into batches and cuts parts away.

    Args:
        step: any transform.
    """
    return getattr(step, "crops_to_size", False)


def ends_of(x: Tensor) -> tuple[Ends, ...]:
    """Where the values of each channel begin and end, but for a few voxels.

    Args:
        x: (C, D, H, W).
    """
    found = []
    for channel in x:
        step = max(1, channel.numel() // _MOST_VALUES) | 1  # odd: no column of an even matrix is seen alone
        low, high = percentiles_of(channel.flatten()[::step].float().cpu(), ENDS)
        found.append((low, high))
    return tuple(found)


def extent_of(grid: Geometry) -> tuple[float, float, float]:
    """Sides (x, y, z) of a grid in mm.

    Args:
        grid: along x, y, z as it is stored.
    """
    x, y, z = (mm * n for mm, n in zip(grid.spacing, reversed(grid.shape), strict=True))
    return x, y, z


def _images(item):
    return (volume for volume in find_volumes(item) if not is_mask(volume))


def _prepared(
    dl: TfmdDL, item: Any, leave_out: tuple[type, ...], then: Sequence[Any], crop: bool = True
) -> TensorDicom3D | None:
    """The first image of a batch of one item."""
    of_item, of_batch = (
        [step for step in pipeline.fs if not isinstance(step, leave_out) and (crop or not crops_to_size(step))]
        for pipeline in (dl.after_item, dl.after_batch)
    )
    batch = dl.do_batch([compose_tfms(item, of_item, split_idx=1)])
    return next(_images(compose_tfms(batch, [*of_batch, *then], split_idx=1)), None)


class _Channels:
    """Count, mean and sum of squared differences of each channel, merged volume by volume."""

    def __init__(self, channels: int) -> None:
        self.count, self.means, self.squares = (torch.zeros(channels, dtype=torch.float64) for _ in range(3))

    def add(self, x: Tensor) -> None:
        for number, channel in enumerate(x):
            values = channel[channel.isfinite()].double()
            if not values.numel():
                continue
            mean = values.mean()
            here, there = values.numel(), self.count[number].item()
            difference = mean - self.means[number]
            self.count[number] += here
            self.means[number] += difference * here / (here + there)
            self.squares[number] += (values - mean).square().sum() + difference**2 * here * there / (here + there)

    def mean(self) -> tuple[float, ...]:
        return tuple(self.means.tolist())

    def std(self) -> tuple[float, ...]:
        """The unbiased ones; 1 for a channel of one value, which has nothing to be scaled."""
        return tuple(std or 1.0 for std in (self.squares / (self.count - 1).clamp(min=1)).sqrt().tolist())
