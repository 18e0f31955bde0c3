"""The source of a prediction: read, and prepared as the transforms of the validation set prepare it."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from fastai.data.core import DataLoaders, TfmdDL
from fastai.torch_core import to_device
from torch import Tensor

from faimed3d._rows import is_row, only_row
from faimed3d.augment import CropForeground3D
from faimed3d.augment.input_statistics import crops_to_size, ends_of
from faimed3d.data.block_transforms import CheckLabels, MatchMask
from faimed3d.data.blocks import VolumeReader
from faimed3d.data.label_regions import LabelRegions
from faimed3d.data.matching import share_a_space
from faimed3d.data.regions import NameRegions
from faimed3d.data.trained_on import known_of
from faimed3d.inference.members import Member, Predictor
from faimed3d.inference.suitability import Seen, Verdict, judge, judge_spacing
from faimed3d.io.source_header import modality_of
from faimed3d.volume import TensorDicom3D

Source: TypeAlias = str | Path | np.ndarray | Tensor | sitk.Image | pd.Series | Sequence  # of any of these, as channels

_CHECKS = (MatchMask, CheckLabels, NameRegions, LabelRegions)  # of masks; an image alone passes them


class Prepared(NamedTuple):
    """A source on its way to a network.

    Args:
        volume: as it is read.
        x: as the model gets it, (C, D, H, W), on the model's device.
        whole: the same without the transforms that crop to a size, where it was asked for.
    """

    volume: TensorDicom3D
    x: TensorDicom3D
    whole: TensorDicom3D


class Preparation:
    """One source, read and prepared for networks as their models would get it in validation.

    What several of them do alike, step by step, is done once: reading, the item transforms, the batch transforms.

    Args:
        source: see ``predict_volume``.
        crop: apply the transforms that crop to a size.
        several: there are several networks. Then each list of item transforms gets voxels of its own.
    """

    def __init__(self, source: Source, crop: bool, several: bool = False) -> None:
        self._source, self._crop, self._several = only_row(source), crop, several
        self._done: dict[Any, Any] = {}

    def of(self, learn: Member, whole: bool = False) -> Prepared:
        """The source as it is read, and as the model gets it.

        Args:
            learn: its ``dls`` have the transforms.
            whole: make it without the transforms that crop to a size as well, where there are any.
        """
        dl = _loader(learn, self._source)
        device = device_and_type(learn)[0]
        reading = ("read", _marks([step for part in _parts(dl) for step in part.tfms.fs]) if _parts(dl) else id(dl))
        volume = self._once(reading, lambda: _read(dl, self._source))
        volume.require_geometry("predict_volume")
        x = self._through(dl, reading, volume, device, self._crop)
        return Prepared(volume, x, self._through(dl, reading, volume, device, False) if whole else x)

    def _through(
        self, dl: TfmdDL, reading: Any, volume: TensorDicom3D, device: torch.device, crop: bool
    ) -> TensorDicom3D:
        """What becomes of the volume, (C, D, H, W)."""
        of_item, of_batch = (
            [step for step in pipeline.fs if crop or not crops_to_size(step)]
            for pipeline in (dl.after_item, dl.after_batch)
        )
        items = (reading, _marks(of_item))
        item = self._once(items, lambda: self._item(of_item, volume))
        x = self._once((items, _marks(of_batch), str(device)), lambda: self._batch(dl, of_batch, item, device))
        if x.ndim != 5 or not isinstance(x, TensorDicom3D):
            raise ValueError(
                f"the transforms must make batches (B, C, D, H, W) of TensorDicom3D, got {type(x).__name__} "
                f"{tuple(x.shape)}: ImageBlock3D gives images their channel axis"
            )
        return x[0]

    def _once(self, key: Any, do: Callable[[], Any]) -> Any:
        if key not in self._done:
            self._done[key] = do()
        return self._done[key]

    def _item(self, steps: Sequence[Any], volume: TensorDicom3D) -> Any:
        item: Any = (volume.clone() if self._several else volume,)  # a transform may write into the voxels
        for transform in steps:
            item = _applied(transform, item)
        return item

    def _batch(self, dl: TfmdDL, steps: Sequence[Any], item: Any, device: torch.device) -> Any:
        batch = to_device(dl.do_batch([item]), device)
        for transform in steps:
            batch = _applied(transform, batch)
        return batch[0]


def verdicts_on(prepared: Prepared, learn: Member, spacing_only: bool = False) -> tuple[Verdict, ...]:
    """Whether a source is such as a network was trained on.

    Args:
        prepared: of :meth:`Preparation.of`.
        learn: has the network.
        spacing_only: look at nothing else.
    """
    known = known_of(learn)
    working = prepared.x.require_geometry("predict_volume")
    source = prepared.volume.require_geometry("predict_volume")
    if spacing_only:
        verdict = judge_spacing(known, source, working)
        return () if verdict is None else (verdict,)
    ends = ends_of(prepared.whole.as_subclass(Tensor))
    if known.mean is not None and known.std is not None:  # back into the units of the scan
        scales = zip(ends, known.mean, known.std, strict=False)
        ends = tuple((low * std + mean, high * std + mean) for (low, high), mean, std in scales)
    uncropped = prepared.whole.require_geometry("predict_volume")
    return judge(known, Seen(modality_of(prepared.volume), source, working, uncropped, ends))


def read_as_prepared(learn: Member | Predictor, source: Source) -> TensorDicom3D:
    """The source as the loaders read it, before their item transforms."""
    return _read(_loader(learn, source), source)


def read_as_told(learn: Any, source: Source, strict: bool, series: Any, like: Any) -> Source:
    """The source, read here where anything is said of how it is to be read; as it is where nothing is.

    Args:
        learn: its loaders say which column of a row of a table of cases holds the image.
        source, strict, series, like: as of ``predict_volume``.
    """
    if strict and series is None and like is None:
        return source
    if isinstance(source, pd.Series) and not is_row(source):
        lists = getattr(getattr(scans_of(learn.dls), "dataset", None), "tls", ())
        source = named_by(lists[0].tfms.fs, source) if lists else source
    if not isinstance(source, list | tuple):
        return TensorDicom3D.create(source, series, strict, like=like)
    first, *others = (TensorDicom3D.create(one, series, strict, like=like) for one in source)
    for other in others:
        if not share_a_space(other, first, strict):
            other._header = None  # the reader of the loaders would refuse it
    return [first, *others]


def crops_to_foreground(learn: Member) -> bool:
    """Whether the items of the loaders are cropped to their foreground."""
    return any(isinstance(step, CropForeground3D) for step in getattr(scans_of(learn.dls).after_item, "fs", ()))


def scans_of(dls: DataLoaders) -> Any:
    """The loader that reads scans from their files: that of validation, but where training is from a cache."""
    scans = getattr(dls, "scans", None)
    return dls.valid if scans is None else scans  # a loader without cases, as of an exported learner, is False


def device_and_type(learn: Member) -> tuple[torch.device, torch.dtype]:
    """Where the model computes, and in which type."""
    parameter = next(learn.model.parameters(), None)
    return (learn.dls.device, torch.float32) if parameter is None else (parameter.device, parameter.dtype)


def first_of(source: Source) -> Any:
    """Of a list of channels the first: results are named by it, and refer to it."""
    return first_of(source[0]) if isinstance(source, list | tuple) and source else source


def source_of_row(learn: Member | Predictor, row: Source) -> Source:
    """The files of the image that a row of a table of cases means to the loaders; all else stays.

    A row names no file itself, and holds those of masks as well.
    """
    lists = getattr(getattr(scans_of(learn.dls), "dataset", None), "tls", ())
    found = named_by(lists[0].tfms.fs, row) if lists and isinstance(row, pd.Series) else row
    return found if _names_files(found) else row


def named_by(steps: Sequence[Any], item: Any) -> Any:
    """What names an item on its way to become an image: a file, a list of them, or a row of an inventory.

    Args:
        steps: what the loaders do with the item.
        item: of their data set; it stays as it is if nothing names it.
    """
    for step in steps:
        if _names_files(item) or isinstance(step, VolumeReader):
            break
        try:
            item = step(item)
        except Exception:  # a cell that cannot be read; predict_volume says why, in the row of the case
            break
    return item


def _names_files(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return bool(item) and all(isinstance(one, str | Path) for one in item)
    return isinstance(item, str | Path) or (isinstance(item, pd.Series) and "key" in item)


def text_of(source: Source) -> str:
    """How reports and messages name a source."""
    source = first_of(source)
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, pd.Series) and "key" in source:
        return str(source["key"])
    return f"a {type(source).__name__}"


def _loader(learn: Member | Predictor, source: Source) -> TfmdDL:
    """Loader of the one source, with the transforms of validation."""
    if not isinstance(scans_of(learn.dls), TfmdDL):
        raise TypeError(
            f"these dls hold a {type(scans_of(learn.dls)).__name__} of torch, which does not say how a volume "
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


def _read(dl, source):
    item = dl.dataset[0]
    if len(item) != 1:
        raise ValueError(f"predict_volume needs a model of one input, these dls have {len(item)}; see ImageBlock3D")
    volume = item[0]
    if not isinstance(volume, TensorDicom3D):
        raise ValueError(f"the dls turn {text_of(source)} into a {type(volume).__name__}, not into a TensorDicom3D")
    return volume


def _parts(dl):
    """fastai's lists of items, that of the images first; none of another data set."""
    return getattr(dl.dataset, "tls", ())


def _marks(steps):
    """What tells the transforms of validation apart: two with the same marks do the same."""
    return tuple(
        _mark(step) for step in steps if getattr(step, "split_idx", None) != 0 and not isinstance(step, _CHECKS)
    )


def _mark(step):
    try:
        return type(step), pickle.dumps(step)
    except Exception:  # pickle raises whatever it likes; such a transform is like no other one
        return id(step)


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
