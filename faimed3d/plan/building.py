"""What a plan's plain values build: transforms, network, loaders, learner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastai.data.block import CategoryBlock
from torch import nn

from faimed3d import models
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
from faimed3d.models import UNet3D, create_cnn_model_3d

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
    if plan.arch == "UNet3D":
        return UNet3D(plan.channels, len(plan.codes or ()), **unet_arguments(plan))
    arch = getattr(models, plan.arch, None)
    if arch is None:
        raise ValueError(f"arch must be a network of faimed3d.models, such as 'UNet3D' or 'resnet18_3d': {plan.arch!r}")
    return create_cnn_model_3d(arch, len(plan.classes or ()), n_in=plan.channels)


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
