"""Metrics of fastai that measure segmentations in millimetres.

These metrics are of the distances between surfaces; those that count voxels are in ``dice``. They need the spacing of
each target, and fastai hands metrics plain tensors. Therefore ``KeepGeometry``, a callback, keeps the geometry of the
targets. The learners of this package bring it along; other learners need ``cbs=KeepGeometry()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any  # of arguments that are handed on

from fastai.learner import Learner
from torch import Tensor

from faimed3d._assumed import warn_if_assumed
from faimed3d._keywords import StrictKeywords, of_bases, strict_keywords
from faimed3d.training.case_metric import CaseMetric, ReadOff
from faimed3d.training.surface_distances import SURFACES, measure_surfaces


class _SurfaceMetric(StrictKeywords, CaseMetric):
    """Mean over the cases of what :meth:`_value_of` says of the surfaces of one class of one item."""

    def __init__(
        self,
        classes: Sequence[int] | None = None,
        axis: int = 1,
        spacing: Sequence[float] | None = None,
        missing: float | None = None,
        surface: str = "area",
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(classes, axis, ignore_index)
        if surface not in SURFACES:
            raise ValueError(f"surface must be 'area' or 'voxels', got {surface!r}")
        self.spacing, self.missing, self.surface = spacing, missing, surface

    def measure(self, learn: Learner, found: Tensor, truth: Tensor, labels: Sequence[int]) -> list[list[float]]:
        """What the metric says of each class of each item."""
        spacings = self._spacings(learn, len(found))
        return [
            [self._value_of(measure_surfaces(one == label, other == label, step, self.surface)) for label in labels]
            for step, one, other in zip(spacings, found.cpu().numpy(), truth.cpu().numpy(), strict=True)
        ]

    def _value_of(self, distances):
        """What the metric says of the ``SurfaceDistances`` of one case; each metric defines it."""

    def _spacings(self, learn, count):
        if self.spacing is not None:
            return [self.spacing] * count
        keeper = getattr(learn, "keep_geometry", None)
        if keeper is None:
            raise ValueError(
                f"{self.name} needs to know the spacing: add cbs=KeepGeometry() to the Learner, or give the metric "
                "spacing=(x, y, z) in mm"
            )
        geometries = keeper.geometries
        if geometries is None or None in geometries:
            raise ValueError(
                f"{self.name} needs the spacing of each target, but a target of this batch has no geometry: it is no "
                "TensorMask3D, or a transform has moved its voxels so that no spacing describes them any more. Give "
                "the metric spacing=(x, y, z) in mm"
            )
        for geometry in geometries:
            warn_if_assumed(geometry, self.name, spacing_alone=True)
        return [geometry.spacing for geometry in geometries]


class HausdorffDistance95(_SurfaceMetric):
    """Mean of the 95th percentile Hausdorff distance in mm, over the classes of the items.

    Each class of each item is a case. A class that neither prediction nor target shows has no distance and is left out.
    So is a class that only one of them shows, unless ``missing`` gives its distance. ``metric.excluded`` counts the
    cases left out, and :class:`ExcludedCases` shows that number in the table of the epochs.

    Args:
        classes: labels to measure. Default: all but 0.
        axis: of the classes in the prediction. With one channel, scores above 0 are class 1.
        spacing: (x, y, z) mm of every item. Default: that of each target's geometry, see ``KeepGeometry``.
        missing: distance in mm where only one of prediction and target shows the class, such as the diagonal of the
            volume. None leaves the case out.
        surface: see :func:`hausdorff_distance`.
        ignore_index: label whose voxels belong to no class, in prediction and target. Default: that of the ``dls``,
            else that of the loss.

    Raises:
        ValueError: in validation, where the spacing of a target is not known; in training, where a callback such as
            ``SaveModelCallback`` would keep the largest distance: its ``comp`` must be ``np.less``.

    >>> [metric.name for metric in (HausdorffDistance95(), AverageSurfaceDistance(), SurfaceDice(tolerance=2))]
    ['hd95_mm', 'asd_mm', 'surface_dice_2mm']
    """

    name = "hd95_mm"
    less_is_better = True

    def _value_of(self, distances):
        return distances.hausdorff(95)


class AverageSurfaceDistance(_SurfaceMetric):
    """Mean of the average symmetric surface distance in mm; arguments of :class:`HausdorffDistance95`.

    >>> AverageSurfaceDistance(classes=[1, 2], surface="voxels").name
    'asd_mm'
    """

    name = "asd_mm"
    less_is_better = True

    def _value_of(self, distances):
        return distances.average()


class SurfaceDice(_SurfaceMetric):
    """Mean of the surface Dice: the share of the surfaces within ``tolerance`` mm of each other.

    A class that only one of prediction and target shows counts 0.

    Args:
        tolerance: mm.
        kwargs: arguments of :class:`HausdorffDistance95`, except ``missing``.

    Raises:
        TypeError: ``missing`` is given.
        ValueError: ``tolerance`` is below 0.

    >>> SurfaceDice(tolerance=1.5).name
    'surface_dice_1.5mm'
    """

    @strict_keywords(more=of_bases)
    def __init__(self, tolerance: float, **kwargs: Any) -> None:
        if "missing" in kwargs:
            raise TypeError("SurfaceDice takes no argument missing: a class that only one mask shows counts 0")
        super().__init__(**kwargs)
        if not tolerance >= 0:
            raise ValueError(f"tolerance is a distance in mm, 0 or more; got {tolerance!r}")
        self.tolerance = tolerance

    @property
    def name(self) -> str:
        """Heading of the column in the table of the epochs."""
        return f"surface_dice_{self.tolerance:g}mm"

    def _value_of(self, distances):
        return distances.dice(self.tolerance)


class ExcludedCases(StrictKeywords, ReadOff):
    """How many cases ``metric`` leaves out of its mean.

    Args:
        metric: one of the metrics above, or ``Dice3D``; it is among the metrics of the Learner as well.

    Raises:
        ValueError: in validation, where ``metric`` is not among them.

    >>> hd95 = HausdorffDistance95()
    >>> metrics = [hd95, ExcludedCases(hd95)]
    >>> metrics[1].name
    'hd95_mm_excluded'
    """

    def __init__(self, metric: CaseMetric) -> None:
        super().__init__(metric)

    @property
    def name(self) -> str:
        """Heading of the column in the table of the epochs."""
        return f"{self.metric.name}_excluded"

    @property
    def less_is_better(self) -> bool:
        """Whether the least value is the best one."""
        return True

    @property
    def value(self) -> int:
        """Number of cases."""
        return self.metric.excluded
