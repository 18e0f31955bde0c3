"""What a network was trained on: the value that says how every later scan must come to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from fastai.data.core import TfmdDL
from fastai.torch_core import get_model

from faimed3d.augment import Normalize3D
from faimed3d.augment.input_statistics import InputStatistics, measure_inputs
from faimed3d.errors import ReadError
from faimed3d.geometry import Geometry

Triple = tuple[float, float, float]
Triples = tuple[Triple, Triple, Triple]  # smallest, median, largest
Span = tuple[float, float]  # smallest, largest

SPACING_TOLERANCE = sqrt(2)  # see TrainedOn
_FEW = 8  # training items of a plain Learner


@dataclass(frozen=True)
class TrainedOn:
    """How the training items came to the network: a frozen value that goes where the network goes.

    The learners make it, keep it in ``learn.trained_on`` and in the files of ``learn.save`` and ``learn.export``.

    A scan to predict whose spacing at the network is more than a factor of the square root of 2 outside of the range of
    the training items is refused: about that much augmentation makes up for (nnU-Net scales by 0.7 to 1.4; Isensee et
    al., Nature Methods 18, 2021). A training set that spreads over more than twice that (a factor of 2) is warned of:
    no spacing is within the tolerance of all its items.

    Args:
        orientation: storage order of all items, such as 'LPS'; None where they had several or none.
        spacing: smallest, median and largest (x, y, z) in mm, after the item transforms; None where it was unknown.
        mean, std: of each channel, which ``Normalize3D`` subtracts and divides by; None where it is not used.
        each_volume: each volume is scaled by its own foreground instead (``normalize="volume"``).
        scaling: transforms of the user that scale the images.
        classes: names of the classes, where they were known.
        items: how many training items were looked at.
        modalities: that the headers of their DICOM files name, such as 'CT'; none of other files.
        stated: a file or the user has said of every item where it lies, so which side is left.
        extent: smallest, median and largest (x, y, z) in mm of the items, before anything crops them to a size.
        intensities: of each channel, as the network gets it but for ``mean`` and ``std``, the smallest and largest
            0.5th percentile of an item, 99.5th percentile, and distance between these two.

    >>> known = TrainedOn("LPS", ((1, 1, 1), (1, 1, 2), (1, 1, 3)), (10.0,), (5.0,))
    >>> known.spacing_error(Geometry((2, 3, 4), spacing=(1, 1, 3.5))) is None
    True
    >>> print(known.spacing_error(Geometry((2, 3, 4), spacing=(1, 1, 9))))
    it comes to the network with a spacing of 1x1x9 mm (x, y, z), but the network was trained on 1 x 1 x 1 to 3 mm: ...
    """

    orientation: str | None = None
    spacing: Triples | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    each_volume: bool = False
    scaling: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    items: int = 0
    modalities: tuple[str, ...] = ()
    stated: bool = False
    extent: Triples | None = None
    intensities: tuple[tuple[Span, Span, Span], ...] | None = None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TrainedOn:
        """The value that :meth:`to_dict` has turned into plain values; entries of later versions are left out.

        >>> TrainedOn.from_dict(TrainedOn("RAS").to_dict()).orientation
        'RAS'
        """
        return cls(**{name: _frozen(stored[name]) for name in cls.__dataclass_fields__ if name in stored})

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for files."""
        return asdict(self)

    @property
    def normalization(self) -> str:
        """How images are scaled, for people.

        >>> TrainedOn(mean=(10.0,), std=(5.0,)).normalization
        'mean 10, std 5'
        """
        if self.mean is not None and self.std is not None:
            return f"mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        ways = ["each volume by its foreground"] if self.each_volume else []
        return ", ".join([*ways, *self.scaling]) or "none"

    def spacing_error(self, geometry: Geometry | None) -> str | None:
        """Why a volume with this geometry is sampled too differently for the network; None if it is not."""
        if self.spacing is None or geometry is None:
            return None
        low, _, high = self.spacing
        factor = SPACING_TOLERANCE * (1 + 1e-6)
        if all(a / factor <= mm <= b * factor for a, mm, b in zip(low, geometry.spacing, high, strict=True)):
            return None
        inside = ", ".join(
            f"{min(max(mm, a), b):.4g}" for a, mm, b in zip(low, geometry.spacing, high, strict=True)
        )  # the nearest that was seen
        return (
            f"it comes to the network with a spacing of {geometry.spacing_text}, but the network was trained on "
            f"{_ranges(low, high)} mm: everything would look too large or too small. Train with Resample3D(({inside})) "
            f"in item_tfms, or predict resample(scan, ({inside})) and bring the mask back with mask.resample_like(scan)"
        )

    def widened(self, other: TrainedOn) -> TrainedOn:
        """With the ranges of other items, too; what was not known stays so.

        Args:
            other: of these items.
        """
        named = tuple(sorted({*self.modalities, *other.modalities})) if self.modalities and other.modalities else ()
        spans = None
        if self.intensities and other.intensities and len(self.intensities) == len(other.intensities):
            pairs = zip(self.intensities, other.intensities, strict=True)
            spans = tuple((_joined(a[0], b[0]), _joined(a[1], b[1]), _joined(a[2], b[2])) for a, b in pairs)
        return replace(
            self,
            spacing=_both(self.spacing, other.spacing) if other.spacing else self.spacing,
            modalities=named,
            stated=self.stated and other.stated,
            extent=_both(self.extent, other.extent),
            intensities=spans,
        )

    def spread(self) -> str | None:
        """What to say of a training set whose spacing varies by more than a factor of 2; None if it does not."""
        if self.spacing is None:
            return None
        low, median, high = self.spacing
        if all(b <= 2 * a * (1 + 1e-6) for a, b in zip(low, high, strict=True)):
            return None
        return (
            f"the spacing of the training items varies by more than a factor of 2: {_ranges(low, high)} mm (x, y, z). "
            f"Bring them to one with Resample3D(({', '.join(f'{mm:.4g}' for mm in median)})) in item_tfms"
        )


