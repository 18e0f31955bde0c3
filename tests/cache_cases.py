"""Cases of a cache for tests: lopsided, oblique, with all that a file keeps."""

import numpy as np
import torch

from faimed3d._padding import attach_padding
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D, TensorMask3D

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def make_case(shape=(1, 4, 5, 7), seed=0, kind="whole", dtype=torch.float32, labels=(0, 1, 2)):
    """(image, mask): ``kind`` is of the values, 'whole', 'steps' (few different ones) or 'fractions'."""
    random = np.random.default_rng(seed)
    values = random.integers(-1000, 3000, shape) if kind == "whole" else random.integers(0, 5, shape) * 0.37 - 1
    values = random.normal(0, 300, shape) if kind == "fractions" else values
    geometry = Geometry(shape[1:], (1, 2, 3), (10.25, -20, 1 / 3), OBLIQUE, nifti_codes=(4, 1))
    image = TensorDicom3D(torch.from_numpy(np.asarray(values, np.float32)).to(dtype), geometry)
    attach_padding(image, [(-2000, -1999.5)])
    mask = TensorMask3D(torch.from_numpy(random.choice(labels, shape[1:])), geometry, codes={0: "air", 1: "a", 2: "b"})
    return image, mask
