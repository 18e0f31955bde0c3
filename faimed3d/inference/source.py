"""The source of a prediction: read, and prepared as the transforms of the validation set prepare it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from fastai.data.core import TfmdDL
from fastai.learner import Learner
from fastai.torch_core import to_device
from torch import Tensor

from faimed3d.augment import CropForeground3D, PadOrCrop3D, RandomCrop3D
from faimed3d.data.trained_on import known_of
from faimed3d.volume import TensorDicom3D

Source: TypeAlias = str | Path | np.ndarray | Tensor | sitk.Image | pd.Series | Sequence  # of any of these, as channels

_CROPS = (PadOrCrop3D, RandomCrop3D)  # they fit volumes into batches and cut parts away


def prepare(learn: Learner, source: Source, crop: bool) -> tuple[TensorDicom3D, TensorDicom3D]:
    """The source as it is read, and as the model would get it in validation: (C, D, H, W), on the model's device.

    Args:
        learn: its ``dls`` have the transforms.
        source: see ``predict_volume``.
        crop: apply the transforms that crop to a size.
    """
    dl = _loader(learn, source)
    item = dl.dataset[0]
    if len(item) != 1:
        raise ValueError(f"predict_volume needs a model of one input, these dls have {len(item)}; see ImageBlock3D")
    volume = item[0]
    if not isinstance(volume, TensorDicom3D):
        raise ValueError(f"the dls turn {text_of(source)} into a {type(volume).__name__}, not into a TensorDicom3D")
    volume.require_geometry("predict_volume")
    item = _transformed(dl.after_item, item, crop)
    batch = to_device(dl.do_batch([item]), device_and_type(learn)[0])
    x = _transformed(dl.after_batch, batch, crop)[0]
    if x.ndim != 5 or not isinstance(x, TensorDicom3D):
        raise ValueError(
            f"the transforms must make batches (B, C, D, H, W) of TensorDicom3D, got {type(x).__name__} "
            f"{tuple(x.shape)}: ImageBlock3D gives images their channel axis"
        )
    wrong = known_of(learn).spacing_error(x[0].require_geometry("predict_volume"))
    if wrong is not None:
        if not volume.require_geometry("predict_volume").stated:
            wrong += ". Or is it only that nothing says where it lies? Then pass like=, a volume that lies there"
        raise ValueError(f"{text_of(source)}: {wrong}")
    return volume, x[0]


def read_as_prepared(learn: Learner, source: Source) -> TensorDicom3D:
    """The source as the loaders read it, before their item transforms."""
    volume = _loader(learn, source).dataset[0][0]
    if not isinstance(volume, TensorDicom3D):
        raise ValueError(f"the dls turn {text_of(source)} into a {type(volume).__name__}, not into a TensorDicom3D")
    return volume


def read_as_told(source: Source, strict: bool, series: Any, like: Any) -> Source:
    """The source, read here where anything is said of how it is to be read; as it is where nothing is."""
    if strict and series is None and like is None:
        return source
    if isinstance(source, list | tuple):
        return [TensorDicom3D.create(one, series, strict, like=like) for one in source]
    return TensorDicom3D.create(source, series, strict, like=like)


def crops_to_foreground(learn: Learner) -> bool:
    """Whether the items of the loaders are cropped to their foreground."""
    return any(isinstance(step, CropForeground3D) for step in getattr(learn.dls.valid.after_item, "fs", ()))


def device_and_type(learn: Learner) -> tuple[torch.device, torch.dtype]:
    """Where the model computes, and in which type."""
    parameter = next(learn.model.parameters(), None)
    return (learn.dls.device, torch.float32) if parameter is None else (parameter.device, parameter.dtype)


def text_of(source: Source) -> str:
    """How reports and messages name a source."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, pd.Series) and "key" in source:
        return str(source["key"])
    if isinstance(source, list | tuple) and source:
        return text_of(source[0])
    return f"a {type(source).__name__}"


def _loader(learn: Learner, source: Source) -> TfmdDL:
    """Loader of the one source, with the transforms of validation."""
    if not isinstance(learn.dls.valid, TfmdDL):
        raise TypeError(
            f"these dls hold a {type(learn.dls.valid).__name__} of torch, which does not say how a volume "
            "is read and prepared: set learn.dls to DataLoaders of a DataBlock or of SegmentationDataLoaders3D"
        )
    for item in _items_from(source):
        with contextlib.suppress(AssertionError):  # fastai asserts that its transforms know the kind of an item
            return learn.dls.test_dl([item], num_workers=0, bs=1)
    raise TypeError(
        f"the items of these dls cannot be made from a {type(source).__name__}: expected what they were built from, "
        "a path, or a TensorDicom3D"
    )


def _items_from(source: Source) -> Iterator[Source]:
    """What the dls may take as an item: the source as it is, else its path, else its volume."""
    if not (isinstance(source, pd.Series) and "folder" in source):  # a row of an inventory is none of the dls' table
        yield source
    if isinstance(source, str):
        yield Path(source)
    if not isinstance(source, list | tuple):
        yield TensorDicom3D.create(source)


def _transformed(pipeline, item, crop):
    for transform in pipeline.fs:
        if crop or not isinstance(transform, _CROPS):
            item = _applied(transform, item)
    return item


def _applied(transform, item):
    """``item`` after ``transform`` as in validation; an error if the volume has no geometry any more."""
    before = item[0]
    item = transform(item, split_idx=1)
    after = item[0]
    if not isinstance(after, TensorDicom3D) or (after.geometry is None and not _is_batch_with_geometry(after)):
        name = getattr(transform, "name", None) or type(transform).__name__
        raise ValueError(
            f"predict_volume cannot bring the prediction back: the transform {name} has lost the geometry of the "
            f"volume ({before!r} became {after!r}). Replace it by one that keeps the geometry, such as Resample3D, "
            "Resize3D or PadOrCrop3D, or use operations of faimed3d.spatial in it"
        )
    return item


def _is_batch_with_geometry(x):
    return x.ndim == 5 and x[0].geometry is not None
