"""SimpleITK images to (array, geometry), and back. None of SimpleITK's readers and writers of files is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from faimed3d.errors import UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.writable import writable_volume

if TYPE_CHECKING:
    import SimpleITK as sitk


def from_sitk(image: sitk.Image) -> tuple[np.ndarray, Geometry]:
    """Turn a SimpleITK image into (array, geometry).

    Args:
        image: a ``SimpleITK.Image`` of 3 dimensions, scalar or vector, or of 4 whose fourth axis is not spatial.

    Returns:
        A copy of the voxels in their own dtype, (D,H,W) or channels first (C,D,H,W), and the Geometry.

    Raises:
        TypeError: no SimpleITK image.
        UnsupportedImage: two dimensions, complex numbers, a label map object.

    >>> import SimpleITK as sitk
    >>> array, geometry = from_sitk(sitk.Image(4, 3, 2, sitk.sitkInt16))
    >>> array.shape, geometry.shape
    ((2, 3, 4), (2, 3, 4))
    """
    import SimpleITK as sitk

    if not isinstance(image, sitk.Image):
        raise TypeError(f"expected a SimpleITK.Image, got {type(image).__name__}")
    rank, parts = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    name = image.GetPixelIDTypeAsString()
    if rank not in (3, 4) or (rank == 4 and parts > 1):
        raise UnsupportedImage(
            f"a SimpleITK image of {rank} dimensions {image.GetSize()} with {parts} components is no volume"
        )
    if "complex" in name or "label" in name:
        raise UnsupportedImage(f"a SimpleITK image of {name} voxels is not supported; convert it to real numbers first")
    matrix = np.reshape(image.GetDirection(), (rank, rank))
    if rank == 4 and (matrix[3, :3].any() or matrix[:3, 3].any()):
        raise UnsupportedImage(
            f"a SimpleITK image of 4 spatial dimensions (direction {image.GetDirection()}) is no volume"
        )
    array = sitk.GetArrayFromImage(image)
    if parts > 1 or (rank == 3 and array.ndim == 4):
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    geometry = Geometry(array.shape[-3:], image.GetSpacing()[:3], image.GetOrigin()[:3], tuple(matrix[:3, :3].ravel()))
    return array, geometry


def to_sitk(array: Any, geometry: Geometry) -> sitk.Image:
    """Turn an array and its geometry into a SimpleITK image.

    Args:
        array: (D,H,W), or channels first (C,D,H,W), which becomes a vector image (C = 1: a scalar one). bool becomes
            uint8, float16 and bfloat16 become float32.
        geometry: the Geometry of the same (D,H,W).

    Raises:
        TypeError: a dtype that SimpleITK has not (complex, ...), or no Geometry.
        ValueError: the shape is no volume's, or not the geometry's.

    >>> to_sitk(np.zeros((2, 3, 4), np.uint8), Geometry((2, 3, 4), spacing=(1, 2, 3))).GetSpacing()
    (1.0, 2.0, 3.0)
    """
    import SimpleITK as sitk

    array = writable_volume(array, geometry)
    vector = array.ndim == 4
    image = sitk.GetImageFromArray(
        np.ascontiguousarray(np.moveaxis(array, 0, -1)) if vector else array, isVector=vector
    )
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image
