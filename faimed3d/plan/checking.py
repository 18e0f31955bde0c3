"""Values of a plan that cannot be: each field by itself, and those that contradict each other."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from faimed3d._arguments import is_number
from faimed3d.data.label_regions import sides_fault, unknown_label
from faimed3d.plan.folds import make_folds

if TYPE_CHECKING:
    from faimed3d.plan.plan import Plan

_PROBABILITIES = ("affine_p", "noise_p", "blur_p", "brightness_p", "contrast_p", "low_resolution_p", "gamma_p",
                  "dihedral_p")  # fmt: skip
_AUGMENTATION = {"flip_axes", "swap_labels", "degrees", "scale", *_PROBABILITIES}
_LOSSES = {"segmentation": ("dice_ce", "cross_entropy"), "classification": ("cross_entropy",)}


def fault_of(plan: Plan) -> str | None:
    """What cannot be in a plan, in words; None for nothing.

    Args:
        plan: any.
    """
    for name, (allowed, words) in _FIELDS.items():
        value = getattr(plan, name)
        if not allowed(value):
            return f"{name} must be {words}, got {value!r}"
    return _contradiction(plan)


def _contradiction(plan: Plan) -> str | None:
    levels = len(plan.widths)
    numbers = {name: getattr(plan, name) for name in ("mean", "std", "clip")}
    if plan.normalization in ("ct", "set") and (plan.mean is None or plan.std is None):
        return f"normalization {plan.normalization!r} needs mean and std"
    if plan.normalization == "ct" and plan.clip is None:
        return "normalization 'ct' needs clip"
    for name, value in numbers.items():
        if value is not None and len(value) not in (1, plan.channels):
            return f"{name} has {len(value)} entries for {plan.channels} channels"
    if plan.task == "segmentation" and plan.arch != "UNet3D":
        return f"arch must be 'UNet3D' for segmentation, got {plan.arch!r}; give other networks a learner of their own"
    strides = (levels - 1, levels) if plan.task == "classification" else (levels - 1,)
    if plan.arch.startswith("UNet3D") and not (len(plan.strides) in strides and levels == len(plan.kernels)):
        count = " or ".join(map(str, strides))
        return (
            f"there are {levels} widths, so there must be {count} strides and {levels} kernels; got "
            f"{len(plan.strides)} and {len(plan.kernels)}"
        )
    if plan.blocks is not None and len(plan.blocks) != levels:
        return f"there are {levels} widths, so there must be {levels} blocks; got {len(plan.blocks)}"
    names = plan.codes if plan.task == "segmentation" else plan.classes
    if names is None or len(set(names)) < max(2, len(names)):
        return f"{'codes' if plan.task == 'segmentation' else 'classes'} must be two names or more, got {names!r}"
    if plan.regions is not None and (fault := _fault_of_regions(plan)):
        return fault
    if plan.loss not in _LOSSES[plan.task]:
        return f"loss must be {_either(_LOSSES[plan.task])} for {plan.task}, got {plan.loss!r}"
    if plan.task == "segmentation" and plan.items_per_epoch < plan.batch_size:
        return f"items_per_epoch={plan.items_per_epoch} is less than a batch of {plan.batch_size}"
    if unknown := set(plan.augmentation) ^ _AUGMENTATION:
        return f"augmentation must have the entries {', '.join(sorted(_AUGMENTATION))}; differs: {sorted(unknown)}"
    if wrong := [name for name in _PROBABILITIES if not _share(plan.augmentation[name])]:
        return f"{wrong[0]} of augmentation must be a share from 0 to 1, got {plan.augmentation[wrong[0]]!r}"
    known = [*inspect.signature(make_folds).parameters][1:]
    if strange := [name for name in plan.folds if name not in known]:
        return f"folds are arguments of make_folds, {', '.join(known)}; got {strange[0]!r}"
    if strange := [name for name in plan.reasons if name not in vars(plan)]:
        return f"there is a reason for {strange[0]!r}, which no plan has"
    return None


def _fault_of_regions(plan: Plan) -> str | None:
    if plan.task == "classification":
        return "regions are made of masks of labels, but the targets are classes of whole volumes: leave regions out"
    if plan.ignore_index is not None:
        return (
            f"regions leave no voxel out, but ignore_index={plan.ignore_index}: train on labels, propose(..., "
            "regions={}) or plan.replace(regions=None), or let that label be background, ignore_index=None"
        )
    parts = dict(plan.regions or ())
    swapped = dict(plan.augmentation.get("swap_labels", ()))
    return unknown_label(parts, plan.codes or ()) or (sides_fault(parts, swapped) if swapped else None)


def _either(words: Sequence[str]) -> str:
    return " or ".join(map(repr, words))


def _whole(least: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: _is_whole(value, least), f"a whole number, {least} or more"


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _one_of(*words: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in words, f"one of {', '.join(map(repr, words))}"


def _share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _sizes(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(_is_whole(n, 1) for n in value)


def _numbers(value: Any, above: float = -math.inf) -> bool:
    return isinstance(value, tuple) and bool(value) and all(is_number(one) and one > above for one in value)


_SIZES = (_sizes, "three whole numbers (D, H, W), 1 or more")
_STEPS = (lambda value: isinstance(value, tuple) and all(map(_sizes, value)), "for each level three whole numbers")
_COUNTS = (lambda value: isinstance(value, tuple) and bool(value) and all(_is_whole(n, 1) for n in value),
           "whole numbers, 1 or more")  # fmt: skip
_FLAG = (lambda value: isinstance(value, bool), "True or False")
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "task": _one_of("segmentation", "classification"),
    "cases": _whole(0),
    "channels": _whole(1),
    "ignore_index": (lambda value: value is None or _is_whole(value, -(2**31)), "a whole number or None"),
    "spacing": (
        lambda value: value is None or (_numbers(value, 0) and len(value) == 3),
        "three numbers of mm above 0 (x, y, z), or None",
    ),
    "crop": _FLAG,
    "median_size": _SIZES,
    "normalization": _one_of("ct", "volume", "foreground", "set"),
    "clip": (
        lambda value: value is None or all(_numbers(one) and len(one) == 2 and one[0] < one[1] for one in value),
        "(low, high) for each channel, low below high, or None",
    ),
    "mean": (lambda value: value is None or _numbers(value), "a number for each channel, or None"),
    "std": (lambda value: value is None or _numbers(value, 0), "a number above 0 for each channel, or None"),
    "patch": _SIZES,
    "arch": (lambda value: isinstance(value, str), "the name of a network"),
    "strides": _STEPS,
    "kernels": _STEPS,
    "widths": _COUNTS,
    "blocks": (lambda value: value is None or _COUNTS[0](value), "whole numbers, 1 or more, or None"),
    "up_convs": _whole(0),
    "deep_supervision": _FLAG,
    "batch_size": _whole(1),
    "memory": _whole(0),
    "oversampling": (_share, "a share from 0 to 1"),
    "items_per_epoch": _whole(1),
    "epochs": _whole(1),
    "lr": (lambda value: is_number(value) and value > 0, "a number above 0"),
    "optimizer": _one_of("adamw", "sgd"),
    "weight_decay": (lambda value: is_number(value) and value >= 0, "a number, 0 or more"),
    "schedule": _one_of("one_cycle", "poly"),
    "precision": _one_of("float32", "bfloat16", "float16"),
    "device": _one_of("cpu", "cuda", "mps", "xpu"),
}
