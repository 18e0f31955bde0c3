"""Pixels become polygons that enclose the same pixels, by every rule of filling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path
from scipy import ndimage

from faimed3d.dicom.structure_sets.filling import HOLES, area, fill
from faimed3d.dicom.structure_sets.outlining import outline


def sparse_or_dense(shape):
    return st.integers(0, 2**32 - 1).flatmap(
        lambda seed: st.floats(0.05, 0.95).map(lambda share: np.random.default_rng(seed).random(shape) < share)
    )


@given(st.one_of(sparse_or_dense((9, 13)), arrays(bool, (5, 6))))
def test_every_rule_fills_the_same_pixels(inside):
    polygons = outline(inside)
    for rule in HOLES:
        found = fill(polygons, inside.shape, rule, path=False) if polygons else np.zeros_like(inside)
        np.testing.assert_array_equal(found, inside)
    _, parts = ndimage.label(inside)
    assert len(polygons) == parts
    _, holes = ndimage.label(~np.pad(inside, 1), np.ones((3, 3)))
    assert sum(area([polygon]) for polygon in polygons) == pytest.approx(
        inside.sum() - (parts - (holes - 1)) / 2, abs=0.02 * (1 + inside.sum())
    )


@given(sparse_or_dense((8, 11)))
def test_each_polygon_alone_by_another_rasteriser(inside):
    """The union of what matplotlib finds inside each polygon, as readers do that know no holes."""
    centres = np.argwhere(np.ones_like(inside))
    found = np.zeros(inside.size, int)
    for polygon in outline(inside):
        found += Path(np.concatenate([polygon, polygon[:1]])).contains_points(centres)
    np.testing.assert_array_equal(found.reshape(inside.shape), inside)


def test_straight_lines_have_two_points():
    box = np.zeros((40, 30), bool)
    box[5:30, 4:20] = True
    assert [len(polygon) for polygon in outline(box)] == [8]
    assert outline(box & False) == []
