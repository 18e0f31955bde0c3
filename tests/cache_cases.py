"""Cases of a cache for tests: lopsided, oblique, with all that a file keeps."""

import numpy as np
import torch
from hypothesis import strategies as st

from faimed3d._padding import attach_padding
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D, TensorMask3D

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
SHEARED = (1.0, 0.0, 0.0, 0.0, 1.0, 0.28, 0.0, 0.0, 0.96)
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64, torch.bool)
KINDS = ("bytes", "whole", "large", "steps", "many steps", "fractions", "zeros of both signs")


def voxels(kind, shape, random, dtype=torch.float32):
    """Tensor of a kind of values, of which float32 holds each."""
    count = int(np.prod(shape))
    values = {
        "bytes": lambda: random.integers(0, 256, count),
        "whole": lambda: random.integers(-1000, 3000, count),
        "large": lambda: random.integers(-(2**24), 2**24, count),
        "steps": lambda: random.integers(0, 5, count) * 0.37 - 1,
        "many steps": lambda: (random.integers(0, 700, count) - np.float32(40.3)) / np.float32(411.7),
        "fractions": lambda: random.normal(0, 1, count) * 10.0 ** random.integers(-30, 30, count),
        "zeros of both signs": lambda: random.choice([-0.0, 0.0, 1.0], count),
    }[kind]()
    values = torch.from_numpy(np.asarray(values, np.float32)).view(shape)
    return values.nan_to_num(0, 1, -1).clamp(-6e4, 6e4).to(dtype) if dtype == torch.float16 else values.to(dtype)


def make_case(shape=(1, 4, 5, 7), seed=0, kind="whole", dtype=torch.float32, labels=(0, 1, 2), geometry=None):
    """(image, mask) of a shape (C, D, H, W)."""
    random = np.random.default_rng(seed)
    geometry = geometry or Geometry(shape[1:], (1, 2, 3), (10.25, -20, 1 / 3), OBLIQUE, nifti_codes=(4, 1))
    image = TensorDicom3D(voxels(kind, shape, random, dtype), geometry)
    attach_padding(image, [(-2000, -1999.5)])
    mask = TensorMask3D(torch.from_numpy(random.choice(labels, shape[1:])), geometry, codes={0: "air", 1: "a", 2: "b"})
    return image, mask


@st.composite
def cases(draw):
    """(image, mask or None, side of bricks or None) of all kinds that a file can hold."""
    shape = tuple(draw(st.integers(1, most)) for most in (3, 5, 6, 7))
    dtype = draw(st.sampled_from(FLOATS + WHOLE))
    kind = draw(st.sampled_from(KINDS if dtype in FLOATS else KINDS[:2]))
    values = voxels(kind, shape, np.random.default_rng(draw(st.integers(0, 99))), dtype)
    place = draw(st.sampled_from(["assumed", "spacing", OBLIQUE, SHEARED]))
    geometry = Geometry(shape[1:], assumed="all")
    if place == "spacing":
        geometry = Geometry(shape[1:], (0.7, 1 / 3, 5), assumed="position")
    elif place != "assumed":
        geometry = Geometry(
            shape[1:], (1, 2, 3), (1e-3, -1e4, np.pi), place, nifti_codes=draw(st.sampled_from([None, (4, 1)]))
        )
    image = TensorDicom3D(values, geometry)
    attach_padding(image, draw(st.sampled_from([None, [(-1.5, -1.5)], [(-np.inf, -2000.0), (3.0, 1e30)]])))
    side = draw(st.sampled_from([None, 1, 2, 3, 32]))
    if draw(st.booleans()):
        return image, None, side
    labels, kind = draw(
        st.sampled_from(
            [
                ([0], torch.uint8),
                ([0, 1, 255], torch.uint8),
                ([-1, 0, 2, 300], torch.int64),
                ([0, 117, 70_000], torch.int32),
                ([-(2**31), 2**31 - 1], torch.int64),
                ([0.0, 1.0, 3.0], torch.float32),
                ([0, 1], torch.bool),
            ]
        )
    )
    chosen = np.random.default_rng(1).choice(labels, shape[1:])
    mask = TensorMask3D(torch.from_numpy(chosen).to(kind), geometry)
    mask.codes = draw(st.sampled_from([None, {0: "air", 2: "Läsion", 300: "x"}]))
    return image, mask, side
