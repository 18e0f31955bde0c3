"""Scale the values of a tensor: mean and sd, ranges, CT windows."""

from faimed3d.intensity.scaling import (
    WINDOWS,
    apply_window,
    divide_by_max,
    match_moments,
    max_scale,
    mean_scale,
    median_scale,
    normalize,
    rescale,
    window_limits,
    z_score,
)

__all__ = [
    "WINDOWS",
    "apply_window",
    "divide_by_max",
    "match_moments",
    "max_scale",
    "mean_scale",
    "median_scale",
    "normalize",
    "rescale",
    "window_limits",
    "z_score",
]
