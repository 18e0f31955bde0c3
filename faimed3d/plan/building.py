"""What a plan's plain values build: transforms, network, loaders, learner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from fastai.data.block import CategoryBlock
from fastai.layers import NormType
from fastai.learner import Learner
from fastai.metrics import RocAuc, RocAucBinary, accuracy
from fastai.optimizer import Adam, OptimWrapper
from fastcore.foundation import L
from torch import nn

from faimed3d import (
    evaluation,  # noqa: F401 - gives Learner its evaluate
    models,
)
from faimed3d._keywords import keywords_of
from faimed3d.augment import (
    Clip3D,
    CropForeground3D,
    Normalize3D,
    PadOrCrop3D,
    Resample3D,
    Resize3D,
    ZScore3D,
    aug_transforms_3d,
)
from faimed3d.data.regions import region_names
from faimed3d.losses import CrossEntropyLoss3D, DiceCELoss3D, RegionLoss3D
from faimed3d.models import UNet3D, create_cnn_model_3d
from faimed3d.models.levels import way_down
from faimed3d.patches import CachedImageDataLoaders3D, PatchDataLoaders3D
from faimed3d.plan.checking import ENCODER
from faimed3d.plan.folds import make_folds
from faimed3d.plan.matching import refuse_other_steps
from faimed3d.training import Autocast, VolumeLearner, cnn_learner_3d, dice_per_class, fit_poly, unet_learner_3d

if TYPE_CHECKING:
    from faimed3d.plan.plan import Plan


def y_block(plan: Plan) -> Any:
    """The block of targets that are no masks; None for masks."""
    return CategoryBlock(vocab=list(plan.classes)) if plan.classes is not None else None


def item_tfms(plan: Plan) -> list[Any]:
    """Crop, z-score of each volume, resample: nnU-Net's order, as what is empty is known best before resampling."""
    steps: list[Any] = []
    if plan.crop:
        steps.append(CropForeground3D())
    if plan.normalization in ("volume", "foreground"):
        steps.append(ZScore3D("minimum" if plan.normalization == "foreground" else None))
    if plan.spacing is not None:
        steps.append(Resample3D(plan.spacing, labels="linear"))
    if plan.task == "classification":
        steps.append(Resize3D(plan.patch) if plan.spacing is None and resized(plan) else PadOrCrop3D(plan.patch))
    return steps


def resized(plan: Plan) -> bool:
    """Whether items of classes are resized: they have no spacing, and are larger than the network takes."""
    return any(n > m for n, m in zip(plan.median_size, plan.patch, strict=True))


def batch_tfms(plan: Plan) -> list[Any]:
    """Clip, augmentation, and mean and standard deviation of the set."""
    steps: list[Any] = []
    if plan.normalization == "ct":
        assert plan.clip is not None
        low, high = zip(*plan.clip, strict=True)
        steps.append(Clip3D(low[0], high[0]) if len(low) == 1 else Clip3D(low, high))
    steps += augmentation(plan)
    if plan.normalization in ("ct", "set"):
        steps.append(Normalize3D(plan.mean, plan.std))
    return steps


def augmentation(plan: Plan) -> list[Any]:
    """The random transforms."""
    how = dict(plan.augmentation)
    swapped = {int(left): int(right) for left, right in how.get("swap_labels", ())} or None
    axes = tuple(how["flip_axes"])
    return aug_transforms_3d(
        flip={"axis": axes, "swap_labels": swapped} if axes else False,
        affine={"p": how["affine_p"], "degrees": tuple(how["degrees"]), "scale": tuple(how["scale"])},
        elastic=False,
        **{name.removesuffix("_p"): how[name] for name in how if name.endswith("_p") and name != "affine_p"},
    )


def network(plan: Plan) -> nn.Module:
    """The network, new and untrained."""
    if plan.task == "segmentation":
        return UNet3D(plan.channels, outputs(plan), **unet_arguments(plan))
    return create_cnn_model_3d(encoder(plan), outputs(plan), n_in=plan.channels)


def outputs(plan: Plan) -> int:
    """How many scores the network gives: of classes, or of regions."""
    return len(plan.regions or plan.codes or plan.classes or ())


def targets(plan: Plan) -> tuple[tuple[int, ...], torch.dtype, int]:
    """Shape and type of the targets of a batch, and the number below which they are."""
    if plan.task == "classification":
        return (plan.batch_size,), torch.int64, outputs(plan)
    if plan.regions is not None:
        return (plan.batch_size, outputs(plan), *plan.patch), torch.uint8, 2
    return (plan.batch_size, *plan.patch), torch.int64, outputs(plan)


def loss(plan: Plan) -> Callable[..., torch.Tensor]:
    """The loss."""
    if plan.task == "classification":
        return nn.CrossEntropyLoss()
    if plan.regions is not None:
        return RegionLoss3D(dice_weight=float(plan.loss == "dice_ce"))
    left_out = {} if plan.ignore_index is None else {"ignore_index": plan.ignore_index}
    return DiceCELoss3D(**left_out) if plan.loss == "dice_ce" else CrossEntropyLoss3D(**left_out)


