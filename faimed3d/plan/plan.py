"""``Plan``: how a data set is prepared and trained on, as plain values with a reason for each."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any  # of values as JSON holds them

import numpy as np
from fastai.learner import Learner
from torch import nn

from faimed3d._arguments import is_number
from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d._keywords import refuse_unknown, strict_keywords
from faimed3d.data.label_regions import label_parts
from faimed3d.plan import building, rules
from faimed3d.plan.checking import fault_of
from faimed3d.plan.memory import predicted_memory
from faimed3d.plan.methods_text import methods_text
from faimed3d.plan.timing import seconds_per_step as measured
from faimed3d.training import VolumeLearner

_VERSION = 1
_MARKER = "faimed3d_plan"  # the entry of the version
_PARTS = ("plan", "reasons", "proposed")
_BY_HAND = "set by hand"


@dataclass(frozen=True)
class Plan:
    """How a data set is prepared and trained on: plain values that JSON holds, and for each the reason.

    :func:`propose` makes it. ``print(plan)`` reads like the methods section of a paper. Change it by :meth:`replace`,
    or in the file of :meth:`to_json`.

    Args:
        task: ``'segmentation'`` or ``'classification'``.
        cases: how many there were.
        fn_col, label_col: columns of images and of masks or classes.
        channels: of the images.
        codes: names of the labels, the background first; None for classes.
        classes: the classes, as the table has them; None for labels.
        regions: that may overlap: pairs of a name and the labels that make it, or a mapping of these; None: each voxel
            is of one class.
        ignore_index: label of voxels that nobody annotated, or None.
        resample_masks: as of ``SegmentationDataLoaders3D.from_df``.
        modality: ``'CT'``, ``'MR'``, ... or None.
        orientation: storage order of all items, such as ``'LPS'``.
        spacing: (x, y, z) mm to which all are resampled; None: not at all.
        crop: empty margins are cut off.
        median_size: (D, H, W) voxels, after that.
        normalization: ``'ct'`` (cut to ``clip``, then ``mean`` and ``std``), ``'set'`` (``mean`` and ``std``),
            ``'volume'`` or ``'foreground'`` (mean and std of each volume, of its voxels above the smallest value).
        clip: (low, high) for each channel, or None.
        mean, std: of each channel, or None.
        patch: (D, H, W) voxels; of classes the size of an item.
        arch: ``'UNet3D'``; of classes ``'UNet3D encoder'``, or the name of a network of ``faimed3d.models``.
        strides, kernels: of each level, the strides without the first; where there are as many strides as levels, the
            first convolution is strided (of classes).
        widths: channels of each level.
        blocks: residual blocks of each level of the encoder; None: two convolutions.
        up_convs: convolutions of each level of the decoder.
        deep_supervision: as of ``UNet3D``.
        batch_size: patches.
        memory: bytes that a training step is predicted to need.
        oversampling: share of the patches around a voxel of the foreground; of classification, share of the items that
            are drawn with each class as often as any other.
        augmentation: plain arguments, see :attr:`batch_tfms`.
        items_per_epoch, epochs: patches of an epoch, and how many of these.
        lr, optimizer, weight_decay, schedule: ``'adamw'`` or ``'sgd'``; ``'one_cycle'`` or ``'poly'``.
        precision: ``'float32'``, ``'bfloat16'`` or ``'float16'``.
        loss: ``'dice_ce'`` or ``'cross_entropy'``, of regions binary.
        folds: arguments of :func:`make_folds`: ``n``, ``seed``, ``group_col``, ``fold_col``.
        device: what it was made for, ``'cpu'`` or ``'cuda'``.
        reasons: of each field, why it is what it is.

    Raises:
        ValueError: values that contradict each other.

    >>> import pandas as pd, torch
    >>> from faimed3d.plan import propose
    >>> cases = pd.DataFrame({"image": [torch.rand(16, 24, 24)] * 5, "mask": [torch.ones(16, 24, 24)] * 5})
    >>> plan = propose(cases, codes=["air", "organ"], memory="1GB", device="cpu", progress=False)
    >>> plan.patch, plan.strides
    ((16, 24, 24), ((2, 2, 2), (2, 2, 2)))
    >>> plan.replace(patch=(16, 16, 16)).reasons["patch"]
    'set by hand'
    >>> Plan.from_json(plan.to_json()) == plan
    True
    """

    task: str
    cases: int
    fn_col: Any
    label_col: Any
    channels: int
    codes: tuple[str, ...] | None
    classes: tuple[str | int, ...] | None
    regions: tuple[tuple[str, tuple[int, ...]], ...] | None
    ignore_index: int | None
    resample_masks: bool | str
    modality: str | None
    orientation: str
    spacing: tuple[float, float, float] | None
    crop: bool
    median_size: tuple[int, int, int]
    normalization: str
    clip: tuple[tuple[float, float], ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    patch: tuple[int, int, int]
    arch: str
    strides: tuple[tuple[int, int, int], ...]
    kernels: tuple[tuple[int, int, int], ...]
    widths: tuple[int, ...]
    blocks: tuple[int, ...] | None
    up_convs: int
    deep_supervision: bool
    batch_size: int
    memory: int
    oversampling: float
    augmentation: Mapping[str, Any]
    items_per_epoch: int
    epochs: int
    lr: float
    optimizer: str
    weight_decay: float
    schedule: str
    precision: str
    loss: str
    folds: Mapping[str, Any]
    device: str
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in NAMES:
            object.__setattr__(self, name, _frozen(getattr(self, name), name))
        if fault := fault_of(self):
            raise ValueError(f"this plan cannot be: {fault}")

    def __str__(self) -> str:
        return methods_text(self)

    def __repr__(self) -> str:
        kind = "classes" if self.regions is None else "regions"
        what = f"{building.outputs(self)} {kind}, {self.cases} cases"
        size = " x ".join(map(str, self.patch))
        return f"Plan({self.task}, {what}, patch {size}, batch {self.batch_size}, {self.epochs} epochs)"

    def replace(self, **changes: Any) -> Plan:
        """The plan with other values; their reason becomes ``'set by hand'``, unless ``reasons`` says another.

        Args:
            **changes: fields.

        Raises:
            TypeError: there is no such field.
        """
        refuse_unknown(changes, [*NAMES, "reasons"], "Plan.replace")
        given = dict(changes.pop("reasons", {}))
        changed = [name for name, value in changes.items() if _frozen(value, name) != getattr(self, name)]
        reasons = {**self.reasons, **dict.fromkeys(changed, _BY_HAND), **given}
        return dataclasses.replace(self, **changes, reasons=reasons)

    def to_json(self, path: str | Path | None = None) -> str:
        """The plan as JSON text: edit the values under ``plan``, and read it by :meth:`from_json`.

        Args:
            path: file to write as well, whole or not at all.
        """
        values = {name: getattr(self, name) for name in NAMES}
        content = {_MARKER: _VERSION, "plan": values, "reasons": dict(self.reasons), "proposed": values}
        text = _text(content)
        if path is not None:
            with unfinished_folder(path) as folder:
                draft = Path(folder) / "plan.json"
                draft.write_text(text, encoding="utf-8")
                replace_file(str(draft), os.path.abspath(path))
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> Plan:
        """Read what :meth:`to_json` wrote. A value that was edited since has the reason that it was set by hand.

        Args:
            source: the text, or a file of it.

        Raises:
            ValueError: it is no plan, or an entry is missing, unknown or contradicts another.
        """
        text, where = _text_of(source)
        try:
            content = json.loads(text, object_pairs_hook=_each_once)
        except ValueError as error:
            raise ValueError(f"{where}is no plan as Plan.to_json writes it: {error}") from error
        if not isinstance(content, dict) or not all(isinstance(content.get(name, {}), dict) for name in _PARTS):
            raise ValueError(f"{where}is no plan as Plan.to_json writes it: {', '.join(_PARTS)} must be JSON objects")
        if strange := [name for name in content if name not in (_MARKER, *_PARTS)]:
            raise ValueError(f"{where}is no plan as Plan.to_json writes it: it has the entry {strange[0]!r}")
        if absent := [name for name in (_MARKER, "plan", "reasons") if name not in content]:
            raise ValueError(f"{where}is no plan as Plan.to_json writes it: it has no entry {absent[0]!r}")
        if content[_MARKER] != _VERSION:
            raise ValueError(f"{where}is a plan of version {content[_MARKER]!r}, where {_VERSION} can be read")
        values, reasons, proposed = content["plan"], content["reasons"], content.get("proposed", {})
        if missing := [name for name in NAMES if name not in values]:
            raise ValueError(f"{where}the plan has no entry {', '.join(missing)}")
        if unknown := [name for name in values if name not in NAMES]:
            raise ValueError(f"{where}the plan has the entry {unknown[0]!r}, which no plan has")
        for name in NAMES:
            if name in proposed and values[name] != proposed[name]:
                reasons[name] = f"{_BY_HAND}; proposed was {json.dumps(proposed[name])}: {reasons.get(name, '')}"
        try:
            return cls(**values, reasons=reasons)
        except ValueError as error:
            raise ValueError(f"{where}{error}") from None

    @property
    def y_block(self) -> Any:
        """The block of targets that are no masks; None for masks."""
        return building.y_block(self)

    @property
    def item_tfms(self) -> list[Any]:
        """The deterministic transforms of an item, which a cache keeps: crop, resample, z-score of each volume."""
        return building.item_tfms(self)

    @property
    def batch_tfms(self) -> list[Any]:
        """The transforms of a batch: what is the same for all scans, and the augmentation."""
        return building.batch_tfms(self)

    def network(self) -> nn.Module:
        """The network, new and untrained."""
        return building.network(self)

    @strict_keywords(more=lambda args, kwargs: building.loader_keywords())
    def dataloaders(self, cache: Any, fold: int | str | None = 0, **kwargs: Any) -> Any:
        """Loaders of one fold: patches of the cache for masks, whole cases of it for classes.

        Args:
            cache: of ``preprocess(df, folder, plan)``.
            fold: which of the plan's folds is validated on; None: none, all cases are trained on.
            **kwargs: of ``PatchDataLoaders3D.from_cache``, or of ``CachedImageDataLoaders3D.from_cache`` for classes,
                such as ``num_workers`` and ``device``; they take the place of the plan's.

        Raises:
            ValueError: the cases of the cache were made by other steps than the plan's, or there is no such fold.
        """
        return building.dataloaders(self, cache, fold, **kwargs)

    @strict_keywords(more=lambda args, kwargs: building.learner_keywords())
    def learner(self, cache: Any, fold: int | str | None = 0, dls: Any = None, **kwargs: Any) -> VolumeLearner:
        """An ordinary learner of one fold: loaders, network, loss, metrics, optimizer and precision of the plan.

        Args:
            cache, fold: as of :meth:`dataloaders`.
            dls: loaders. Default: those of :meth:`dataloaders`.
            **kwargs: of ``unet_learner_3d``, or of ``cnn_learner_3d`` for classes, such as ``cbs`` and ``metrics``;
                they take the place of the plan's.
        """
        return building.learner(self, self.dataloaders(cache, fold) if dls is None else dls, **kwargs)

    @strict_keywords(more=lambda args, kwargs: building.fit_keywords())
    def fit(self, learn: Learner, **kwargs: Any) -> None:
        """Train a learner for ``epochs`` by ``schedule``: ``fit_one_cycle`` or ``fit_poly``.

        Args:
            learn: of :meth:`learner`.
            **kwargs: of these, such as ``cbs``.
        """
        building.fit(self, learn, **kwargs)

    def for_budget(self, minutes: float, seconds_per_step: float | None = None) -> Plan:
        """The plan with as many epochs as end in some minutes, validation included, and a narrower network if need be.

        Where fewer than 15 epochs would fit, the widths are halved, down to 8 channels.

        Args:
            minutes: of the training of one fold.
            seconds_per_step: how long a training step takes. Default: a few are timed, with random values, on the
                device of the plan.

        Raises:
            ValueError: not even one epoch ends in this time.
        """
        check_minutes(minutes)
        if seconds_per_step is not None and not (is_number(seconds_per_step) and seconds_per_step > 0):
            raise ValueError(f"seconds_per_step must be a number above 0, got {seconds_per_step!r}")
        plan = self
        while True:
            seconds = measured(plan) if seconds_per_step is None else seconds_per_step
            steps = max(1, round(plan.items_per_epoch / plan.batch_size))
            most = rules.training_of(plan.task, plan.device).epochs
            epochs = rules.budget(minutes, seconds, steps, most)
            if epochs >= min(most, rules.FEWEST_EPOCHS) or min(plan.widths, default=0) < 16:
                break
            plan = plan.replace(
                widths=tuple(width // 2 for width in plan.widths),
                reasons={"widths": f"halved, so that at least {rules.FEWEST_EPOCHS} epochs end in {minutes:g} minutes"},
            )
            if seconds_per_step is not None:
                seconds_per_step /= 3  # half the width is a quarter of the work, and half of what memory moves
        if not epochs:
            raise ValueError(
                f"one epoch of {steps} steps of {seconds:.3g} s does not end in {minutes:g} minutes: allow at least "
                f"{steps * seconds / 60 / rules.TRAINING_SHARE:.3g}, or a smaller patch or items_per_epoch"
            )
        if plan is not self:
            plan = plan.replace(memory=predicted_memory(plan), reasons={"memory": "predicted by training_memory"})
        why = f"{steps} steps of {seconds:.3g} s each: ends within {minutes:g} minutes, {rules.TRAINING_SHARE:.0%} of "
        why += f"which train; {most} at most"
        return plan.replace(epochs=epochs, reasons={"epochs": why})


NAMES = tuple(one.name for one in fields(Plan) if one.name != "reasons")
"""The fields of a plan, its reasons left out."""


def check_minutes(minutes: Any) -> None:
    """Raise a ``ValueError`` where a budget is no time."""
    if not is_number(minutes) or minutes <= 0:
        raise ValueError(f"minutes must be a number above 0, got {minutes!r}")


def _frozen(value: Any, name: str = "") -> Any:
    """Lists and arrays as tuples, in mappings as they are: those hold plain JSON. Regions are pairs, in their order."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if name == "regions" and value is not None:
        try:
            return tuple(label_parts(value).items())
        except ValueError as error:
            raise ValueError(f"this plan cannot be: {error}") from None
    if isinstance(value, Mapping):
        return json.loads(json.dumps(dict(value)))
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _text_of(source: str | Path) -> tuple[str, str]:
    """The text of a plan, and its file for messages, '' where there is none."""
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"a plan is read from the text or the file of Plan.to_json, got {type(source).__name__}")
    if isinstance(source, str) and source.lstrip("\ufeff \t\r\n").startswith("{"):
        return source.lstrip("\ufeff"), ""
    try:
        return Path(source).read_text(encoding="utf-8-sig"), f"{source}: "  # editors may begin a file with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: is no plan as Plan.to_json writes it: no text in UTF-8, {error}") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of which no entry stands there twice, as one that was edited may."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the entry {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return content


def _text(content: Mapping[str, Any]) -> str:
    """JSON with an entry a line, and lists of numbers in one."""
    parts = []
    for name, part in content.items():
        if isinstance(part, Mapping):
            rows = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in part.items()]
            parts.append(f"{json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n }")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(part)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"
