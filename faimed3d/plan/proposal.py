"""``propose``: from a table of cases, or the report on it, to a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from faimed3d._arguments import memory_bytes
from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.data.label_regions import Parts, label_parts
from faimed3d.plan import rules
from faimed3d.plan.case_facts import AXES, SIZES
from faimed3d.plan.checking import ENCODER
from faimed3d.plan.folds import FOLDS, make_folds
from faimed3d.plan.memory import predicted_memory, step_memory
from faimed3d.plan.plan import Plan, check_minutes
from faimed3d.plan.report import CaseReport, describe_cases
from faimed3d.plan.request import Patients, kind_of, refuse_other_report, warn_of_absent
from faimed3d.plan.rules import NNUNET, REGIONS, Choice
from faimed3d.plan.timing import require
from faimed3d.plan.topology import Topology, topology_of
from faimed3d.training.precision import fast_dtype

_LEAST_MEMORY = 10**6  # bytes: a number below is one of GB
_ROUNDS = 5
_SCALE = 0.82  # what the estimate is too large by, as a rule
_FULL = 0.85  # of the memory: less, and a larger patch or batch is tried
_MARGIN = 1.03


@strict_keywords(more=lambda args, kwargs: keywords_of(describe_cases))
def propose(
    df: pd.DataFrame,
    memory: float | str = "8GB",
    *,
    minutes: float | None = None,
    modality: str | None = None,
    device: str | torch.device | None = None,
    group_col: str | int | None = None,
    regions: Parts | None = None,
    report: CaseReport | None = None,
    **kwargs: Any,
) -> Plan:
    """Propose how to prepare and train on a data set, by the published rules of nnU-Net; each decision has its reason.

    The cases are read once, by :func:`describe_cases`. The rules and their sources: ``docs/plan.md``.

    Args:
        df: table of cases, with masks or classes.
        memory: what a training step may need: ``'12GB'``, or a number of bytes; of a GPU a little less than it has.
        minutes: of the training of one fold. A few training steps are timed, and epochs and widths chosen so that it
            ends in time (:meth:`Plan.for_budget`). Default: no limit.
        modality: ``'CT'``, ``'MR'``, ... Default: what DICOM headers or the values say.
        device: what will train, ``'cpu'`` or ``'cuda'``. Default: a GPU where there is one.
        group_col: column of the patient, by its name or number. Default: one named like it.
        regions: name -> label or labels: train on regions that may overlap, such as ``{"whole": (1, 2, 3), "core": (1,
            3)}``, from the outermost to the innermost; ``{}``: on labels, each voxel of one class. Default: what
            ``df.attrs`` says (``msd_table``), else labels.
        report: of these cases, where it is at hand; they are not read again then.
        **kwargs: of :func:`describe_cases`, such as ``fn_col``, ``label_col``, ``codes``, ``n_jobs``.

    Raises:
        ValueError: no case can be read, the arguments do not fit the table, a case has no patient or fold, all masks
            are empty, or none holds a voxel of a region. What the table alone tells is said before anything is read.
        TypeError: arguments of reading beside a ``report``, or another table in its place.

    >>> import numpy as np
    >>> cases = pd.DataFrame({"image": [np.random.default_rng(0).normal(size=(8, 9, 10))] * 5, "label": [*"abaab"]})
    >>> plan = propose(cases, device="cpu", progress=False)
    >>> plan.task, plan.classes, plan.patch, plan.spacing
    ('classification', ('a', 'b'), (8, 9, 10), None)
    """
    limit = int(memory_bytes(memory))
    if limit < _LEAST_MEMORY:
        raise ValueError(f"memory={memory!r}: no training step fits into {limit} bytes; for GB write memory='12GB'")
    kind = kind_of(device)
    if minutes is not None:
        check_minutes(minutes)
        require(kind)
    if modality is not None and not isinstance(modality, str):
        raise TypeError(f"modality must be text such as 'CT' or 'MR', got {modality!r}")
    if regions:
        label_parts(regions)
    patients = Patients(df, group_col)
    if report is None:
        report = describe_cases(df, **kwargs)
    elif kwargs:
        raise TypeError(
            f"report says how the cases were read, so {', '.join(kwargs)} cannot be asked for: leave it out"
        )
    else:
        refuse_other_report(report, df)
    warn_of_absent(report)
    plan = _Proposal(df, report, limit, kind, modality, patients, regions).plan()
    return plan if minutes is None else plan.for_budget(minutes)


class _Proposal:
    """The decisions, one after the other: each may need those before it."""

    def __init__(
        self,
        df: pd.DataFrame,
        report: CaseReport,
        limit: int,
        device: str,
        modality: str | None,
        patients: Patients,
        regions: Parts | None,
    ) -> None:
        self.df, self.report, self.limit, self.device, self.asked = df, report, limit, device, modality
        self.patients, self.asked_regions = patients, regions
        self.read = (report["error"] == "").to_numpy()
        self.done = pd.DataFrame(report[self.read])
        self.task: str = report.attrs["task"]
        self.training = rules.training_of(self.task, device)
        self.scale = _SCALE  # from what is estimated to what a step needs
        self.largest_batch = self.training.batch
        self.values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def set(self, name: str, choice: Choice | Any, reason: str = "") -> Any:
        value, reason = choice if isinstance(choice, Choice) else (choice, reason)
        self.values[name] = value
        if reason:
            self.reasons[name] = reason
        return value

    def plan(self) -> Plan:
        """Decide everything, by an estimate of the memory that is corrected by what the planned step needs."""
        limited = False
        for _ in range(_ROUNDS):
            plan = self._planned()
            exact = predicted_memory(plan)
            room = exact < _FULL * self.limit and self._could_grow(plan)
            if exact <= self.limit and (limited or not room):
                break
            limited = limited or exact > self.limit
            self.scale *= exact / plan.memory * (_MARGIN if limited else 1)
        over = "more than asked for: the smallest patches need it"
        why = over if exact > self.limit else "predicted by training_memory"
        return plan.replace(memory=exact, reasons={"memory": why})

    def _could_grow(self, plan: Plan) -> bool:
        """Whether more memory would be used: the patch is no whole case yet, or the batch not the largest."""
        grows = self.task == "segmentation" and any(map(int.__lt__, plan.patch, plan.median_size))
        return grows or plan.batch_size < self.largest_batch

    def _planned(self) -> Plan:
        self.values.clear()
        self.reasons.clear()
        self._columns()
        self._values()
        self._grid()
        if self.task == "segmentation":
            self._unet()
        else:
            self._classifier()
        self._training()
        return Plan(**self.values, reasons=self.reasons)

    def _columns(self) -> None:
        read, names = self.report.attrs["columns"], list(self.report.attrs["codes"])
        seg = self.task == "segmentation"
        self.set(
            "task", self.task, f"the cells of the column {read['label_col']!r} are {'volumes' if seg else 'classes'}"
        )
        failed = len(self.report) - len(self.done)
        self.set("cases", len(self.done), f"{failed} more could not be read" if failed else "all could be read")
        for name in ("fn_col", "label_col"):
            self.set(name, read[name], "as asked, or by its name")
        counts = self.done["channels"].astype(int)
        self.set("channels", int(counts.mode()[0]), "as the images have")
        if counts.nunique() > 1:
            raise ValueError(
                f"the cases have {', '.join(map(str, sorted(counts.unique())))} channels, the odd ones are "
                f"{', '.join(self.done['case'][counts != self.values['channels']][:5])}: all need the same"
            )
        self.set("codes", names if seg else None, "names of the labels" if seg else "the targets are classes")
        self.set("classes", None if seg else names, "the targets are labels" if seg else "the classes that were found")
        if not seg and len(names) < 2:
            raise ValueError(
                f"all cases are of one class, {', '.join(map(str, names))}: there is nothing to tell apart"
            )
        self.set("regions", self._regions())
        labels = [int(name.removeprefix("voxels_")) for name in self.done if name.startswith("voxels_")]
        if seg and max(labels, default=0) >= len(names):
            raise ValueError(
                f"masks hold the label {max(labels)}, but codes names {len(names)} labels, from 0 on: name all of "
                "them, or renumber the masks"
            )
        if seg and not self._floats("foreground").any():
            raise ValueError(
                f"all {len(self.done)} masks are empty, without a voxel of a label above 0: there is nothing to "
                f"learn. Is {read['label_col']!r} the column of the masks?"
            )
        self.set(
            "ignore_index",
            read["ignore_index"],
            "as asked" if read["ignore_index"] is not None else "no label is left out",
        )
        self.set(
            "resample_masks",
            read["resample_masks"],
            "as asked" if read["resample_masks"] else "all lie on their images",
        )

    def _regions(self) -> Choice:
        """The regions, and in how many cases each is."""
        stated = self.df.attrs.get("regions") if self.task == "segmentation" else None
        regions = stated if self.asked_regions is None else self.asked_regions
        if not regions:
            return Choice(None, "each voxel is of one class")
        parts = label_parts(regions)
        shown: dict[str, int] = {}
        for name, labels in parts.items():
            voxels = [self._floats(f"voxels_{label}") for label in labels]
            shown[name] = int((np.nansum(voxels, axis=0) > 0).sum())
        if self.task == "segmentation" and (empty := [name for name, cases in shown.items() if not cases]):
            held = [name.removeprefix("voxels_") for name in self.done if name.startswith("voxels_")]
            held = [label for label in held if self._floats(f"voxels_{label}").any()]
            made_of = ", ".join(map(str, parts[empty[0]]))
            raise ValueError(
                f"no mask holds a voxel of the region {empty[0]!r}, made of {made_of}: the labels of the masks are "
                f"{', '.join(held) or 'none'}"
            )
        counts = ", ".join(f"{cases} show {name}" for name, cases in shown.items())
        return Choice(list(parts.items()), f"of {len(self.done)} cases {counts} ({REGIONS})")

    def _values(self) -> None:
        done = self.done
        stated = list(done["modality"].fillna("")) if "modality" in done else []
        low, high = (self._of_channels(name) for name in ("minimum", "maximum"))
        if not np.isfinite(low).any(0).all():
            raise ValueError("no image holds a finite voxel in each channel: there is nothing to learn from")
        kind = self.set("modality", rules.modality(self.asked, stated, low, high))
        voxels = np.prod([self._floats(name) for name in SIZES], axis=0)
        box = np.prod([self._floats(f"box_{name}") for name in SIZES], axis=0)
        share = float(np.median(box / voxels))
        if self.task == "classification":
            crop = self.set("crop", False, "where in an image something is may tell its class")
        else:
            crop = self.set("crop", rules.crops(kind, share))
        two = bool((self._of_channels("two_values") == 1).all())
        scheme = self.set("normalization", rules.normalization(kind, crop, two))
        pooled = self.report.attrs["intensities"]
        none = "each volume has its own"
        if scheme == "ct":
            self.set("clip", [_cut(one) for one in pooled], f"percentiles 0.5 and 99.5 ({NNUNET})")
            self.set(
                "mean", [one["mean"] if one["voxels"] else 0.0 for one in pooled], "of the foreground of all cases"
            )
            self.set("std", [_spread(one["std"]) for one in pooled], "of the foreground of all cases")
        elif scheme == "set":
            means, stds = [], []
            for mean, std in zip(self._of_channels("whole_mean").T, self._of_channels("whole_std").T, strict=True):
                means.append(float(mean.mean()))
                stds.append(_spread(np.sqrt((std**2 + (mean - mean.mean()) ** 2).mean())))
            self.set("mean", means, "of all voxels of the set, each case alike")
            self.set("std", stds, "of all voxels of the set, each case alike")
            self.set("clip", None, "nothing is cut")
        else:
            for name in ("clip", "mean", "std"):
                self.set(name, None, none)

    def _grid(self) -> None:
        done = self.done
        codes = list(done["orientation"].dropna()) if "orientation" in done else []
        target = self.set(
            "orientation", rules.usual_orientation(codes) if codes else Choice("LPS", "none says its own")
        )
        sizes, spacings = [], []
        prefix = "box_" if self.values["crop"] else ""
        columns = [
            [self._floats(f"{start}{name}") for name in names] for start, names in ((prefix, SIZES), ("spacing_", AXES))
        ]
        for number, code in enumerate(done["orientation"] if "orientation" in done else [None] * len(done)):
            order = rules.axis_order(code, target) if isinstance(code, str) else [0, 1, 2]
            size, spacing = ([column[axis][number] for axis in order] for column in columns)
            sizes.append(size)
            spacings.append(spacing)
        sizes_xyz, spacings_xyz = np.array(sizes, float), np.array(spacings, float)
        known = np.isfinite(spacings_xyz).all(1) & done["stated"].astype(bool).to_numpy()
        if known.mean() > 0.5:
            chosen = self.set("spacing", rules.target_spacing(spacings_xyz[known], sizes_xyz[known]))
            self.sizes = np.where(known[:, None], sizes_xyz * spacings_xyz / np.array(chosen), sizes_xyz)
        else:
            self.set("spacing", None, "most cases do not say what theirs is")
            self.sizes = sizes_xyz
        self.steps = self.values["spacing"] or (1.0, 1.0, 1.0)
        self._set_median("median of each axis at the target spacing")

    def _set_median(self, reason: str) -> None:
        median = np.median(self.sizes, axis=0)[::-1]
        self.set("median_size", [max(1, round(float(n))) for n in median], reason)

    def _unet(self) -> None:
        training, classes = self.training, len(self.values["regions"] or self.values["codes"])
        half, channels = self._precision() != "float32", self.values["channels"]

        def cost(patch: Any, topology: Topology, batch: int) -> int:
            levels = topology.levels
            blocks = _blocks(levels, rules.RESENC_BLOCKS) if training.blocks else None
            wide = rules.widths(levels, training.width, training.most_width)
            return int(self.scale * step_memory(patch, topology, batch, wide, channels, classes, blocks, half))

        voxels = float(np.prod(self.sizes, axis=1).sum())
        found = rules.fit_patch(self.steps[::-1], self.values["median_size"], self.limit, cost, voxels, training.batch)
        self.set("patch", found.patch, found.reason)
        plain = "plain convolutions are faster on a CPU"
        counts = rules.RESENC_BLOCKS if training.blocks else None
        self._levels(found.topology, "UNet3D", counts, rules.RESENC if training.blocks else plain)
        levels = found.topology.levels
        self.set("up_convs", 1 if training.blocks else 2, rules.RESENC if training.blocks else NNUNET)
        deep = levels >= rules.DEEP
        self.set("deep_supervision", deep, NNUNET if deep else f"{levels} levels have no coarser scale to supervise")
        self.largest_batch = found.largest
        self._batch(found.batch, found.memory)
        share = rules.OVERSAMPLING
        of_labels = "" if self.values["regions"] is None else ", of the labels that make a region each as likely"
        self.set("oversampling", share, f"small structures are seen often enough{of_labels} ({NNUNET})")

    def _levels(self, topology: Topology, arch: str, counts: Sequence[int] | None, why: str) -> None:
        """Decide the levels of the network."""
        first, most = self.training.width, self.training.most_width
        self.set("arch", arch, NNUNET)
        halved = f"axes near the finest spacing are halved while 4 voxels are left ({NNUNET})"
        self.set("strides", topology.strides, halved)
        thick = f"1 along an axis while its spacing is over twice the finest ({NNUNET})"
        self.set("kernels", topology.kernels, thick)
        doubled = f"{first}, doubled at each level, {most} at most ({self.training.source})"
        self.set("widths", rules.widths(topology.levels, first, most), doubled)
        self.set("blocks", None if counts is None else _blocks(topology.levels, counts), why)

    def _batch(self, batch: int, memory: int) -> None:
        most = self.training.batch
        if batch == most:
            why = f"{most} at most {'on a CPU, for more steps' if self.device == 'cpu' else ''}".strip()
        else:
            why = f"the most that fit into {self.limit / 1e9:g} GB, with up to 5 % of the voxels of the set ({NNUNET})"
        self.set("batch_size", batch, why)
        over = memory > self.limit
        self.set("memory", memory, "more than asked for: the smallest patches need it" if over else "predicted")

    def _classifier(self) -> None:
        most = rules.CLASSIFICATION_VOXELS["cpu" if self.device == "cpu" else "cuda"]
        median = self.values["median_size"]
        factor = (math.prod(median) / most) ** (1 / 3)
        same = len(np.unique(np.round(self.sizes), axis=0)) == 1
        reason = "the size of all cases" if same else "median size of the cases; they are padded or cropped to it"
        patch = list(median)
        if factor > 1:
            patch = [max(1, round(n / factor)) for n in median]
            reason = (
                f"the median size would be more than {round(most ** (1 / 3))}^3 voxels, so all axes are made coarser"
            )
            if self.values["spacing"] is not None:
                finer = [mm * factor for mm in self.values["spacing"]]
                self.set("spacing", finer, f"{factor:.3g} times the median, so that an item fits ({rules.OURS})")
                self.sizes = self.sizes / factor
                self._set_median("median of each axis at the target spacing")
        self.set("patch", patch, reason)
        topology = topology_of(self.steps[::-1], patch, rules.HALVED_FROM)
        halved = f"axes near the finest spacing are halved while 4 voxels are left, rounded up ({rules.NNUNET})"
        size = tuple(patch)
        strides: Any = topology.strides
        if self.training.strided and strides:
            size = tuple(-(-n // step) for n, step in zip(patch, strides[0], strict=True))
            topology = Topology(strides[1:], topology.kernels[1:])
            halved += f", first by the first convolution, as most of the time goes to the finest level ({rules.RESNET})"
        counts = f"one at the finest level ({rules.RESENC}), else as many as in the ResNet-18 of {rules.MEDMNIST}"
        self._levels(topology, ENCODER, rules.RESNET_BLOCKS, counts)
        self.set("strides", strides, halved)
        self.set("up_convs", 0, "there is no way up")
        self.set("deep_supervision", False, "of segmentation")
        often = f"a rare class is learnt as well as a frequent one ({rules.OURS})"
        self.set("oversampling", rules.CLASS_OVERSAMPLING, often)
        batch = max(rules.LEAST_BATCH, min(self.training.batch, len(self.done) // 2))
        wide, blocks = self.values["widths"], self.values["blocks"]

        def memory(batch: int) -> int:
            return int(self.scale * step_memory(size, topology, batch, wide, self.values["channels"], 0, blocks))

        self.largest_batch = batch
        while batch > rules.LEAST_BATCH and memory(batch) > self.limit:
            batch -= 1
        self._batch(batch, memory(batch))

    def _precision(self) -> str:
        if self.training.precision is not None:
            return self.training.precision
        try:
            return str(fast_dtype(self.device)).removeprefix("torch.")
        except (RuntimeError, AssertionError):  # planned for a GPU on a machine without one
            return "float16"

    def _training(self) -> None:
        training, values = self.training, self.values
        names = [str(name) for name in values["codes"] or values["classes"]]
        shapes = self.task == "classification" and values["normalization"] == "set"
        oriented = "orientation" in self.done and bool(self.done["stated"].astype(bool).any())
        how = (tuple(values["patch"]), names, values["orientation"], self.task, training.gentle, shapes, oriented)
        self.set("augmentation", rules.augmentation(*how, regions=values["regions"] or ()))
        items = self._folds()
        least = training.least_steps * values["batch_size"]
        least = max(least, values["batch_size"])
        self.set(
            "items_per_epoch",
            max(items, least),
            f"{max(1, training.least_steps)} batches" if least > items else "cases of training",
        )
        on = f"on {'a CPU' if self.device == 'cpu' else 'a GPU'} ({training.source})"
        place = on.partition(" (")[0]
        ours = f"{place} ({rules.OURS})"
        self.set("lr", training.lr, on)
        for name in ("optimizer", "weight_decay"):
            self.set(name, getattr(training, name), on if training.optimizer == "sgd" else ours)
        self.set("epochs", training.epochs, ours)
        one_cycle = training.schedule == "one_cycle"
        self.set("schedule", training.schedule, f"{place} ({rules.ONE_CYCLE})" if one_cycle else on)
        self.set("precision", self._precision(), f"what is fast {place}")
        seg = self.task == "segmentation"
        source = NNUNET if values["regions"] is None else REGIONS
        self.set("loss", "dice_ce" if seg else "cross_entropy", source if seg else "of classes")
        self.set("device", self.device, "as asked, or what is there")

    def _folds(self) -> int:
        """Decide the folds; how many cases the largest side of training has."""
        group, folds = self.patients.column, self.patients.folds
        if folds is not None:
            how: dict[str, Any] = {"n": None, "seed": 0, "group_col": group, "fold_col": "fold", "classes": None}
            self.set("folds", how, "the column fold says them")
            read = self.read
        else:
            count = min(FOLDS, self.patients.of_cases[self.read].nunique())
            classes = self.values["label_col"] if self.task == "classification" else None
            how = {"n": max(2, count), "seed": 0, "group_col": group, "fold_col": None, "classes": classes}
            whose = "by patient" if group is not None else "each case as a patient of its own"
            whose += ", classes spread evenly" if classes is not None else ""
            self.set("folds", how, f"{how['n']}, {whose} ({NNUNET})")
            if count < 2:  # no folds; all are trained on
                return len(self.done)
            folds, read = make_folds(self.df[self.read], **how), np.ones(len(self.done), bool)
        return max(1, *(int(read[folds.split(name)[0]].sum()) for name in folds.names))

    def _floats(self, name: str) -> np.ndarray:
        return (
            self.done[name].to_numpy(float, na_value=np.nan) if name in self.done else np.full(len(self.done), np.nan)
        )

    def _of_channels(self, name: str) -> np.ndarray:
        """(cases, channels): a number of each channel."""
        columns = (f"{name}_{number}" if number else name for number in range(self.values["channels"]))
        return np.stack([self._floats(column) for column in columns], 1)


def _blocks(levels: int, counts: Sequence[int]) -> Sequence[int]:
    return [counts[min(level, len(counts) - 1)] for level in range(levels)]


def _spread(std: float) -> float:
    """What to divide by: a standard deviation, or 1 where all values are alike, or there are none."""
    return float(std) if std > 1e-6 else 1.0


def _cut(of_foreground: dict[str, float]) -> tuple[float, float]:
    """What values are cut to: the percentiles, with room about them where all values are alike, or there are none."""
    low, high = (of_foreground[name] if of_foreground["voxels"] else 0.0 for name in ("low", "high"))
    return (low, high) if low < high else (low - 1, high + 1)
