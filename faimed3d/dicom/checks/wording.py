"""How the checks write millimetres and positions."""

from __future__ import annotations

import numpy as np

from faimed3d.dicom.planes import Plane


def position_text(plane: Plane) -> str:
    """Position of a plane along the axis nearest to its normal: ``z 761.2``."""
    normal = [abs(n) for n in plane.normal]
    axis = normal.index(max(normal))
    return f"{'xyz'[axis]} {mm_text(plane.position[axis])}"


def mm_text(value: float | np.floating) -> str:
    """Millimetres with one decimal where that is exact to 0.001, else with three.

    >>> mm_text(2.5), mm_text(0.9766)
    ('2.5', '0.977')
    """
    value = float(value) + 0.0
    return f"{value:.1f}" if abs(value - round(value, 1)) < 1e-3 else f"{value:.3f}"
