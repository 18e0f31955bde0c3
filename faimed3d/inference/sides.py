"""Test-time flips: along which axes, and of classes that are told apart by side, for mirrored left is right."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from fasttransform import Transform

from faimed3d.augment import RandomDihedral3D, RandomFlip3D
from faimed3d.data.done_before import DoneBefore
from faimed3d.data.label_regions import regions_of
from faimed3d.data.trained_on import known_of
from faimed3d.geometry import Geometry
from faimed3d.inference.members import Member, class_codes


class Mirrored(Transform):
    """Say along which axes training has mirrored, and which labels it exchanged with them; it does nothing itself.

    Args:
        axes: 0 (D), 1 (H), 2 (W).
        swap_labels: as of ``RandomFlip3D``.
    """

    def __init__(self, axes: Iterable[int] = (), swap_labels: Mapping[int, int] | None = None) -> None:
        super().__init__()
        self.axes, self.swap_labels = tuple(axes), swap_labels


def trained_flips(learn: Member) -> tuple[int, ...]:
    """The axes along which training has mirrored: a network says little of volumes that are mirrored along others.

    Args:
        learn: its training transforms are asked. Where none mirrors, all axes are flipped, with a warning.
    """
    axes = mirrored_by_training(learn).axes
    if not axes:
        warnings.warn(
            "tta=True mirrors along all three axes, but no transform of training did: the network may never have seen "
            "such volumes, and the mean may be worse. Name axes, such as tta=(2,), or train with RandomFlip3D",
            stacklevel=4,
        )
    return axes or (0, 1, 2)


def mirrored_by_training(learn: Member) -> Mirrored:
    """Along which axes training has mirrored, and the pairs of labels, or of regions, that it has exchanged.

    Args:
        learn: its training transforms are asked.
    """
    axes: set[int] = set()
    pairs = None
    for step in training_steps(learn):
        if isinstance(step, Mirrored):
            axes |= {*step.axes}
        elif isinstance(step, RandomFlip3D):
            axes |= {3 + axis for axis in step.axis}
        elif isinstance(step, RandomDihedral3D):
            axes |= {0, 1, 2}
        pairs = pairs or getattr(step, "swap_labels", None)
    regions = regions_of(learn.dls.train)
    return Mirrored(sorted(axes), regions.swapped(pairs) if pairs and regions is not None else pairs)


def training_steps(learn: Member) -> Iterator[Any]:
    """The transforms of training, those within others included.

    Args:
        learn: has the loaders.
    """
    loader = learn.dls.train
    rest = list(chain(*(getattr(getattr(loader, at, None), "fs", ()) for at in ("after_item", "after_batch"))))
    while rest:
        step = rest.pop(0)
        yield step
        rest += step.steps if isinstance(step, DoneBefore) else getattr(step, "parts", None) or ()


def warn_of_mixed_sides(learn: Member) -> None:
    """Warn of a training that mirrors left and right, and leaves the labels of left and right as they are.

    Args:
        learn: its training transforms and the names of its classes are asked.
    """
    sided, mirrored, orientation = (
        _told_by_side(class_codes(learn)),
        mirrored_by_training(learn),
        known_of(learn).orientation,
    )
    across = set(mirrored.axes) if orientation is None else {_from_left_to_right(orientation)} & set(mirrored.axes)
    if sided and across and mirrored.swap_labels is None:
        warnings.warn(
            f"classes are told apart by side ({', '.join(sided)}), but training mirrors left and right and leaves "
            "these labels as they are, so no network can learn them: pass flip={'swap_labels': {left: right}} or "
            "flip=False to aug_transforms_3d, swap_labels to RandomFlip3D",
            stacklevel=5,
        )


def _told_by_side(codes: Mapping[int, str] | None) -> list[str]:
    """Names of classes that say left or right."""
    return [name for name in (codes or {}).values() if re.search(r"(?<![a-z])(left|right)(?![a-z])", name.lower())]


def _from_left_to_right(orientation: str) -> int:
    """Which axis, 0 (D), 1 (H), 2 (W), runs from left to right or back."""
    return 2 - next(place for place, letter in enumerate(orientation) if letter in "LR")


def mirrored_channels(
    learn: Member, axes: Sequence[int], working: Geometry, codes: Mapping[int, str] | None, channels_from: int
) -> tuple[int, dict[int, int]] | None:
    """Which axis of the flips exchanges left and right, and the channels to be exchanged with it.

    The pairs are those of ``swap_labels`` of the training transforms. Without them the mean over mirrored volumes would
    mix classes of left and right.

    Args:
        learn: its training transforms are asked.
        axes: 0 (D), 1 (H), 2 (W), the flips.
        working: grid on which the network works.
        codes: names of the classes.
        channels_from: the class of the first channel: 0, of regions 1.

    Returns:
        Axis and channel -> channel; None where nothing is to be exchanged.

    Raises:
        ValueError: names of classes say left or right, and no pairs are known.
    """
    axis = _from_left_to_right(working.orientation)
    if axis not in axes:
        return None
    pairs = mirrored_by_training(learn).swap_labels
    if pairs is not None:
        both = {**pairs, **{other: one for one, other in pairs.items()}}
        return axis, {one - channels_from: other - channels_from for one, other in both.items()}
    sided = _told_by_side(codes)
    if sided:
        raise ValueError(
            f"tta would flip the axis {axis}, which runs from left to right, and mix classes that are told apart by "
            f"side ({', '.join(sided)}): pass tta={tuple(a for a in axes if a != axis)} for the other flips. With "
            "RandomFlip3D(swap_labels={left: right}) among the transforms of training they are exchanged here too"
        )
    return None
