"""Images of nibabel to (array, geometry), as their files are read, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from faimed3d.errors import MissingGeometry, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.conversion import convert
from faimed3d.io.nifti import nifti_header_bytes
from faimed3d.io.nifti_geometry import RAS_TO_LPS, analyze_geometry, millimetres, nifti_geometry
from faimed3d.io.writable import writable_volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

_SET_BY_NIBABEL = (2, 0)  # codes of sform and qform that it writes where the affine is not that of the header


def from_nibabel(image: Any) -> tuple[np.ndarray, Geometry]:
    """Turn an image of nibabel into (array, geometry).

    Its voxels are (x, y, z) or (x, y, z, t), its world is RAS. Header and codes of NIfTI are judged as in a file.

    Args:
        image: of any format that has an affine: NIfTI, FreeSurfer, Analyze, MINC, ...

    Returns:
        A copy of the voxels, scaled, (D,H,W) or channels first (C,D,H,W), and the Geometry.

    Raises:
        TypeError: an object of nibabel that is no volume, such as a surface.
        UnsupportedImage: two dimensions, several beyond the third, complex numbers.
        MissingGeometry: the affine describes no grid in space.
    """
    from nibabel.spatialimages import SpatialImage

    if not isinstance(image, SpatialImage):
        raise TypeError(f"a {type(image).__name__} of nibabel is no volume: it has no affine")
    name = image.get_filename() or "a nibabel image"
    array = np.asarray(image.dataobj)
    if array.dtype.names:  # colours
        array = np.stack([array[part] for part in array.dtype.names], axis=-1)
    longer = [n for n in array.shape[3:] if n > 1]
    if array.ndim < 3 or len(longer) > 1 or 0 in array.shape:
        raise UnsupportedImage(
            f"{name}: an image of nibabel of {array.shape}; a volume is (x, y, z), or (x, y, z, t) with channels"
        )
    shape = array.shape[2::-1]
    array = np.array(array.T.reshape(*longer, *shape), array.dtype.newbyteorder("="), order="C")
    return convert(array, None, name), _geometry(image, name, shape)


def to_nibabel(array: Any, geometry: Geometry) -> Nifti1Image:
    """Turn an array and its geometry into a ``Nifti1Image``, as saving writes it.

    Args:
        array: (D,H,W), or channels first (C,D,H,W), which becomes (x, y, z, C). Types as of ``writable_volume``.
        geometry: the Geometry of the same (D,H,W).
    """
    from nibabel.nifti1 import Nifti1Header, Nifti1Image

    array = writable_volume(array, geometry)
    header = Nifti1Header(nifti_header_bytes(array, geometry)[:348])
    turned = array.T if array.ndim == 3 else np.moveaxis(array, 0, -1).transpose(2, 1, 0, 3)
    # nibabel takes the affine of the header for None, and changes codes that it thinks the affine contradicts
    affine = RAS_TO_LPS @ geometry.affine if header["sform_code"] > 0 else None
    return Nifti1Image(turned, affine, header, dtype=array.dtype)


def _geometry(image, name, shape):
    header, affine = image.header, image.affine
    is_nifti = "sform_code" in getattr(header, "keys", list)()
    own = header.get_best_affine() if hasattr(header, "get_best_affine") else None
    agrees = own is not None and (affine is None or np.allclose(affine, own))  # as nibabel decides when it writes
    codes = _SET_BY_NIBABEL if is_nifti else None
    if agrees and is_nifti:
        stored = nifti_geometry(name, header, shape, True)
        if affine is None or header["sform_code"] == 0:
            return stored
        codes = stored.nifti_codes  # of float32, while the affine may be more exact
    if agrees and type(image).__name__ == "AnalyzeImage":
        return analyze_geometry(name, header, shape, True)
    if affine is None:
        raise MissingGeometry(f"{name}: has no affine, which says where it lies; give nibabel one, or the bare array")
    affine = np.array(affine, float)
    if is_nifti:
        affine[:3] *= millimetres(name, header)
    try:
        return Geometry.from_affine(RAS_TO_LPS @ affine, shape, codes)
    except ValueError as error:
        raise MissingGeometry(f"{name}: its affine describes no grid in space: {error}. Correct it") from error
