"""Prediction of whole volumes: from a file or DICOM folder to labels on the patient's own grid.

``learn.predict_volume(source)`` reads the source and prepares it as the validation set is prepared, runs the network,
and brings the result back onto the grid of the source, wherever resampling, cropping and padding have led.
``learn.predict_folder`` does so for many and reports on each.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path

import pandas as pd
import torch
from fastai.learner import Learner
from fastai.torch_core import to_device
from fastcore.basics import patch_to
from fastprogress.fastprogress import progress_bar
from torch import Tensor, nn

from faimed3d.augment import PadOrCrop3D, RandomCrop3D
from faimed3d.errors import ReadError
from faimed3d.inference.cases import name_of, refuse_sources, scans_in, text_of
from faimed3d.inference.scores import bring_onto, collect_slabs, most_probable, warn_of_cut
from faimed3d.inference.windows import flipped_mean, sliding_windows
from faimed3d.models.encoder import evaluating
from faimed3d.volume import TensorDicom3D, TensorMask3D

__all__ = ["predict_folder", "predict_volume"]

_CROPS = (PadOrCrop3D, RandomCrop3D)  # they fit volumes into batches and cut parts away


def predict_volume(
    learn, source, patch=None, overlap=0.5, tta=False, probabilities=False, bs=1, memory=2 * 2**30, threshold=0.5
):
    """Predict the label of every voxel of a volume, on the volume's own grid.

    The source goes through the item and batch transforms of the validation set. The model runs in evaluation mode on
    plain tensors without gradients; afterwards its modules are in the mode in which they were. The probabilities are
    interpolated linearly onto the source's grid, one class at a time, and the most probable class wins there. Where the
    probabilities of all classes on the grid of the transforms exceed ``memory``, the labels are found on that grid
    and brought back by the nearest voxel, with a warning. What the transforms have cut away is background.

    Args:
        learn: Learner whose model gives scores of each voxel.
        source: a file, a DICOM folder, an inventory row, an array, a tensor or a ``sitk.Image``; a list of them where
            the items of ``learn.dls`` are lists, as channels.
        patch: sides (D, H, W), or one number, of a window that slides over the volume. The transforms that crop to
            a size (``PadOrCrop3D``, ``RandomCrop3D``) are left out then. None: the whole volume at once.
        overlap: share of a window that its neighbour covers too, 0 to below 1.
        tta: test-time augmentation: the mean over the flips of all three axes, or of the given ones (0 = D, 1 = H,
            2 = W).
        probabilities: return the probabilities as well.
        bs: windows at a time.
        memory: bytes that the float32 probabilities of all classes may take. A slab of them as deep as a window comes
            on top, and two volumes on the source's grid.
        threshold: probability above which a model of one channel says 1.

    Returns:
        ``TensorMask3D`` (D, H, W) of uint8 with the geometry of the source; with ``probabilities`` this and a
        ``TensorDicom3D`` (C, D, H, W).

    Raises:
        ValueError: the source has no geometry or a transform loses it (the message names the transform), the model does
            not give scores of each voxel or gives NaN, labels may overlap (several channels that do not add up to 1,
            as of ``BCEWithLogitsLossFlat``), or the probabilities asked for exceed ``memory``.
    """
    patch, axes = _patch(patch, overlap), _flips(tta)
    if not isinstance(bs, Integral) or bs < 1:
        raise ValueError(f"bs must be a whole number of windows, at least 1, got {bs!r}")
    volume, x = _prepared(learn, source, crop=patch is None)
    target, working = volume.geometry, x.geometry
    predict = _predictor(learn, [axis + 2 for axis in axes])
    with evaluating(learn.model), torch.no_grad():
        voxels = x.as_subclass(Tensor)
        if patch is None:
            slabs = iter([predict(voxels[None])[0]])
        else:
            slabs = sliding_windows(predict, voxels, patch, overlap, bs)
        labels, scores = collect_slabs(slabs, working, target, memory, probabilities, threshold)
    if working.agrees(target):
        if scores is not None:
            scores = TensorDicom3D(scores, target)
        labels = TensorMask3D(labels, target)
    else:
        warn_of_cut(working, target)
        if scores is None:
            labels = TensorMask3D(bring_onto(labels, working, target, TensorMask3D), target)
        else:
            labels, scores = most_probable(scores, working, target, threshold, probabilities)
    codes = getattr(learn.dls, "vocab", None)
    if codes is not None and len(codes) and all(isinstance(code, str) for code in codes):
        labels.codes = list(codes)
    return (labels, scores) if probabilities else labels


def predict_folder(learn, items, out, names=None, suffix=".nii.gz", overwrite=False, **kwargs):
    """Predict many volumes and save each as a file; what is there already is not done again.

    Each file is written whole or not at all, so a run that was stopped goes on where it stopped. A case that fails does
    not stop the rest: it is named in the report and in a warning at the end. The progress bar obeys
    ``learn.no_bar()``.

    Args:
        learn: Learner whose model gives scores of each voxel.
        items: sources as :func:`predict_volume` takes them, a DICOM inventory, or a folder, whose volumes are found. Of
            a folder that holds ``out``, what an earlier run has written there is no source.
        out: folder to write to; it is made if need be.
        names: name of each file, without ``suffix``. Default: the name of the source's file or DICOM folder.
        suffix: format of the files.
        overwrite: predict and write again what is there.
        kwargs: of :func:`predict_volume`.

    Returns:
        DataFrame with one row per case: ``source``, ``output``, ``seconds`` (NaN for what was there already),
        ``background``, ``total_mask_volume`` and ``class 1``, ``class 2``, ... in mm3, and ``error`` (empty if none).

    Raises:
        ValueError: two cases would be written to one file, or one over a source.
    """
    out = Path(out)
    if isinstance(items, str | Path):
        items = scans_in(items, out, names, suffix)
    if isinstance(items, pd.DataFrame):
        items = [row for _, row in items.iterrows()]
    items = list(items)
    names = [name_of(item) for item in items] if names is None else [str(name) for name in names]
    if len(names) != len(items):
        raise ValueError(f"there are {len(items)} items and {len(names)} names: each item needs one")
    outputs = [out / f"{name}{suffix}" for name in names]
    taken = {}
    for item, output in zip(items, outputs, strict=True):
        if output in taken:
            raise ValueError(
                f"{text_of(taken[output])} and {text_of(item)} would both be written to {output}: pass names, a "
                "different one for each item"
            )
        taken[output] = item
    refuse_sources(items, outputs, getattr(learn.dls, "path", "."))
    out.mkdir(parents=True, exist_ok=True)
    cases = list(zip(items, outputs, strict=True))
    if hasattr(learn, "progress"):
        cases = progress_bar(cases)
    report = pd.DataFrame([_case(learn, item, output, overwrite, kwargs) for item, output in cases])
    volumes = [column for column in report.columns if column.startswith("class ")]
    volumes.sort(key=lambda column: int(column.split()[1]))
    report = report.reindex(
        columns=["source", "output", "seconds", "background", "total_mask_volume", *volumes, "error"]
    )
    good = report["error"] == ""
    report.loc[good, volumes] = report.loc[good, volumes].fillna(0.0)
    if not good.all():
        failed = report[~good]
        warnings.warn(
            f"{len(failed)} of {len(report)} cases failed, see the column error of the report; the first is "
            f"{failed['source'].iloc[0]}: {failed['error'].iloc[0]}",
            stacklevel=2,
        )
    return report


for _function in (predict_volume, predict_folder):
    patch_to(Learner)(_function)  # fastai's own way: new names, none replaced


def _patch(patch, overlap):
    if not isinstance(overlap, Real) or not 0 <= overlap < 1:
        raise ValueError(f"overlap must be a share from 0 to below 1, got {overlap!r}")
    if patch is None:
        return None
    sides = tuple(patch) if isinstance(patch, Iterable) else (patch,) * 3
    if len(sides) != 3 or not all(isinstance(n, Integral) and not isinstance(n, bool) and n > 0 for n in sides):
        raise ValueError(f"patch must be three positive whole numbers (D, H, W) or one, got {patch!r}")
    return tuple(int(n) for n in sides)


def _flips(tta):
    axes = tuple(tta) if isinstance(tta, Iterable) else {True: (0, 1, 2), False: (), None: ()}.get(tta, (None,))
    if not set(axes) <= {0, 1, 2} or len(set(axes)) != len(axes):
        raise ValueError(f"tta must be True, False or some of the axes 0 (D), 1 (H), 2 (W), got {tta!r}")
    return axes


def _prepared(learn, source, crop):
    """The source as it is read, and as the model would get it in validation: (C, D, H, W), on the model's device."""
    dl = _loader(learn, source)
    item = dl.dataset[0]
    if len(item) != 1:
        raise ValueError(f"predict_volume needs a model of one input, these dls have {len(item)}; see ImageBlock3D")
    volume = item[0]
    if not isinstance(volume, TensorDicom3D):
        raise ValueError(f"the dls turn {text_of(source)} into a {type(volume).__name__}, not into a TensorDicom3D")
    volume.require_geometry("predict_volume")
    for transform in dl.after_item.fs:
        if crop or not isinstance(transform, _CROPS):
            item = _applied(transform, item)
    batch = to_device(dl.do_batch([item]), _device_and_type(learn)[0])
    for transform in dl.after_batch.fs:
        if crop or not isinstance(transform, _CROPS):
            batch = _applied(transform, batch)
    x = batch[0]
    if x.ndim != 5 or not isinstance(x, TensorDicom3D):
        raise ValueError(
            f"the transforms must make batches (B, C, D, H, W) of TensorDicom3D, got {type(x).__name__} "
            f"{tuple(x.shape)}: ImageBlock3D gives images their channel axis"
        )
    x[0].require_geometry("predict_volume")
    return volume, x[0]


