"""Windows: the range of grey values that a radiologist looks at, by name or by centre and width."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType

from torch import Tensor

from faimed3d.intensity.operation import as_floats, finite_number, intensity_operation, shift_and_divide

WINDOWS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "brain": (40, 80),
        "stroke": (32, 8),
        "subdural": (100, 254),
        "temporal_bone": (600, 2800),
        "soft_tissue": (40, 375),
        "lung": (-600, 1500),
        "mediastinum": (50, 350),
        "abdomen": (50, 400),
        "liver": (30, 150),
        "spine": (50, 250),
        "bone": (400, 1800),
    }
)
"""CT windows by name: (centre, width) in HU.

The numbers are those of Radiopaedia, "Windowing (CT)" (https://radiopaedia.org/articles/windowing-ct), as in
``fastai.medical.imaging.dicom_windows``, which writes them as (width, centre). Where the article gives a range
(subdural, soft tissue), the number is fastai's.
"""


def window_limits(window: str | Sequence[float]) -> tuple[float, float]:
    """Return (low, high), the values that become black and white, of a window.

    Args:
        window: a name from ``WINDOWS``, or (centre, width) in the units of the image (HU for CT), width above 0.

    Raises:
        TypeError: ``window`` is neither a name nor two numbers.
        ValueError: the name is unknown, a number is not finite or the width is not above 0.

    >>> window_limits("brain")
    (0.0, 80.0)
    """
    if isinstance(window, str):
        name = window.strip().lower().replace(" ", "_").replace("-", "_")
        if name not in WINDOWS:
            near = get_close_matches(name, WINDOWS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"window must be (centre, width) or one of {', '.join(WINDOWS)}, got {window!r}{meant}")
        window = WINDOWS[name]
    try:
        centre, width = window
    except (TypeError, ValueError) as error:
        raise TypeError(f"window must be a name or (centre, width), got {window!r}") from error
    centre, width = finite_number(centre, "window centre"), finite_number(width, "window width")
    if width <= 0:
        order = f"; (width, centre)? Pass ({width:g}, {centre:g})" if centre > 0 else ""
        raise ValueError(f"window is (centre, width) and the width must be above 0, got ({centre:g}, {width:g}){order}")
    if (turned := next((name for name, one in WINDOWS.items() if one == (width, centre)), None)) is not None:
        warnings.warn(
            f"window ({centre:g}, {width:g}) is taken as (centre, width). fastai writes its window {turned!r} so, as "
            f"(width, centre): if you mean that, pass {turned!r} or ({width:g}, {centre:g})",
            stacklevel=2,
        )
    return centre - width / 2, centre + width / 2


@intensity_operation
def apply_window(t: Tensor, window: str | Sequence[float]) -> Tensor:
    """Scale a window of values to 0..1, black below it and white above it.

    This is the LINEAR_EXACT function of DICOM PS3.3 C.11.2.1.3.2: ``(value - centre) / width + 0.5``, cut to 0..1. The
    default LINEAR function (C.11.2.1.2.1) differs by half a step of the stored whole numbers; on rescaled or resampled
    values that step has no meaning, and a width of 1 would be no window.

    Args:
        t: tensor of any shape, in the units of the window (HU for CT).
        window: a name from ``WINDOWS``, or (centre, width).

    Returns:
        Tensor of the shape of ``t``, float32 (float64 stays float64), in 0..1.

    Raises:
        TypeError: ``t`` is no real tensor; ``window`` is neither a name nor two numbers.
        ValueError: as for :func:`window_limits`.

    >>> import torch
    >>> apply_window(torch.tensor([-100, 0, 40, 60, 1000]), "brain")
    tensor([0.0000, 0.0000, 0.5000, 0.7500, 1.0000])
    """
    low, high = window_limits(window)
    return shift_and_divide(as_floats(t), low, high - low, t.shape).clamp_(0, 1)
