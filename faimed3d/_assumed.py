"""The warning where a place that nobody has stated is about to be written as mm or into a file."""

from __future__ import annotations

import sys
import warnings

from faimed3d.geometry import Geometry


def warn_if_assumed(geometry: Geometry | None, what: str, spacing_alone: bool = False) -> None:
    """Warn where ``geometry`` is assumed: once for each line that does so (Python's default filter).

    Of the workers of a loader, which all work on one line, the first speaks.

    Args:
        geometry: of the volume; None says nothing.
        what: is about to be done, such as ``'calc_volume'``.
        spacing_alone: whether the spacing is all that counts.

    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     warn_if_assumed(Geometry((2, 3, 4), assumed="all"), "calc_volume")
    >>> str(said[0].message)[:50]
    'calc_volume: nothing says where this volume lies, '
    """
    if geometry is None or geometry.stated or (spacing_alone and geometry.assumed == "position"):
        return
    torch = sys.modules.get("torch")  # not imported where it is not used
    worker = None if torch is None else torch.utils.data.get_worker_info()
    if worker is not None and worker.id > 0:
        return
    assumed = "1 mm voxels at origin 0" if geometry.assumed == "all" else "origin 0 and axes L, P, S"
    warnings.warn(
        f"{what}: nothing says where this volume lies, so {assumed} are assumed. If it lies where an image lies, say "
        "so: TensorMask3D(array, like=image), TensorDicom3D(array, like=image), or create(file, like=image); else "
        "use set_spacing, set_origin and set_direction",
        stacklevel=_caller(),
    )


def _caller() -> int:
    """``stacklevel`` of the first line outside of this package, as the function that calls this one gives it."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("faimed3d."):
        frame, level = frame.f_back, level + 1
    return level