def _ranges(low: Sequence[float], high: Sequence[float]) -> str:
    """Smallest and largest value of each axis: ``1 x 1 x 1 to 3``."""
    texts = ((f"{a:.4g}", f"{b:.4g}") for a, b in zip(low, high, strict=True))
    return " x ".join(a if a == b else f"{a} to {b}" for a, b in texts)


def known_of(learn: Any) -> TrainedOn:
    """What the network of a learner was trained on, as far as it is known.

    A plain ``Learner`` of fastai keeps no record: a few of its training items are looked at, once.

    Args:
        learn: any learner, or what has ``dls`` and ``model`` as one.
    """
    known = getattr(get_model(learn.model), "trained_on", None)
    if isinstance(known, TrainedOn):
        return known
    kept = vars(learn.dls)
    if "_trained_on" not in kept:
        found = None
        if isinstance(learn.dls.train, TfmdDL):
            with contextlib.suppress(OSError, ReadError):  # the training files need not be where one predicts
                found = measure_inputs(learn.dls.train, [Normalize3D], most=_FEW)
        kept["_trained_on"] = trained_on(found)
    return kept["_trained_on"]


def trained_on(found: InputStatistics | None, classes: Sequence[Any] | None = None, **how: Any) -> TrainedOn:
    """The value from what was seen of the training items.

    Args:
        found: of the training items.
        classes: names of the classes; numbers say nothing.
        **how: the other entries of :class:`TrainedOn`.
    """
    names = None
    if classes is not None and len(classes) and all(isinstance(name, str) for name in classes):
        names = tuple(classes)
    if found is not None:
        how = {"modalities": found.modalities, "intensities": _intensities(found), **how}
    if found is None or not found.grids:
        return TrainedOn(classes=names, items=0 if found is None else found.items, **how)
    how = {"stated": all(grid.stated for grid in found.grids), "extent": _spread(found.extents), **how}
    codes = {grid.orientation for grid in found.grids}
    orientation = codes.pop() if len(codes) == 1 else None
    spacing = _spread([grid.spacing for grid in found.grids])
    return TrainedOn(orientation, spacing, classes=names, items=found.items, **how)


def _spread(triples: Sequence[Triple]) -> Triples:
    """Smallest, median and largest."""
    array = np.array(triples)
    return triple(array.min(0)), triple(np.median(array, axis=0)), triple(array.max(0))


def _both(ours: Triples | None, others: Triples | None) -> Triples | None:
    """The smallest and largest of both; None where one is not known."""
    if ours is None or others is None:
        return None
    (low, middle, high), (less, _, most) = ours, others
    return triple(map(min, low, less)), middle, triple(map(max, high, most))


def _joined(one: Span, other: Span) -> Span:
    return min(one[0], other[0]), max(one[1], other[1])


def _intensities(found: InputStatistics) -> tuple[tuple[Span, Span, Span], ...] | None:
    """For each channel the spans of where its values begin, where they end, and how far that is apart."""
    spans = []
    for ends in zip(*found.ends, strict=True):
        low, high = np.array(ends, np.float64).T
        begin, end, width = ((float(one.min()), float(one.max())) for one in (low, high, high - low))
        spans.append((begin, end, width))
    return tuple(spans) or None


def triple(values: Iterable[float]) -> Triple:
    """Three numbers as a tuple."""
    x, y, z = (float(value) for value in values)
    return x, y, z


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.4g}" for value in values)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
