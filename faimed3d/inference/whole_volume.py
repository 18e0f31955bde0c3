"""Prediction of a whole volume: from a file or DICOM folder to labels on the patient's own grid.

``learn.predict_volume(source)`` reads the source, prepares it as the validation set is prepared, runs the network, or
those of an ensemble, and brings the result back onto the grid of the source, whatever resampling, cropping and padding
came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from numbers import Integral, Real
from typing import Any  # what create takes

import numpy as np
import torch
from fastai.learner import Learner
from fastcore.basics import patch_to
from fastprogress.fastprogress import progress_bar
from torch import Tensor

from faimed3d._arguments import memory_bytes, share, whole_per_axis
from faimed3d._keywords import strict_keywords
from faimed3d.data.regions import region_names
from faimed3d.inference.averaging import Run, mean_of
from faimed3d.inference.disagreement import Disagreement
from faimed3d.inference.members import Predictor, class_codes, members_of
from faimed3d.inference.network import probabilities_of
from faimed3d.inference.probabilities import bring_onto, collect_slabs, most_probable, warn_of_cut
from faimed3d.inference.sides import mirrored_channels, trained_flips
from faimed3d.inference.sliding_window import sliding_windows
from faimed3d.inference.source import (
    Preparation,
    Source,
    crops_to_foreground,
    read_as_told,
    source_of_row,
    text_of,
    verdicts_on,
)
from faimed3d.inference.suitability import ACTIONS, obey
from faimed3d.masks import merge_regions
from faimed3d.models.encoder import evaluating
from faimed3d.volume import TensorDicom3D, TensorMask3D


@strict_keywords
def predict_volume(
    learn: Learner | Predictor,
    source: Source,
    patch: int | Sequence[int] | None = None,
    overlap: float = 0.5,
    tta: bool | Sequence[int] = False,
    probabilities: bool = False,
    bs: int = 1,
    memory: float | str = 2 * 2**30,
    threshold: float = 0.5,
    merge: bool = False,
    progress: bool | None = None,
    strict: bool = True,
    series: Any = None,
    like: Any = None,
    outside: str | None = None,
    disagreement: bool = False,
) -> TensorMask3D | tuple[Any, ...]:
    """Predict the label of every voxel of a volume, on the volume's own grid.

    The source goes through the item and batch transforms of the validation set. The model runs in evaluation mode, on
    plain tensors, without gradients; afterwards each of its modules is back in the mode that it had. The probabilities
    are interpolated linearly onto the source's grid, one class at a time, and the most probable class wins there. If
    the probabilities of all classes on the grid of the transforms exceed ``memory``, the labels are found on that grid
    and brought back by the nearest voxel, with a warning. What the transforms have cut away is background.

    Args:
        learn: Learner whose model gives scores of each voxel, or an :class:`Ensemble` of such.
        source: a file, a DICOM folder, an inventory row, an array, a tensor or a ``sitk.Image``; a list of them where
            the items of ``learn.dls`` are lists, as channels.
        patch: sides (D, H, W), or one number, of a window that slides over the volume. The transforms that crop to
            a size (``PadOrCrop3D``, ``RandomCrop3D``) are left out then. None: that of the training patches of
            ``PatchDataLoaders3D``, else the whole volume at once.
        overlap: share of a window that its neighbour covers too, 0 to below 1.
        tta: test-time augmentation, the mean over flips: True along the axes that training has mirrored (all three, and
            a warning, where no transform of training did), or the given ones (0 = D, 1 = H, 2 = W). Where left and
            right are mirrored, the classes that ``swap_labels`` of the training transforms pairs are exchanged.
        probabilities: return the probabilities as well.
        bs: windows at a time.
        memory: bytes that the float32 probabilities of all classes may take, or a text such as '2GB'. A slab of them
            as deep as a window comes on top, and two volumes on the source's grid.
        threshold: probability above which a voxel is inside of a region, or a model of one channel says 1.
        merge: of regions that may overlap (``RegionBlock3D``): one mask of labels 1, 2, ... in their order, the later
            ones on top, as of :func:`merge_regions`. False: one mask for each.
        progress: show a bar with the windows done and left. None: unless ``learn.no_bar()`` holds.
        strict, series, like: as of ``TensorDicom3D.create``, for reading the source.
        outside: of a scan that is not such as the network was trained on (modality, sides, spacing, intensities, field
            of view: docs/model_file.md): ``'refuse'`` it, or ``'warn'`` and predict. None: a :class:`StoredModel`
            refuses; a learner, whose user knows what it was trained on, looks at the spacing alone.
        disagreement: return as well how much the predictions of the mirrored volumes differ: 1 - Dice of their
            foreground with that of their mean, 0 where all agree, NaN without ``tta``.

    Returns:
        ``TensorMask3D`` (D, H, W) of uint8 with the geometry and the header of the source, so that it is a mask of that
        scan wherever one is asked for (``mask.save(file, like=mask)``); of regions (R, D, H, W). With
        ``probabilities`` this and a ``TensorDicom3D`` (C, D, H, W), with ``disagreement`` a number after these.

    Raises:
        UnsuitedScan: the scan is not such as the network was trained on.
        ValueError: the source has no geometry, or a transform loses it (the message names the transform); the model
            does not give scores of each voxel, or gives NaN; labels may overlap (several channels that do not add up to
            1, as of ``BCEWithLogitsLossFlat``) and these are no regions; the probabilities asked for exceed ``memory``;
            or ``tta`` mirrors left and right of classes that are named by side, and no ``swap_labels`` is known.
        TypeError: the transforms of ``learn.dls`` do not take such a source.

    >>> from fastai.data.block import DataBlock
    >>> from torch import nn
    >>> from faimed3d.data import ImageBlock3D, MaskBlock3D
    >>> from faimed3d.losses import CrossEntropyLoss3D
    >>> scans = [TensorDicom3D(torch.rand(4, 6, 8), {"spacing": (1, 1, 3)}) for _ in range(2)]
    >>> block = DataBlock((ImageBlock3D, MaskBlock3D(["air", "lesion"])), get_y=lambda scan: TensorMask3D(scan > 0.5))
    >>> learn = Learner(block.dataloaders(scans, bs=1), nn.Conv3d(1, 2, 3, padding=1), loss_func=CrossEntropyLoss3D())
    >>> mask = learn.predict_volume(scans[0], patch=(4, 4, 4), progress=False)
    >>> mask.shape, mask.get_spacing()
    (torch.Size([4, 6, 8]), (1.0, 1.0, 3.0))
    """
    memory, threshold = memory_bytes(memory), share(threshold, "threshold")
    patch = getattr(learn.dls, "patch", None) if patch is None else patch
    sides, axes = _sides(patch, overlap), flipped_axes(tta)
    if not isinstance(bs, Integral) or bs < 1:
        raise ValueError(f"bs must be a whole number of windows, at least 1, got {bs!r}")
    if outside not in (None, *ACTIONS):
        raise ValueError(f"outside must be one of {', '.join(map(repr, ACTIONS))} or None, got {outside!r}")
    members = members_of(learn)
    regions, codes = region_names(learn.dls), class_codes(learn)
    overlapping = regions is not None
    preparation = Preparation(read_as_told(members[0], source, strict, series, like), sides is None, len(members) > 1)
    outside = outside or getattr(type(learn), "outside", None)
    prepared = [preparation.of(member, whole=outside is not None) for member in members]
    pairs = zip(prepared, members, strict=True)
    verdicts = [verdict for pair in pairs for verdict in verdicts_on(*pair, spacing_only=outside is None)]
    obey(list(dict.fromkeys(verdicts)), outside or "refuse", text_of(source_of_row(members[0], source)))
    stored, working = prepared[0].volume.require_geometry("predict_volume"), prepared[0].x.geometry
    header = prepared[0].volume._header
    del preparation  # holds what lies between the source and the volumes of the networks
    target = stored.reorient(working.orientation)  # so that the result is the same however the source is stored
    bars = _bars(learn, progress, len(members))
    runs, watch = [], Disagreement(threshold, overlapping) if disagreement else None
    for member, (_, x, _), tell in zip(members, prepared, bars, strict=True):
        flips = trained_flips(member) if axes is None else axes
        mirrored = mirrored_channels(member, flips, x.geometry, codes, 1 if overlapping else 0)
        predict = probabilities_of(member, flips, regions, mirrored, watch)
        voxels = x.as_subclass(Tensor)
        slabs = _whole(predict, voxels) if sides is None else sliding_windows(predict, voxels, sides, overlap, bs, tell)
        runs.append(Run(member, x.geometry, slabs))
        if sides is None or not crops_to_foreground(member):  # that cuts background on purpose
            warn_of_cut(x.geometry, target)
    del prepared
    with ExitStack() as stack, torch.no_grad():
        for member in members:
            stack.enter_context(evaluating(member.model))
        slabs, working = mean_of(runs, target, memory, overlapping)
        voted, scores = collect_slabs(slabs, working, target, memory, probabilities, threshold, overlapping)
    if working.agrees(target):
        labels = TensorMask3D(voted, target)
        scores = None if scores is None else TensorDicom3D(scores, target)
    elif scores is None:
        labels = TensorMask3D(bring_onto(voted, working, target, TensorMask3D), target)
    else:
        labels, scores = most_probable(scores, working, target, threshold, probabilities, overlapping)
    if merge and overlapping:
        labels = merge_regions(labels)
    labels = _stored_as(stored, labels)
    scores = None if scores is None else _stored_as(stored, scores)
    labels.codes, labels._header = codes, header  # the scan's, by which masks of other scans are told
    more = [scores] * probabilities + ([] if watch is None else [watch.value])
    return (labels, *more) if more else labels


patch_to(Learner)(predict_volume)  # fastai's own way: a new name, none replaced


def _stored_as(geometry, volume):
    """A result in the storage order of the source, on its very grid."""
    volume = volume.reorient(geometry.orientation)
    return volume.with_voxels(volume.as_subclass(Tensor).contiguous(), lambda _: geometry)


def _sides(patch, overlap):
    """The sides (D, H, W) of a window; None for none."""
    if not isinstance(overlap, Real) or not 0 <= overlap < 1:
        raise ValueError(f"overlap must be a share from 0 to below 1, got {overlap!r}")
    return None if patch is None else whole_per_axis(patch, "patch", least=1)


def flipped_axes(tta: Any) -> tuple[int, ...] | None:
    """Axes of test-time flips; None for those of training.

    Args:
        tta: as of :func:`predict_volume`.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(tta, bool | np.bool_):
        return None if tta else ()
    axes = tuple(tta) if isinstance(tta, Iterable) else () if tta is None else (None,)
    if not set(axes) <= {0, 1, 2} or len(set(axes)) != len(axes):
        raise ValueError(f"tta must be True, False or some of the axes 0 (D), 1 (H), 2 (W), got {tta!r}")
    return axes


def _whole(predict, voxels):
    """As of :func:`sliding_windows`, of one window that is the volume."""
    yield predict(voxels[None])[0]


def _bars(learn, progress, count):
    """For each of some networks a function that says how many of its windows are done; all share one bar."""
    wanted = hasattr(learn, "progress") if progress is None else progress
    if wanted is False:
        return [lambda done, total: None] * count
    bars, finished = [], [0] * count

    def tell(number, done, total):
        finished[number] = done
        if not bars:
            bars.append(progress_bar(range(total * count), leave=False))
            bars[0].comment = "windows"
        if total > 1:
            bars[0].update(sum(finished))

    return [partial(tell, number) for number in range(count)]