def _applied(transform, item):
    """``item`` after ``transform`` as in validation; an error if the volume is no longer known to lie anywhere."""
    before = item[0]
    item = transform(item, split_idx=1)
    after = item[0]
    known = isinstance(after, TensorDicom3D) and (after.geometry is not None or _same_for_all(after))
    if not known:
        name = getattr(transform, "name", None) or type(transform).__name__
        raise ValueError(
            f"predict_volume cannot bring the prediction back: the transform {name} has lost where the volume lies "
            f"({before!r} became {after!r}). Replace it by one that keeps the geometry, such as Resample3D, Resize3D "
            "or PadOrCrop3D, or use operations of faimed3d.spatial in it"
        )
    return item


def _same_for_all(x):
    return x.ndim == 5 and x[0].geometry is not None


def _loader(learn, source):
    """Loader of the one source, with the transforms of validation."""
    if isinstance(source, pd.Series) and "folder" in source:  # of a DICOM inventory, no row of the table of the dls
        candidates = [None]
    elif isinstance(source, list | tuple):
        candidates = [source]
    else:
        candidates = [source, *([Path(source)] if isinstance(source, str) else []), None]
    for candidate in candidates:
        candidate = TensorDicom3D.create(source) if candidate is None else candidate
        # fastai asserts that the kind of a source is one of those that its transforms know
        with contextlib.suppress(AssertionError):
            return learn.dls.test_dl([candidate], num_workers=0, bs=1)
    raise TypeError(
        f"the items of these dls cannot be made from a {type(source).__name__}: expected what they were built from, "
        "a path, or a TensorDicom3D"
    )


