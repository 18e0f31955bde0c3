"""Change the values of a volume: scale them, window them, correct them, or make them look as another scanner's.

Every function takes a tensor (..., D, H, W), keeps the geometry of a ``TensorDicom3D``, and gives a mask back as it is.
None writes into its input.
"""

from faimed3d._padding import fill_padding
from faimed3d.intensity.bias_field import apply_bias_field, correct_bias_field
from faimed3d.intensity.contrast import adjust_brightness, adjust_contrast, adjust_gamma, equalize_locally
from faimed3d.intensity.histogram import freqhist_bins, hist_scaled
from faimed3d.intensity.noise import add_ghosting, add_noise, add_rician_noise
from faimed3d.intensity.percentiles import landmarks_of, match_landmarks, percentiles_of
from faimed3d.intensity.resolution import blur, lower_resolution
from faimed3d.intensity.scaling import (
    divide_by_max,
    match_moments,
    max_scale,
    mean_scale,
    median_scale,
    normalize,
    rescale,
    z_score,
)
from faimed3d.intensity.windows import WINDOWS, apply_window, window_limits

__all__ = [
    "WINDOWS",
    "add_ghosting",
    "add_noise",
    "add_rician_noise",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "apply_bias_field",
    "apply_window",
    "blur",
    "correct_bias_field",
    "divide_by_max",
    "equalize_locally",
    "fill_padding",
    "freqhist_bins",
    "hist_scaled",
    "landmarks_of",
    "lower_resolution",
    "match_landmarks",
    "match_moments",
    "max_scale",
    "mean_scale",
    "median_scale",
    "normalize",
    "percentiles_of",
    "rescale",
    "window_limits",
    "z_score",
]