def encoder(plan: Plan) -> Any:
    """What a network of classes is built over: the way down of a U-Net, or a network of ``faimed3d.models``."""
    if plan.arch == ENCODER:
        strides = [(1, 1, 1), *plan.strides][-len(plan.widths) :]
        layer = {"norm_type": NormType.Batch, "act_cls": nn.LeakyReLU, "ndim": 3}
        return nn.Sequential(*way_down(plan.channels, plan.widths, strides, plan.kernels, plan.blocks, **layer))
    return getattr(models, plan.arch)


def unet_arguments(plan: Plan) -> dict[str, Any]:
    """Arguments of ``UNet3D``, as plain values."""
    return {
        "widths": plan.widths,
        "strides": plan.strides,
        "kernels": plan.kernels,
        "blocks": plan.blocks,
        "up_convs": plan.up_convs,
        "deep_supervision": plan.deep_supervision,
    }


def dataloaders(plan: Plan, cache: Any, fold: int | str | None, **kwargs: Any) -> Any:
    """Loaders of patches for masks, of whole cases for classes."""
    refuse_other_steps(plan, cache)
    valid = [] if fold is None else make_folds(cache.table, **plan.folds).split(fold)[1]
    if plan.task == "segmentation":
        given: dict[str, Any] = {
            "bs": plan.batch_size,
            "length": plan.items_per_epoch,
            "foreground": plan.oversampling,
            "regions": None if plan.regions is None else dict(plan.regions),
            "batch_tfms": batch_tfms(plan),
        }
        return PatchDataLoaders3D.from_cache(cache, plan.patch, valid=valid, **{**given, **kwargs})
    how = {"bs": plan.batch_size, "oversampling": plan.oversampling, "batch_tfms": batch_tfms(plan), **kwargs}
    return CachedImageDataLoaders3D.from_cache(cache, valid=valid, **how)


def loader_keywords() -> list[str]:
    """What :func:`dataloaders` hands on."""
    return [*keywords_of(PatchDataLoaders3D.from_cache), *keywords_of(CachedImageDataLoaders3D.from_cache)]


def learner_keywords() -> list[str]:
    """What :func:`learner` hands on."""
    networks = (UNet3D, create_cnn_model_3d)
    return [name for one in (unet_learner_3d, cnn_learner_3d, *networks) for name in keywords_of(one)]


def fit_keywords() -> list[str]:
    """What :func:`fit` hands on."""
    return [*keywords_of(Learner.fit_one_cycle), *keywords_of(fit_poly)]


def learner(plan: Plan, dls: Any, **kwargs: Any) -> VolumeLearner:
    """An ordinary learner: network, loss, metrics, optimizer and precision of the plan."""
    callbacks = [Autocast(plan.precision)] if plan.precision != "float32" else []
    how = {
        "opt_func": opt_func(plan),
        "wd": plan.weight_decay,
        "lr": plan.lr,
        **kwargs,
        "cbs": [*callbacks, *L(kwargs.get("cbs"))],
    }
    if plan.task == "segmentation":
        _refuse_other_regions(plan, dls)
        how.setdefault("metrics", dice_per_class(dls))
        if plan.loss == "cross_entropy":  # the other one is what fits the targets
            how.setdefault("loss_func", loss(plan))
        sizes = {"n_in": plan.channels, "n_out": outputs(plan)}
        learn = unet_learner_3d(dls, UNet3D, model_args=unet_arguments(plan), **{**sizes, **how})
        if plan.modality is not None:  # the files of a cache have no headers
            assert learn.trained_on is not None  # of a new learner
            learn.trained_on = replace(learn.trained_on, modalities=(plan.modality,))
        return learn
    how.setdefault("metrics", [accuracy, RocAucBinary() if len(plan.classes or ()) == 2 else RocAuc()])
    return cnn_learner_3d(dls, encoder(plan), n_in=plan.channels, **how)


def _refuse_other_regions(plan: Plan, dls: Any) -> None:
    asked, there = None if plan.regions is None else [name for name, _ in plan.regions], region_names(dls)
    if asked != there:
        raise ValueError(
            f"the plan trains on {_listed(asked)}, but the loaders give {_listed(there)}: make them with "
            f"regions={None if plan.regions is None else dict(plan.regions)}, or plan.replace(regions=...)"
        )


def _listed(regions: list[str] | None) -> str:
    return "labels" if regions is None else f"the regions {', '.join(regions)}"


def opt_func(plan: Plan) -> Callable:
    """What makes the optimizer."""
    if plan.optimizer == "sgd":
        return partial(OptimWrapper, opt=torch.optim.SGD, momentum=0.99, nesterov=True)
    return Adam  # of fastai: its weight decay is decoupled, as in AdamW


def fit(plan: Plan, learn: Learner, **kwargs: Any) -> None:
    """Train by the schedule of the plan."""
    schedule = learn.fit_one_cycle if plan.schedule == "one_cycle" else learn.fit_poly
    schedule(plan.epochs, plan.lr, **kwargs)
