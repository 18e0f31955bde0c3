"""Values of a plan that cannot be: each field by itself, and those that contradict each other."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from faimed3d import models
from faimed3d._arguments import is_number
from faimed3d.data.label_regions import sides_fault, unknown_label
from faimed3d.geometry import Geometry
from faimed3d.plan.folds import make_folds
from faimed3d.spatial.label_shares import LABEL_MODES

if TYPE_CHECKING:
    from faimed3d.plan.plan import Plan

ENCODER = "UNet3D encoder"
DEVICES = ("cpu", "cuda", "mps", "xpu")
_LOSSES = {"segmentation": ("dice_ce", "cross_entropy"), "classification": ("cross_entropy",)}


def fault_of(plan: Plan) -> str | None:
    """What cannot be in a plan, in words; None for nothing.

    Args:
        plan: any.
    """
    fields = {name: getattr(plan, name) for name in _FIELDS}
    if fault := _fault_of_values(fields, _FIELDS):
        return fault
    for name, allowed in (("augmentation", _AUGMENTATION), ("folds", _FOLDS)):
        if fault := _fault_of_entries(name, getattr(plan, name), allowed):
            return fault
    return _contradiction(plan)


def _fault_of_values(values: Mapping[str, Any], allowed: Mapping[str, _Allowed], of: str = "") -> str | None:
    for name, value in values.items():
        allows, words = allowed[name]
        if not allows(value):
            return f"{name}{of} must be {words}, got {value!r}"
    return None


def _fault_of_entries(field: str, entries: Mapping[str, Any], allowed: Mapping[str, _Allowed]) -> str | None:
    """What is wrong in a field that is a mapping: of the augmentation all entries must be there, of the folds none."""
    if field == "folds" and (strange := [name for name in entries if name not in allowed]):
        return f"folds are arguments of make_folds, {', '.join(allowed)}; got {strange[0]!r}"
    if field == "augmentation" and (differs := set(entries) ^ set(allowed)):
        return f"augmentation must have the entries {', '.join(sorted(allowed))}; differs: {sorted(differs)}"
    return _fault_of_values(entries, allowed, f" of {field}")


def _contradiction(plan: Plan) -> str | None:
    segments = plan.task == "segmentation"
    ours, others = ("codes", "classes") if segments else ("classes", "codes")
    names = getattr(plan, ours)
    if names is None or len(set(names)) < max(2, len(names)):
        return f"{ours} must be two names or more, got {names!r}"
    if getattr(plan, others) is not None:
        return f"{others} must be None for {plan.task}, whose names are those of {ours}"
    if isinstance(plan.label_col, tuple) and not segments:
        return f"label_col must be one column of classes, got {plan.label_col!r}"
    if plan.loss not in _LOSSES[plan.task]:
        return f"loss must be {_either(_LOSSES[plan.task])} for {plan.task}, got {plan.loss!r}"
    if segments and plan.items_per_epoch < plan.batch_size:
        return f"items_per_epoch={plan.items_per_epoch} is less than a batch of {plan.batch_size}"
    if not segments and plan.batch_size < 2:
        return "batch_size must be 2 or more for classification: batch normalization needs several items"
    beyond = [label for pair in plan.augmentation["swap_labels"] for label in pair if label >= len(names)]
    if beyond:
        return f"swap_labels of augmentation name the label {beyond[0]}, but there are {len(names)} names in {ours}"
    if plan.regions is not None and (fault := _fault_of_regions(plan)):
        return fault
    if strange := [name for name in plan.reasons if name not in vars(plan)]:
        return f"there is a reason for {strange[0]!r}, which no plan has"
    return _fault_of_intensities(plan) or _fault_of_network(plan)


def _fault_of_intensities(plan: Plan) -> str | None:
    if plan.normalization in ("ct", "set") and (plan.mean is None or plan.std is None):
        return f"normalization {plan.normalization!r} needs mean and std"
    if plan.normalization == "ct" and plan.clip is None:
        return "normalization 'ct' needs clip"
    for name in ("mean", "std", "clip"):
        value = getattr(plan, name)
        if value is not None and len(value) not in (1, plan.channels):
            return f"{name} has {len(value)} entries for {plan.channels} channels"
    return None


def _fault_of_network(plan: Plan) -> str | None:
    levels, segments = len(plan.widths), plan.task == "segmentation"
    if segments and plan.arch != "UNet3D":
        return f"arch must be 'UNet3D' for segmentation, got {plan.arch!r}; give other networks a learner of their own"
    if not segments and plan.arch != ENCODER and plan.arch not in models.__all__:
        return (
            f"arch must be {ENCODER!r} or a network of faimed3d.models, such as 'resnet18_3d', for classification, got "
            f"{plan.arch!r}"
        )
    if not plan.arch.startswith("UNet3D"):
        return None
    strides = (levels - 1,) if segments else (levels - 1, levels)
    if not (len(plan.strides) in strides and levels == len(plan.kernels)):
        count = " or ".join(map(str, strides))
        return (
            f"there are {levels} widths, so there must be {count} strides and {levels} kernels; got "
            f"{len(plan.strides)} and {len(plan.kernels)}"
        )
    if plan.blocks is not None and len(plan.blocks) != levels:
        return f"there are {levels} widths, so there must be {levels} blocks; got {len(plan.blocks)}"
    if segments and plan.up_convs not in (1, 2):
        return f"up_convs must be 1 or 2 for segmentation, got {plan.up_convs}"
    divisors = [math.prod(sides) for sides in zip((1, 1, 1), *plan.strides, strict=True)]
    if segments and all(n <= by for n, by in zip(plan.patch, divisors, strict=True)):
        return (
            f"a patch of {plan.patch} voxels has one left at the lowest level, after strides of {tuple(divisors)} in "
            "all, and one voxel cannot be normalized: take a larger patch, or fewer levels"
        )
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
    swapped = dict(plan.augmentation["swap_labels"])
    return unknown_label(parts, plan.codes or ()) or (sides_fault(parts, swapped) if swapped else None)


def _either(words: Sequence[str]) -> str:
    return " or ".join(map(repr, words))


_Allowed = tuple[Callable[[Any], bool], str]  # what a value may be, and that in words


def _whole(least: int) -> _Allowed:
    return lambda value: _is_whole(value, least), f"a whole number, {least} or more"


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _one_of(*words: str) -> _Allowed:
    return lambda value: value in words, f"one of {', '.join(map(repr, words))}"


def _or_none(allowed: _Allowed) -> _Allowed:
    return lambda value: value is None or allowed[0](value), f"{allowed[1]}, or None"


def _all(value: Any, allows: Callable[[Any], bool], count: int | None = None) -> bool:
    """Whether it is a sequence of such values, of some count; of any count but 0 by default."""
    several = isinstance(value, tuple | list) and (bool(value) if count is None else len(value) == count)
    return several and all(map(allows, value))


def _sizes(value: Any) -> bool:
    return _all(value, lambda n: _is_whole(n, 1), 3)


def _rising(value: Any, above: float = -math.inf, equal: bool = False) -> bool:
    """Whether it is (low, high)."""
    if not _all(value, is_number, 2):
        return False
    low, high = value
    return above < low < high or (equal and above < low == high)


def _is_column(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Integral) and not isinstance(value, bool))


def _is_class(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Real) and math.isfinite(value))


def _is_orientation(value: Any) -> bool:
    try:
        Geometry((1, 1, 1)).reorientation(value)
    except ValueError:
        return False
    return value == value.upper()


def _are_pairs(value: Any) -> bool:
    if not isinstance(value, tuple | list) or not all(_all(pair, lambda n: _is_whole(n, 1), 2) for pair in value):
        return False
    labels = [label for pair in value for label in pair]
    return len(set(labels)) == len(labels)


_TEXT: _Allowed = (lambda value: isinstance(value, str), "text")
_SHARE: _Allowed = (lambda value: is_number(value) and 0 <= value <= 1, "a share from 0 to 1")
_SIZES: _Allowed = (_sizes, "three whole numbers (D, H, W), 1 or more")
_STEPS: _Allowed = (lambda value: value == () or _all(value, _sizes), "for each level three whole numbers")
_KERNELS: _Allowed = (
    lambda value: _all(value, lambda one: _sizes(one) and all(n % 2 for n in one)),
    "for each level three whole numbers, odd ones",
)
_COUNTS: _Allowed = (lambda value: _all(value, lambda n: _is_whole(n, 1)), "whole numbers, 1 or more")
_FLAG: _Allowed = (lambda value: isinstance(value, bool), "True or False")
_COLUMN: _Allowed = (_is_column, "the name of a column")
_COLUMNS: _Allowed = (lambda value: _is_column(value) or _all(value, _is_column), "the name of a column, or several")
_FIELDS: dict[str, _Allowed] = {
    "task": _one_of("segmentation", "classification"),
    "cases": _whole(0),
    "fn_col": _COLUMNS,
    "label_col": _COLUMNS,
    "channels": _whole(1),
    "codes": _or_none((lambda value: _all(value, lambda one: isinstance(one, str)), "two names or more")),
    "classes": _or_none((lambda value: _all(value, _is_class), "two names or more")),
    "ignore_index": _or_none((lambda value: _is_whole(value, -(2**31)) and value < 2**31, "a label")),
    "resample_masks": (
        lambda value: isinstance(value, bool) or (isinstance(value, str) and value in LABEL_MODES),
        f"True, False or one of {', '.join(map(repr, LABEL_MODES))}",
    ),
    "modality": _or_none(_TEXT),
    "orientation": (_is_orientation, "three letters, one each of L or R, P or A, and S or I, such as 'LPS'"),
    "spacing": _or_none(
        (lambda value: _all(value, lambda mm: is_number(mm) and mm > 0, 3), "three numbers of mm above 0 (x, y, z)")
    ),
    "crop": _FLAG,
    "median_size": _SIZES,
    "normalization": _one_of("ct", "volume", "foreground", "set"),
    "clip": _or_none((lambda value: _all(value, _rising), "(low, high) for each channel, low below high")),
    "mean": _or_none((lambda value: _all(value, is_number), "a number for each channel")),
    "std": _or_none((lambda value: _all(value, lambda n: is_number(n) and n > 0), "a number above 0 for each channel")),
    "patch": _SIZES,
    "arch": (_TEXT[0], "the name of a network"),
    "strides": _STEPS,
    "kernels": _KERNELS,
    "widths": _COUNTS,
    "blocks": _or_none(_COUNTS),
    "up_convs": _whole(0),
    "deep_supervision": _FLAG,
    "batch_size": _whole(1),
    "memory": _whole(0),
    "oversampling": _SHARE,
    "augmentation": (lambda value: isinstance(value, Mapping), "a mapping"),
    "items_per_epoch": _whole(1),
    "epochs": _whole(1),
    "lr": (lambda value: is_number(value) and value > 0, "a number above 0"),
    "optimizer": _one_of("adamw", "sgd"),
    "weight_decay": (lambda value: is_number(value) and value >= 0, "a number, 0 or more"),
    "schedule": _one_of("one_cycle", "poly"),
    "precision": _one_of("float32", "bfloat16", "float16"),
    "folds": (lambda value: isinstance(value, Mapping), "a mapping of arguments of make_folds"),
    "device": _one_of(*DEVICES),
    "reasons": (
        lambda value: isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values()),
        "a mapping of fields to texts",
    ),
}
_AUGMENTATION: dict[str, _Allowed] = {
    "flip_axes": (
        lambda value: (
            _all(value, (-3, -2, -1).__contains__, len(value)) and len(set(value)) == len(value)
            if isinstance(value, list)
            else False
        ),
        "a list of some of -3 (D), -2 (H) and -1 (W), each once",
    ),
    "swap_labels": (_are_pairs, "pairs of labels, whole numbers from 1 on, each once"),
    "degrees": (lambda value: _all(value, lambda n: is_number(n) and n >= 0, 3), "three numbers, 0 or more (D, H, W)"),
    "scale": (lambda value: _rising(value, 0, equal=True), "(low, high) above 0"),
    **dict.fromkeys(
        ("affine_p", "noise_p", "blur_p", "brightness_p", "contrast_p", "low_resolution_p", "gamma_p", "dihedral_p"),
        _SHARE,
    ),
}
_ANY: _Allowed = (lambda value: True, "")
_FOLDS: dict[str, _Allowed] = dict.fromkeys([*inspect.signature(make_folds).parameters][1:], _ANY) | {
    "n": _or_none(_whole(2)),
    "group_col": _or_none(_COLUMN),
    "fold_col": _or_none(_COLUMN),
    "seed": (lambda value: _is_whole(value, 0) and value < 2**63, "a whole number from 0 to below 2**63"),
}
