"""A plan in words, like the methods section of a paper."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from faimed3d.plan import rules

if TYPE_CHECKING:
    from faimed3d.plan.plan import Plan

_WIDTH = 100
_SELF_EVIDENT = ("fn_col", "label_col", "channels", "codes", "classes", "task", "clip", "mean", "std", "device")
_NORMALIZED = {
    "ct": "Values are cut to {clip}, less {mean}, divided by {std}",
    "set": "Values are less {mean}, divided by {std}",
    "volume": "Each volume is scaled to mean 0 and standard deviation 1",
    "foreground": "Each volume is scaled to mean 0 and standard deviation 1 of its voxels above the smallest value",
}


def methods_text(plan: Plan) -> str:
    """The sections of a plan, each decision with its reason in brackets."""
    paragraphs = [f"{title}. " + " ".join(_sentences(plan, entries)) for title, entries in SECTIONS.items()]
    text = "\n\n".join(paragraphs)
    sources = [source for source in rules.SOURCES if source in text]
    for number, source in enumerate(sources, 1):
        text = text.replace(f"({source})", f"[{number}]").replace(source, f"[{number}]")
    paragraphs = [*text.split("\n\n"), *(f"[{number}] {source}" for number, source in enumerate(sources, 1))]
    wrapped = [textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False) for text in paragraphs]
    return "\n\n".join(wrapped[: len(wrapped) - len(sources)]) + "\n\n" + "\n".join(wrapped[-len(sources) :])


def _sentences(plan: Plan, entries: Sequence[tuple[tuple[str, ...], Callable[[Plan], str | None]]]) -> list[str]:
    found = []
    for names, words in entries:
        text = words(plan)
        if text:
            told = [name for name in names if plan.reasons.get(name) and name not in _SELF_EVIDENT]
            why = "; ".join(dict.fromkeys(plan.reasons[name] for name in told))
            found.append(f"{text} ({why})." if why else f"{text}.")
    return found


def by(values: Sequence[Any]) -> str:
    """Numbers joined by x."""
    return " x ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)


def _numbers(values: Sequence[float] | None) -> str:
    return "/".join(f"{value:.4g}" for value in values or ())


def _data(plan: Plan) -> str:
    regions = [name for name, _ in plan.regions or ()]
    names = regions or [str(name) for name in (plan.codes[1:] if plan.codes is not None else plan.classes or ())]
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    what = f"{plan.task.capitalize()} of {shown}" if plan.codes is not None else f"Classification as {shown}"
    return (
        f"{what} in {plan.cases} cases of {plan.channels} channel{'s' * (plan.channels > 1)}, read from the columns "
        f"{plan.fn_col!r} and {plan.label_col!r}"
    )


def _normalized(plan: Plan) -> str:
    cut = "/".join(f"{low:.4g} to {high:.4g}" for low, high in plan.clip or ())
    return _NORMALIZED[plan.normalization].format(clip=cut, mean=_numbers(plan.mean), std=_numbers(plan.std))


def _network(plan: Plan) -> str:
    if plan.task == "classification":
        return f"{plan.arch} with fastai's head takes items of {by(plan.patch)} voxels (D, H, W)"
    kind = "residual U-Net" if plan.blocks is not None else "U-Net"
    return f"A {kind} ({plan.arch}) of {len(plan.widths)} levels takes patches of {by(plan.patch)} voxels (D, H, W)"


def _of_voxels(words: Callable[[Plan], str | None]) -> Callable[[Plan], str | None]:
    return lambda plan: words(plan) if plan.task == "segmentation" else None


def _regions(plan: Plan) -> str | None:
    if plan.regions is None:
        return None
    codes = plan.codes or ()
    made = [f"{name} ({', '.join(codes[label] for label in labels)})" for name, labels in plan.regions]
    return f"These are regions, which may overlap, made of labels: {', '.join(made)}"


def _loss(plan: Plan) -> str:
    entropy = "cross-entropy" if plan.regions is None else "binary cross-entropy"
    what = f"Dice and {entropy}" if plan.loss == "dice_ce" else entropy
    return f"The loss is {what}" + ("" if plan.regions is None else " of each region")


def _oversampling(plan: Plan) -> str | None:
    if plan.task == "segmentation":
        return f"{plan.oversampling:.0%} of the patches lie around the foreground"
    if not plan.oversampling:
        return None
    drawn = "Items are" if plan.oversampling == 1 else f"{plan.oversampling:.0%} of the items are"
    return f"{drawn} drawn with each class as often as any other"


def _masks(plan: Plan) -> str | None:
    if not plan.resample_masks:
        return None
    return "Masks are brought to the grids of their images"


SECTIONS: dict[str, list[tuple[tuple[str, ...], Callable[[Any], str | None]]]] = {
    "Data": [
        (("task", "cases", "fn_col", "label_col", "channels", "codes", "classes"), _data),
        (("regions",), _regions),
        (("modality",), lambda plan: f"The modality is {plan.modality or 'not known'}"),
        (("ignore_index",), lambda p: None if p.ignore_index is None else f"Label {p.ignore_index} is left out"),
        (("folds",), lambda plan: f"Cross-validation has {_folds(plan)}"),
    ],
    "Preprocessing": [
        (("orientation",), lambda plan: f"Volumes are stored as {plan.orientation}"),
        (("resample_masks",), _masks),
        (("crop",), lambda plan: f"Empty margins are {'cut off' if plan.crop else 'kept'}"),
        (("normalization", "clip", "mean", "std"), _normalized),
        (("spacing",), lambda p: f"They are resampled to {by(p.spacing)} mm (x, y, z)" if p.spacing else
            "They are not resampled"),
        (("median_size",), lambda plan: f"The median size is then {by(plan.median_size)} voxels (D, H, W)"),
    ],
    "Network": [
        (("arch", "patch"), _network),
        (("strides",), lambda plan: f"Strides are {', '.join(map(by, plan.strides)) or 'none'}"),
        (("kernels",), lambda plan: f"Kernels are {', '.join(map(by, plan.kernels))}"),
        (("widths",), lambda plan: f"Levels have {', '.join(map(str, plan.widths))} channels"),
        (("blocks",), lambda p: f"They have {', '.join(map(str, p.blocks))} residual blocks" if p.blocks else None),
        (("up_convs",), _of_voxels(lambda plan: f"The way up has {_count(plan.up_convs, 'convolution')} a level")),
        (("deep_supervision",), _of_voxels(
            lambda plan: f"It is trained {'on all scales' if plan.deep_supervision else 'on the finest scale alone'}")),
    ],
    "Training": [
        (("loss",), _loss),
        (("optimizer", "lr"), lambda p: f"{'AdamW' if p.optimizer == 'adamw' else 'SGD'} begins at a rate of {p.lr:g}"),
        (("weight_decay",), lambda plan: f"Weight decay is {plan.weight_decay:g}"),
        (("schedule",), lambda p: f"The rate {'decays as a polynomial' if p.schedule == 'poly' else 'runs one cycle'}"),
        (("batch_size", "memory"), lambda plan: f"A batch has {plan.batch_size} items, and a step needs about "
            f"{plan.memory / 1e9:.2g} GB"),
        (("oversampling",), _oversampling),
        (("items_per_epoch", "epochs"), lambda p: f"{p.epochs} epochs of {p.items_per_epoch} items are trained"),
        (("precision", "device"), lambda plan: f"The network computes in {plan.precision} on {plan.device}"),
        (("augmentation",), lambda plan: f"Augmentation: {_augmented(plan)}"),
    ],
}  # fmt: skip


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _folds(plan: Plan) -> str:
    folds = plan.folds
    if folds.get("fold_col"):
        return f"the folds of column {folds['fold_col']!r}"
    group = f" by {folds['group_col']!r}" if folds.get("group_col") else ""
    return f"{folds.get('n', 5)} folds{group}, seed {folds.get('seed', 0)}"


def _augmented(plan: Plan) -> str:
    how = plan.augmentation
    axes = ", ".join({-3: "D", -2: "H", -1: "W"}[axis] for axis in how["flip_axes"])
    degrees = "/".join(f"{angle:g}" for angle in how["degrees"])
    low, high = how["scale"]
    mirrored = f"mirrored along {axes}" if axes else "not mirrored"
    if how["dihedral_p"]:
        mirrored += ", turned by the symmetries of the box"
    varied = any(how[name] for name in how if name.endswith("_p") and name not in ("affine_p", "dihedral_p"))
    values = ", and intensities" if varied else ""
    return f"{mirrored}, rotated by up to {degrees} degrees about D/H/W, scaled by {low:g} to {high:g}{values}"
