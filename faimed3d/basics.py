"""Everything of the ``basics`` page: read, look at, crop, resize, scale and measure volumes.

``from faimed3d.basics import *`` gives the two tensor types and the functions on them. Axes are ``(..., D, H, W)``;
spacing, origin and direction are SimpleITK's (x, y, z), LPS, mm: ``faimed3d.geometry``.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from fasttransform import retain_type as _retain_type
from fasttransform.cast import cast

from faimed3d import io
from faimed3d.browser import view_3d
from faimed3d.display import show_image_3d, show_images_3d
from faimed3d.geometry import Geometry
from faimed3d.intensity import divide_by_max, normalize
from faimed3d.spatial import crop_3d, pad_or_crop, reorient, resample, resample_like, resize_3d_tensor, strip
from faimed3d.volume import TensorDicom3D, TensorMask3D

__all__ = [
    "Geometry",
    "TensorDicom3D",
    "TensorMask3D",
    "crop_3d",
    "load_image_3d",
    "normalize",
    "pad_or_crop",
    "readdcm_3d",
    "reorient",
    "resample",
    "resample_like",
    "resize_3d_tensor",
    "retain_type",
    "show_image_3d",
    "show_images_3d",
    "strip",
    "view_3d",
]


# what fasttransform calls "of old" and "as it is": it changed the default of its third argument when it renamed it
_FROM_OLD = next(p.default for p in list(inspect.signature(_retain_type).parameters.values())[2:])
_LEAVE = type(None)


def retain_type(
    new: Any, old: Any = None, ret_type: Any = Any, as_copy: bool = False, *, typ: type | None = None
) -> Any:  # of any type
    """Give ``new`` the type of ``old``, or a type by name: fastai's ``retain_type``, with the argument ``typ`` it had.

    Args:
        new: a tensor, such as the result of an operation that has lost its type.
        old: what to take type and metadata of, where ``new`` is of a base of its type.
        ret_type: the type instead; None leaves ``new`` as it is.
        as_copy: copy the metadata.
        typ: the type, by the name that it had before fasttransform renamed it.

    Raises:
        TypeError: neither ``old`` nor a type is given, or two types are.

    >>> retain_type(torch.zeros(2, 3, 4), typ=TensorMask3D).shape
    torch.Size([2, 3, 4])
    """
    if typ is not None:
        if ret_type is not Any:
            raise TypeError("ret_type and typ are the same argument: pass one of them")
        ret_type = typ
    if old is None and new is not None and ret_type is not Any and isinstance(ret_type, type):
        if isinstance(new, ret_type):
            return new
        return ret_type(new) if issubclass(ret_type, TensorDicom3D) else cast(new, ret_type)
    if old is None and ret_type is Any:
        raise TypeError("retain_type needs old, or a type: retain_type(t, old) or retain_type(t, typ=TensorDicom3D)")
    return _retain_type(new, old, _FROM_OLD if ret_type is Any else _LEAVE if ret_type is None else ret_type, as_copy)


def readdcm_3d(
    fn: str | Path, div: float | None = None, return_scaled: bool = False, return_normalized: bool = False
) -> TensorDicom3D:
    """Open a file or a DICOM folder as a ``TensorDicom3D``.

    Args:
        fn: path of the file or folder.
        div: divide the values by this. If None, they are scaled so that the maximum is 1, unless normalized.
        return_scaled: apply :meth:`TensorDicom3D.hist_scaled` as well.
        return_normalized: apply :func:`normalize` as well; ignored where ``div`` is given.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     TensorDicom3D(torch.arange(24.0).reshape(2, 3, 4), {"spacing": (1, 2, 3)}).save(f"{folder}/scan.nrrd")
    ...     readdcm_3d(f"{folder}/scan.nrrd").max().item()
    1.0
    """
    t: TensorDicom3D = TensorDicom3D.create(fn)
    if div is not None:
        t = t / div  # type: ignore[assignment] # torch says that a division gives a number
    elif not return_normalized:
        t = divide_by_max(t)
    if return_scaled:
        t = t.hist_scaled()
    return normalize(t) if return_normalized and div is None else t


def load_image_3d(fn: str | Path) -> torch.Tensor:
    """Read a file or a DICOM folder as a plain float32 tensor (D, H, W) of the real values.

    Raises:
        ValueError: the file holds several components or time points; ``TensorDicom3D.create`` reads those.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     TensorDicom3D(torch.arange(24).reshape(2, 3, 4), {"spacing": (1, 2, 3)}).save(f"{folder}/scan.nrrd")
    ...     load_image_3d(f"{folder}/scan.nrrd")[1, 2]
    tensor([20., 21., 22., 23.])
    """
    array = io.read(fn)[0]
    if array.ndim != 3:
        raise ValueError(
            f"{fn}: expected one volume (D, H, W), got {'x'.join(map(str, array.shape))} (C, D, H, W). "
            "TensorDicom3D.create(fn) reads all of it, channels first"
        )
    return torch.from_numpy(array)
