"""Scores of one class of one case: two masks on one grid, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.training.dice import dice_of_classes
from faimed3d.training.surface_distances import measure_surfaces


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class of one case.

    Attributes:
        dice: 0 to 1; 0 where one of prediction and target shows the class, NaN where none does.
        hd95: 95th percentile Hausdorff distance, mm; infinite where one shows the class, NaN where none does.
        surface_dice: share of the surfaces within the tolerance, 0 to 1; 0 and NaN as Dice.
        volume, target: volumes of prediction and target, ml.
    """

    dice: float
    hd95: float
    surface_dice: float
    volume: float
    target: float


def score_class(found: Tensor, truth: Tensor, geometry: Geometry, tolerance: float) -> ClassScores:
    """The scores of a class.

    Args:
        found, truth: bool (D, H, W): where prediction and target show the class.
        geometry: where both lie.
        tolerance: of the surface Dice, mm.
    """
    surfaces = measure_surfaces(found, truth, geometry.spacing, "area")
    ml = geometry.voxel_volume / 1000
    return ClassScores(
        float(dice_of_classes(found[None].long(), truth[None].long(), [1])),
        surfaces.hausdorff(95),
        surfaces.dice(tolerance),
        float(found.sum()) * ml,
        float(truth.sum()) * ml,
    )