def _predictor(learn, axes):
    """Function from windows (B, C, D, H, W) to probabilities (B, K, D, H, W), float32."""
    model, dtype = learn.model, _device_and_type(learn)[1]
    activation = getattr(learn.loss_func, "activation", None)
    if isinstance(learn.loss_func, nn.BCEWithLogitsLoss):
        activation = torch.sigmoid

    def once(x):
        scores = model(x.to(dtype))
        if not isinstance(scores, Tensor) or scores.ndim != 5 or scores.shape[2:] != x.shape[2:]:
            came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(
                f"predict_volume needs scores (B, C, D, H, W) of each voxel of {tuple(x.shape)}, but the model gave "
                f"{came}: for labels of whole volumes use learn.predict"
            )
        scores = scores.as_subclass(Tensor).float()
        if activation is not None:
            scores = activation(scores)
        else:
            scores = scores.softmax(1) if scores.shape[1] > 1 else scores.sigmoid()
        _check(scores, x)
        return scores

    return lambda x: flipped_mean(once, x, axes)


def _device_and_type(learn):
    """Where the model computes, and in which type."""
    parameter = next(learn.model.parameters(), None)
    return (learn.dls.device, torch.float32) if parameter is None else (parameter.device, parameter.dtype)


def _check(probabilities, x):
    """An error where the class of a voxel cannot be told: the largest of NaN, or of labels that may overlap, is none.

    Args:
        probabilities: (B, K, D, H, W).
        x: the voxels that they are of.
    """
    total = probabilities.sum(1)
    if missing := int(total.isnan().sum()):
        wrong = int((~x.isfinite()).sum())
        cause = (
            f"{wrong} of the voxels that it saw are NaN or infinite: fill them in item_tfms or before"
            if wrong
            else "it saw no such voxel: look at its weights, and at overflow in half precision"
        )
        raise ValueError(f"the model gave NaN for {missing} of {total.numel()} voxels; {cause}")
    if probabilities.shape[1] > 1 and (total - 1).abs().amax() > 0.01:
        raise ValueError(
            "predict_volume gives each voxel its most probable label, but what the loss makes of the "
            f"{probabilities.shape[1]} scores of a voxel adds up to {total.amin():.3g} to {total.amax():.3g}, not to "
            "1: those are labels that may overlap, or no labels. Use a loss over classes, the background among them, "
            "such as DiceCELoss3D, or a model for each label"
        )


def _case(learn, item, output, overwrite, kwargs):
    """Predict and save one volume, and say how it went."""
    row = {"source": text_of(item), "output": str(output), "seconds": float("nan"), "error": ""}
    try:
        mask = None
        if output.exists() and not overwrite:
            with contextlib.suppress(ReadError):  # a damaged file is written again
                mask = TensorMask3D.create(output, dtype=None)
        if mask is None:
            begin = time.perf_counter()
            mask = predict_volume(learn, item, **kwargs)
            mask = mask[0] if isinstance(mask, tuple) else mask
            mask.save(output)
            row["seconds"] = time.perf_counter() - begin
        row.update(mask.calc_volume())
    except Exception as error:  # whatever is wrong with one case is reported, and the next one begins
        row["error"] = f"{type(error).__name__}: {error}"
    return row
