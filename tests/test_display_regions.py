"""Masks of regions that overlap: every picture shows them laid over one another, as their merged mask."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.spatial.transform import Rotation

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.browser.case import make_case
from faimed3d.display.arrays import one_mask
from faimed3d.geometry import Geometry
from faimed3d.masks import merge_regions

GRID = Geometry((2, 3, 4), (1, 2, 3), (10, -20, 30), Rotation.from_rotvec([0.2, -0.3, 0.5]).as_matrix().ravel())
CODES = ["background", "whole", "core"]


@pytest.fixture
def image():
    return TensorDicom3D(torch.arange(24.0).reshape(GRID.shape), GRID)


@pytest.fixture
def regions():
    inside = torch.zeros(2, *GRID.shape, dtype=torch.uint8)
    inside[0, :, 1:], inside[1, 1, 2, 2:] = 1, 1
    return TensorMask3D(inside, GRID, codes=CODES)


@pytest.fixture
def merged(regions):
    labels = np.zeros(GRID.shape, np.uint8)
    labels[:, 1:] = 1
    labels[1, 2, 2:] = 2
    return TensorMask3D(torch.from_numpy(labels), GRID, codes=CODES)


def picture(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba()).copy()
    plt.close(figure)
    return pixels


DRAWN = {
    "show": lambda image, mask: image.show(mask=mask).figure,
    "show_image_3d": lambda image, mask: image[None].show(mask=mask, axis="coronal").figure,
    "figure": lambda image, mask: image.figure(mask),
    "render_3d": lambda image, mask: mask.render_3d().figure,
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=list(DRAWN))
def test_are_drawn_as_their_merged_mask(draw, image, regions, merged):
    assert np.array_equal(picture(draw(image, regions)), picture(draw(image, merged)))


def test_are_seen_in_the_viewer(image, regions, merged):
    found, expected = (make_case(image, mask, None, None, ("image", "")).labels[0] for mask in (regions, merged))
    assert found.classes == expected.classes
    assert np.array_equal(found.voxels, expected.voxels)


@settings(max_examples=20)
@given(st.integers(2, 4), st.integers(0, 2**32 - 1), st.booleans())
def test_the_last_region_of_each_voxel_shows_and_a_batch_is_left_alone(count, seed, batch):
    inside = np.random.default_rng(seed).integers(0, 2, (count, *GRID.shape), np.uint8)
    mask = TensorMask3D(torch.from_numpy(inside), GRID)
    if batch:
        for several in (mask * 2, torch.stack([mask[0], mask[1].flip(-1)])):  # labels; masks of two places
            assert several.max() == 0 or one_mask(several) is several
    else:
        last = (inside * np.arange(1, count + 1)[:, None, None, None]).max(0)
        assert np.array_equal(one_mask(mask).numpy(), last)
        assert torch.equal(one_mask(mask), merge_regions(mask))
