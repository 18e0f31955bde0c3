"""The rules by which a plan is made: constants and small pure functions, each giving a value and the reason for it.

Change a constant here and every plan changes. :mod:`faimed3d.plan.rule_table` says each rule in words. Triples are
(D, H, W), but the spacing of a plan is (x, y, z) mm, as everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from faimed3d.masks.regions import swapped_regions
from faimed3d.plan.topology import Topology, Triple, first_patch, padded, smaller, topology_of

NNUNET = "nnU-Net, Isensee et al. 2021, doi:10.1038/s41592-020-01008-z"
REGIONS = "region-based training, Isensee et al. 2020, arXiv:2011.00848"
RESENC = "nnU-Net ResEnc presets, Isensee et al. 2024, arXiv:2404.09556"
OURS = "this library's choice"
MEDMNIST = "MedMNIST v2, Yang et al. 2023, doi:10.1038/s41597-022-01721-8"
RESNET = "ResNet, He et al. 2016, doi:10.1109/CVPR.2016.90"
ONE_CYCLE = "Smith and Topin 2018, arXiv:1708.07120"
SOURCES = (NNUNET, REGIONS, RESENC, MEDMNIST, RESNET, ONE_CYCLE, OURS)

Numbers = Sequence[float] | np.ndarray

ANISOTROPIC = 3  # a coarse axis has more than this times the spacing of the others
LEAST_BOX = 0.75  # of the volume: below it the rest is background that nothing is learned from
LEAST_BATCH = 2
LARGEST_SHARE = 0.05  # of the voxels of the data set in one batch
OVERSAMPLING = 1 / 3
CLASS_OVERSAMPLING = 1.0  # of cases with classes: all are drawn with each class as often as any other
HU_AIR = (-3100.0, -900.0)  # what the smallest value of a CT lies between: air is -1000, padding -1024 to -3024
DEEP = 3  # levels from which on deep supervision has something to supervise
RESENC_BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6)
RESNET_BLOCKS = (1, 2, 2, 2, 2, 2, 2, 2)  # of classes: as many as in a ResNet-18, but one at the finest level
TRAINING_SHARE = 0.85  # of the minutes asked for: the rest is validation, reading, checkpoints
FEWEST_EPOCHS = 15  # fewer than these, and a narrower network learns more in the same time


@dataclass(frozen=True)
class Training:
    """How long, how wide and by which optimizer a device trains."""

    width: int  # channels of the first level
    most_width: int
    batch: int  # the most, whatever the memory
    epochs: int
    least_steps: int  # of an epoch
    lr: float
    optimizer: str  # 'adamw' or 'sgd' (with Nesterov momentum 0.99)
    weight_decay: float
    schedule: str  # 'one_cycle' or 'poly'
    precision: str | None  # None: what is fast on the device
    blocks: bool  # residual encoder
    source: str
    gentle: bool = False  # augmentation for some thousand patches in all, not for millions
    strided: bool = False  # the first convolution halves the volume


SEGMENTATION = {
    "cpu": Training(
        width=16, most_width=320, batch=2, epochs=100, least_steps=0, lr=2e-3, optimizer="adamw", weight_decay=1e-2,
        schedule="one_cycle", precision=None, blocks=False, source=OURS, gentle=True,
    ),
    "cuda": Training(
        width=32, most_width=320, batch=32, epochs=250, least_steps=250, lr=1e-2, optimizer="sgd", weight_decay=3e-5,
        schedule="poly", precision=None, blocks=True, source=f"{NNUNET}; {RESENC}",
    ),
}  # fmt: skip
CLASSIFICATION = {
    "cpu": Training(
        width=16, most_width=256, batch=16, epochs=100, least_steps=0, lr=2e-3, optimizer="adamw", weight_decay=1e-2,
        schedule="one_cycle", precision=None, blocks=True, source=OURS, strided=True,
    ),
    "cuda": Training(
        width=64, most_width=512, batch=32, epochs=100, least_steps=0, lr=1e-3, optimizer="adamw", weight_decay=1e-2,
        schedule="one_cycle", precision=None, blocks=True, source=MEDMNIST,
    ),
}  # fmt: skip
AUGMENTATION: dict[str, Any] = {
    "degrees": 30.0, "scale": [0.7, 1.4], "affine_p": 0.36, "noise_p": 0.1, "blur_p": 0.2, "brightness_p": 0.15,
    "contrast_p": 0.15, "low_resolution_p": 0.25, "gamma_p": 0.3, "dihedral_p": 0.0,
}  # fmt: skip
GENTLE: dict[str, Any] = {
    "degrees": 20.0, "scale": [0.8, 1.25], "affine_p": 0.7, "noise_p": 0.15, "blur_p": 0.1, "brightness_p": 0.15,
    "contrast_p": 0.15, "low_resolution_p": 0.1, "gamma_p": 0.2, "dihedral_p": 0.0,
}  # fmt: skip
SHAPES: dict[str, Any] = {
    "degrees": 30.0, "scale": [0.83, 1.2], "affine_p": 0.5, "noise_p": 0.0, "blur_p": 0.0, "brightness_p": 0.0,
    "contrast_p": 0.0, "low_resolution_p": 0.0, "gamma_p": 0.0, "dihedral_p": 0.0,
}  # fmt: skip
HALVED_FROM = 7  # voxels of an axis of classes: rounded up, 4 are left
CLASSIFICATION_VOXELS = {"cpu": 64**3, "cuda": 128**3}  # of an item


class Choice(NamedTuple):
    """A value, and why it is this."""

    value: Any
    reason: str


def usual_orientation(codes: Sequence[str]) -> Choice:
    """The storage order that most cases have; of equal numbers LPS, RAS, then by alphabet.

    >>> usual_orientation(["RAS", "LPS", "RAS"]).value
    'RAS'
    """
    count = {code: list(codes).count(code) for code in sorted(set(codes), key=lambda c: (c not in ("LPS", "RAS"), c))}
    usual = max(count, key=lambda code: count[code])
    if len(count) == 1:
        return Choice(usual, f"all {len(codes)} cases are stored in it")
    return Choice(usual, f"{count[usual]} of {len(codes)} cases are stored in it; the others are reoriented")


def axis_order(code: str, target: str) -> list[int]:
    """For each letter of ``target`` the place in ``code`` of the axis that runs along it, either way.

    >>> axis_order("PSR", "LPS")
    [2, 0, 1]
    """
    pairs = ("LR", "AP", "IS")
    along = [next(n for n, pair in enumerate(pairs) if letter in pair) for letter in code]
    return [along.index(next(n for n, pair in enumerate(pairs) if letter in pair)) for letter in target]


def target_spacing(spacings: np.ndarray, sizes: np.ndarray) -> Choice:
    """Spacing to which all cases are resampled.

    Args:
        spacings: (cases, 3) mm.
        sizes: (cases, 3) voxels, along the same axes.

    >>> target_spacing(np.array([[5, 1, 1], [6, 1, 1], [8, 1, 1]]), np.array([[20, 256, 256]] * 3)).value
    (5.2, 1.0, 1.0)
    """
    target, median = np.median(spacings, axis=0), np.median(sizes, axis=0)
    coarse = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != coarse]
    reason = f"median of each axis over {len(spacings)} cases"
    if (spacings == spacings[0]).all():
        reason = f"all {len(spacings)} cases have it"
    if target[coarse] > ANISOTROPIC * target[others].max() and median[coarse] * ANISOTROPIC < median[others].min():
        found = float(np.percentile(spacings[:, coarse], 10))
        target[coarse] = max(found, target[others].max())
        reason += (
            f"; the coarse axis has over {ANISOTROPIC} times the spacing of the others and few voxels, so its 10th "
            "percentile: else thin slices would be blurred"
        )
    return Choice(tuple(float(mm) for mm in target), f"{reason} ({NNUNET})")


def is_hounsfield(minima: Numbers, maxima: Numbers) -> bool:
    """Whether values look like Hounsfield units: the smallest ones are those of air or of padding around it.

    Args:
        minima, maxima: of each case, or of each case and channel; then each channel must look so.

    >>> is_hounsfield([-1024, -1000], [1500, 3071]), is_hounsfield([0, 0], [255, 900])
    (True, False)
    """
    low, high = np.nanmedian(minima, axis=0), np.nanmedian(maxima, axis=0)
    return bool(((low >= HU_AIR[0]) & (low <= HU_AIR[1]) & (high > 0)).all())


def modality(asked: str | None, stated: Sequence[str], minima: Numbers, maxima: Numbers) -> Choice:
    """'CT', 'MR', 'PT', ..., or None where nothing says what it is.

    Args:
        asked: by the user.
        stated: (0008,0060) Modality of each case, '' where there is none.
        minima, maxima: of each case, or of each case and channel.
    """
    if asked is not None:
        return Choice(asked.upper(), "as asked")
    named = {name for name in stated if name}
    if len(named) == 1:
        return Choice(named.pop(), "(0008,0060) Modality of the DICOM headers")
    if len(named) > 1:
        return Choice(None, f"the DICOM headers name several: {', '.join(sorted(named))}")
    if is_hounsfield(minima, maxima):
        low = float(np.nanmedian(minima))
        return Choice("CT", f"the smallest values, {low:g} in the median, are those of air in Hounsfield units")
    return Choice(None, "no header names it, and the values are not those of Hounsfield units")


def crops(kind: str | None, box_share: float) -> Choice:
    """Whether empty margins are cut off.

    Args:
        kind: modality.
        box_share: share of the median volume within the box of values above the smallest.
    """
    if kind == "CT":
        return Choice(False, "air is no empty margin of a CT")
    if box_share < LEAST_BOX:
        return Choice(
            True, f"the box of values above the smallest is {box_share:.0%} of a volume, below 75 % ({NNUNET})"
        )
    return Choice(
        False, f"the box of values above the smallest is {box_share:.0%} of a volume, at least 75 % ({NNUNET})"
    )


def normalization(kind: str | None, cropped: bool, two_values: bool) -> Choice:
    """'ct', 'volume', 'foreground' (of each volume) or 'set'.

    Args:
        kind: modality.
        cropped: empty margins are cut off.
        two_values: each image holds two values alone.
    """
    if kind == "CT":
        return Choice(
            "ct", f"Hounsfield units mean the same in every scan: cut to percentiles 0.5 and 99.5 of the foreground of "
            f"all cases, less its mean, by its standard deviation ({NNUNET})"
        )  # fmt: skip
    if two_values:
        return Choice("set", "the images are shapes, of two values each: mean and standard deviation of all of them")
    if cropped:
        return Choice(
            "foreground", f"units differ from scan to scan: mean and standard deviation of each volume, of the voxels "
            f"above its smallest value, as the rest is empty ({NNUNET})"
        )  # fmt: skip
    return Choice("volume", f"units differ from scan to scan: mean and standard deviation of each volume ({NNUNET})")


class Fitted(NamedTuple):
    """Patch and batch that fit into a memory."""

    patch: Triple
    topology: Topology
    batch: int
    largest: int  # batch that would be taken with more memory
    memory: int
    reason: str


def widths(levels: int, first: int, most: int) -> tuple[int, ...]:
    """Channels of each level.

    >>> widths(6, 32, 320)
    (32, 64, 128, 256, 320, 320)
    """
    return tuple(min(first * 2**level, most) for level in range(levels))


def fit_patch(
    spacing: Sequence[float], median: Sequence[float], memory: int, cost: Any, voxels: float, largest: int = 32
) -> Fitted:
    """The largest patch of which two fit into a memory, and how many of it do.

    Args:
        spacing: (D, H, W) mm.
        median: size of the cases at that spacing, voxels.
        memory: bytes.
        cost: (patch, topology, batch) -> bytes of a training step.
        voxels: of the whole data set.
        largest: batch.
    """
    median = [max(1.0, float(n)) for n in median]
    patch = first_patch(spacing, median)
    topology = topology_of(spacing, patch)
    patch = roomy(padded(patch, topology.divisors))
    whole = all(a >= n for a, n in zip(patch, median, strict=True))
    topology = topology_of(spacing, patch)
    while (needed := cost(patch, topology, LEAST_BATCH)) > memory:
        found = smaller(patch, spacing, median)
        if found is None or math.prod(found) >= math.prod(patch):
            break
        patch, whole = roomy(found), False
        topology = topology_of(spacing, patch)
    most = max(LEAST_BATCH, min(largest, round(LARGEST_SHARE * voxels / math.prod(patch))))
    batch = LEAST_BATCH
    while batch < most and cost(patch, topology, batch + 1) <= memory:
        batch += 1
    needed = cost(patch, topology, batch)
    reason = "a case of median size as a whole" if whole else f"the largest of which {LEAST_BATCH} fit into the memory"
    return Fitted(patch, topology, batch, most, needed, f"{reason}, in the proportions of the spacing ({NNUNET})")


def roomy(patch: Triple) -> Triple:
    """A patch of more than one voxel: one alone cannot be normalized."""
    return (patch[0], max(4, patch[1]), max(4, patch[2])) if math.prod(patch) < 8 else patch


_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])|(?<![a-z])([lr])(?![a-z])")


def sides(codes: Sequence[str]) -> tuple[list[list[int]], list[str]]:
    """Pairs of labels that are left and right of one thing, and names of one side that have no other.

    >>> sides(["none", "left kidney", "kidney right", "right lung"])
    ([[1, 2]], ['right lung'])
    """
    of_thing: dict[str, dict[str, int]] = {}
    for label, name in enumerate(codes):
        found = _SIDES.search(name.lower().replace("_", " "))
        if label and found:
            rest = " ".join(_SIDES.sub(" ", name.lower().replace("_", " ")).split())
            of_thing.setdefault(rest, {})[found[0][0]] = label
    pairs = [[both["l"], both["r"]] for both in of_thing.values() if len(both) == 2]
    paired = {label for pair in pairs for label in pair}
    alone = [codes[label] for both in of_thing.values() for label in both.values() if label not in paired]
    return pairs, alone


def sides_of_regions(
    regions: Sequence[tuple[str, Sequence[int]]], pairs: list[list[int]], alone: list[str]
) -> tuple[list[list[int]], list[str]]:
    """As of :func:`sides`, for regions that are made of labels: a region whose other side is none of them is alone.

    Args:
        regions: pairs of name and labels.
        pairs, alone: of the labels by their names.

    >>> sides_of_regions([("left kidney", [1]), ("right kidney", [2]), ("kidneys", [1, 2])], [], [])
    ([[1, 2]], [])
    >>> sides_of_regions([("left kidney", [1]), ("kidneys", [1, 2])], [[1, 2]], [])
    ([[1, 2]], ['left kidney'])
    """
    names, parts = [name for name, _ in regions], [labels for _, labels in regions]
    by_name, single = sides(["", *names])
    paired = {label for pair in pairs for label in pair}
    for one, other in by_name:
        both = [*parts[one - 1], *parts[other - 1]]
        if len(both) == 2 and paired.isdisjoint(both):  # of more labels nobody says which is whose other side
            pairs = [*pairs, both]
    become = swapped_regions(parts, {left: right for left, right in pairs}) if pairs else {}  # noqa: C416 - lists
    lost = [names[number - 1] for number, other in become.items() if other is None]
    lost += [names[one - 1] for one, other in by_name if become.get(one) != other]
    return pairs, [*alone, *dict.fromkeys([*single, *lost])]


def augmentation(
    patch: Triple,
    codes: Sequence[str],
    orientation: str,
    task: str,
    gentle: bool = False,
    shapes: bool = False,
    oriented: bool = True,
    regions: Sequence[tuple[str, Sequence[int]]] = (),
) -> Choice:
    """Arguments of the augmentation, plain values, and why.

    Args:
        patch: voxels (D, H, W).
        codes: names of the labels or classes.
        orientation: storage order (x, y, z).
        task: 'segmentation' or 'classification'.
        gentle: for trainings of some thousand patches: less of everything, and mirrored left and right alone.
        shapes: the images are of two values each.
        oriented: some case says which way it is stored.
        regions: that are made of the labels, pairs of name and labels.
    """
    notes = []
    how = dict(SHAPES if shapes else GENTLE if gentle else AUGMENTATION)
    largest = how.pop("degrees")
    degrees = [largest] * 3
    flat = min(range(3), key=lambda axis: patch[axis])
    if max(patch) > ANISOTROPIC * patch[flat]:
        degrees = [(largest if gentle else 180.0) if axis == flat else 0.0 for axis in range(3)]
        notes.append("one side is below a third of the largest, so rotations stay in the plane of the others")
    across = next(-1 - axis for axis, letter in enumerate(orientation) if letter in "LR")
    axes = [axis for axis in (-3, -2, -1) if patch[axis] > 1 and (axis == across or not gentle)]
    pairs, alone = sides(codes) if task == "segmentation" else ([], [])
    if regions:
        pairs, alone = sides_of_regions(regions, pairs, alone)
    if task == "classification":
        alone = [name for name in codes if _SIDES.search(str(name).lower().replace("_", " "))]
    if alone:
        axes = [axis for axis in axes if axis != across]
        notes.append(f"not mirrored left and right, as {', '.join(alone[:4])} would be of the other side")
        pairs = []
    elif pairs:
        notes.append(f"left and right labels are exchanged where a volume is mirrored ({len(pairs)} pairs by name)")
    if shapes:
        notes.append(f"shapes of two values have no intensities to vary ({OURS})")
        if not oriented and not alone:
            how["dihedral_p"] = 1.0
            notes.append("no case says how it lies, so it is turned by any symmetry of the box")
    elif gentle:
        notes.append(f"weaker than nnU-Net's, which learns from millions of patches ({OURS})")
    else:
        notes.append(f"kinds, probabilities and ranges after {NNUNET}")
    return Choice({"flip_axes": axes, "swap_labels": pairs, "degrees": degrees, **how}, "; ".join(notes))


def budget(minutes: float, seconds: float, steps: int, epochs: int) -> int:
    """Epochs that end within some minutes.

    Args:
        minutes: of training and validation.
        seconds: of a training step.
        steps: of an epoch.
        epochs: that would be trained without a budget, the most.

    >>> budget(60, 0.5, 100, 100)
    61
    """
    return max(0, min(epochs, int(minutes * 60 * TRAINING_SHARE / (seconds * steps))))


def training_of(task: str, device: str) -> Training:
    """The constants of a task on a device."""
    table: Mapping[str, Training] = SEGMENTATION if task == "segmentation" else CLASSIFICATION
    return table["cpu" if device == "cpu" else "cuda"]
