"""A lopsided volume and its geometries, for the tests of io; and SimpleITK's reading, to compare with."""

import gzip

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


def rotation(seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0].ravel()


OBLIQUE = Geometry((2, 3, 4), (1, 2, 3), (10.25, -20, 30), rotation())
SHEARED = Geometry((2, 3, 4), (1, 2, 3), (10.25, -20, 30), (1, 0, 0, 0, 1, 0.6, 0, 0, 0.8))


def volume(dtype="int16", shape=(2, 3, 4)):
    return (np.random.default_rng(1).normal(size=shape) * 50).astype(dtype)


MGH_DTYPES = ["uint8", "uint16", "int16", "int32", "float32"]


def load_mgh(path):
    """What nibabel says of a file of FreeSurfer's; it would not close the file itself."""
    content = path.read_bytes()
    return nib.MGHImage.from_bytes(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)


def reference(path):
    """SimpleITK's reading, channels first; of FreeSurfer's files nibabel's."""
    if str(path).endswith((".mgz", ".mgh")):
        mgh = load_mgh(path)
        array = np.asarray(mgh.dataobj).T
        grid = Geometry.from_affine(np.diag([-1, -1, 1, 1]) @ mgh.affine, array.shape[-3:])
        return array, TensorDicom3D(array.astype(np.float32), grid).as_sitk()
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    return (np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array), image
