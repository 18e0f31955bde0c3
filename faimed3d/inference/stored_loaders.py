"""How scans come to a network, as plain values: how read, prepared, mirrored; and loaders without items from these."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from fastai.data.core import DataLoaders, Datasets, TfmdDL, TfmdLists
from fastai.data.transforms import Categorize, IntToFloatTensor, MultiCategorize, RegressionSetup, ToTensor
from fasttransform import Transform

from faimed3d._by_name import ByName, UnknownName
from faimed3d.augment import ClampMask3D, KeepLargestComponent, ReduceClasses, RemoveSmallObjects, ResampleLike
from faimed3d.cache.descriptions import describe, settings_of
from faimed3d.data.block_transforms import CheckLabels, MatchMask, ToLabels, check_sizes
from faimed3d.data.blocks import SOURCES, MaskReader, VolumeReader
from faimed3d.data.label_regions import LabelRegions
from faimed3d.data.regions import NameRegions, RegionReader, region_names
from faimed3d.data.volume_dl import VolumeDL
from faimed3d.inference.members import Member, class_codes
from faimed3d.inference.sides import Mirrored, mirrored_by_training
from faimed3d.inference.source import scans_of
from faimed3d.volume import TensorDicom3D, TensorMask3D

TRANSFORMS = ByName(
    {
        "faimed3d.augment": """
            Clip3D CropForeground3D FillNaN3D HistScaled3D MaxScale MeanScale MedianScale Normalize3D Pad3D PadOrCrop3D
            PiecewiseHistScaling RandomCrop3D Reorient3D Resample3D RescaleIntensity3D Resize3D ResizeCrop3D
            StandardScale Window3D ZScore3D
        """,
        "faimed3d.data": "AddChannel OneOrientation",
    }
)
"""The transforms that a model file can name: all that change images the same way every time."""

# they change no image, so that they need not be named; those of fastai are for pictures
_OF_MASKS = (ClampMask3D, KeepLargestComponent, ReduceClasses, RemoveSmallObjects,
             CheckLabels, LabelRegions, MatchMask, NameRegions, ToLabels, ToTensor, IntToFloatTensor)  # fmt: skip
_OF_TRANSFORM = frozenset(inspect.signature(Transform.__init__).parameters)
_UID = re.compile(r"\d+(\.\d+){3,}")


def describe_loaders(learn: Member) -> dict[str, Any]:
    """How the loaders of a learner read and prepare a scan, and what they say of its labels, as JSON holds it.

    Args:
        learn: its loader of validation is asked, and that of training for what it mirrors.

    Raises:
        TypeError: they do not say how a scan is read, or a transform has no name that is known here.
    """
    scans = scans_of(learn.dls)
    if not isinstance(scans, TfmdDL) or not isinstance(scans.dataset, Datasets) or scans.dataset.n_inp != 1:
        raise TypeError(
            "these dls do not say how a scan is read, so a model file cannot either: make them of a DataBlock with one "
            "ImageBlock3D, of SegmentationDataLoaders3D or of PatchDataLoaders3D"
        )
    targets = [step for part in scans.dataset.tls[1:] for step in part.tfms.fs]
    if any(isinstance(step, Categorize | MultiCategorize | RegressionSetup) for step in targets):
        raise TypeError(
            "the targets of these dls are classes or numbers of whole volumes, and a model file is for labels of "
            "voxels: use learn.export and load_learner"
        )
    flips, patch = mirrored_by_training(learn), getattr(learn.dls, "patch", None)
    codes = class_codes(learn)
    return {
        "reader": _describe_reader(scans.dataset.tls[0].tfms.fs),
        "item_tfms": _describe_steps(scans.after_item.fs),
        "batch_tfms": _describe_steps(scans.after_batch.fs),
        "patch": None if patch is None else list(patch),
        "mirrored": {"axes": list(flips.axes), "swap_labels": TRANSFORMS.to_plain(flips.swap_labels)},
        "regions": region_names(learn.dls),
        "codes": None if codes is None else list(codes.values()),
    }


def loaders_from(described: Mapping[str, Any], device: torch.device) -> DataLoaders:
    """Loaders without items that read and prepare scans as :func:`describe_loaders` says.

    Args:
        described: as JSON holds it.
        device: where batches go.

    Raises:
        UnknownName: a transform is not known.
    """
    reader, regions = described["reader"], described["regions"]
    arguments = TRANSFORMS.from_plain(reader["create"])
    image = VolumeReader(TensorDicom3D, reader["resample_to_first"], **arguments)
    target = MaskReader(described["codes"]) if regions is None else RegionReader(regions)
    mirrored = described["mirrored"]
    flips = Mirrored(mirrored["axes"], TRANSFORMS.from_plain(mirrored["swap_labels"]))
    of_item, of_batch = ([_step_from(one) for one in described[name]] for name in ("item_tfms", "batch_tfms"))
    train, valid = _loader(image, target, [flips], [], device), _loader(image, target, of_item, of_batch, device)
    dls = DataLoaders(train, valid, device=device)
    dls.patch = None if described["patch"] is None else tuple(described["patch"])
    return dls


def _describe_reader(steps: list[Any]) -> dict[str, Any]:
    number = next((k for k, step in enumerate(steps) if isinstance(step, VolumeReader)), len(steps))
    if number + 1 != len(steps) or type(steps[number]) is not VolumeReader or steps[number].cls is not TensorDicom3D:
        raise TypeError(
            "these dls read scans by steps of their own, and a model file holds no code: use ImageBlock3D as it is, "
            "with what finds the file of an item (get_x) before it"
        )
    reader = steps[number]
    series = reader.kwargs.get("series")
    if isinstance(series, str) and _UID.fullmatch(series):
        raise TypeError(f"ImageBlock3D(series={series[:12]}...) is the number of one patient's series: leave it out")
    return {"resample_to_first": bool(reader.resample_to_first), "create": TRANSFORMS.to_plain(reader.kwargs)}


def _describe_steps(steps: list[Any]) -> list[dict[str, Any]]:
    return [
        _describe_step(step)
        for step in steps
        if getattr(step, "split_idx", None) != 0
        and type(step) not in _OF_MASKS
        and not (type(step) is ResampleLike and step.other is None)
    ]


def _describe_step(step: Transform) -> dict[str, Any]:
    kind = type(step)
    settings = {name: value for name, value in settings_of(step).items() if name not in _OF_TRANSFORM}
    if "standard" in settings:  # an argument may also be the path of it
        settings["scale"] = settings.pop("standard")
    try:
        if "code" in describe(step):  # the user gave it a method for a type of theirs
            raise TypeError(kind.__name__)
        described = TRANSFORMS.new(kind, settings)
    except TypeError:
        raise TypeError(
            f"the transform {getattr(step, 'name', kind.__name__)} of the loaders has no name that a model file can "
            "hold, for such a file holds no code: use those of faimed3d.augment, or do its step before "
            "predict_volume, and train on items that have been through it"
        ) from None
    return described if step.order == kind.order else {**described, "order": step.order}


def _step_from(described: Mapping[str, Any]) -> Transform:
    scale = described.get("arguments", {}).get("scale")
    if isinstance(scale, str):  # the path of one: no file but the model's is read
        raise UnknownName(scale)
    step = TRANSFORMS.from_plain(described)
    if not isinstance(step, Transform):
        raise UnknownName(described.get("new", "no name"))
    if "order" in described:
        step.order = described["order"]
    return step


def _loader(image: Any, target: Any, after_item: list[Any], after_batch: list[Any], device: torch.device) -> VolumeDL:
    parts = [
        TfmdLists([], [step], do_setup=False, types=types, split_idx=1)
        for step, types in ((image, [SOURCES, TensorDicom3D]), (target, [SOURCES, TensorMask3D]))
    ]
    dl = VolumeDL(
        Datasets(tls=parts, n_inp=1), bs=1, num_workers=0, device=device, before_batch=check_sizes,
        after_item=after_item, after_batch=after_batch,
    )  # fmt: skip
    dl._n_inp, dl._types = 1, {tuple: [TensorDicom3D, TensorMask3D]}  # so that none of its items is read to know
    return dl
