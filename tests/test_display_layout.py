"""Where slices lie in a picture, by arithmetic alone; what is drawn there is tested in test_display_mosaics."""

import numpy as np
import pytest

from faimed3d.display.layout import Mosaic, best_columns, lay_out, lay_over
from faimed3d.geometry import Geometry

SHAPE = (2, 3, 4)
LPS = Geometry(SHAPE, (1, 2, 3), (10, 20, 30))
RAI = Geometry(SHAPE, (1, 2, 3), (13, 24, 33), (-1, 0, 0, 0, -1, 0, 0, 0, -1))  # the same grid, stored the other way


class TestLayOut:
    @pytest.mark.parametrize(
        ("axis", "order", "flips", "spacing", "edges"),
        [
            ("axial", (0, 1, 2), (), (2, 1), "RLAP"),
            ("coronal", (1, 0, 2), (1,), (3, 1), "RLSI"),
            ("sagittal", (2, 0, 1), (1,), (3, 2), "APSI"),
        ],
    )
    def test_of_a_standard_scan(self, axis, order, flips, spacing, edges):
        layout = lay_out(SHAPE, LPS, axis)
        assert (layout.order, layout.flips, layout.spacing) == (order, flips, spacing)
        assert "".join(layout.edges) == edges
        assert layout.extent == tuple(SHAPE[k] for k in order)

    @pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
    def test_of_one_grid_stored_two_ways_has_the_same_corners(self, axis):
        np.testing.assert_allclose(lay_out(SHAPE, LPS, axis).corners(), lay_out(SHAPE, RAI, axis).corners())

    def test_corners_begin_at_the_first_slice_top_left(self):
        # axial: lowest z, front (smallest y), right (smallest x)
        np.testing.assert_allclose(lay_out(SHAPE, RAI, 0).corners()[0], [10, 20, 30])

    def test_numbers_count_in_storage(self):
        assert lay_out((5, 3, 4), Geometry((5, 3, 4), direction=RAI.direction), 0, 3).numbers == (4, 2, 0)

    def test_spreads_few_slices_evenly(self):
        assert lay_out((10, 1, 1), None, 0, 2).slices == (2, 7)
        assert lay_out((3, 1, 1), None, 0, 5).slices == (0, 1, 2)


class TestMosaic:
    def test_gaps_are_about_equal_in_mm(self):
        layout = lay_out((4, 3, 5), Geometry((4, 3, 5), (0.5, 0.5, 2)), 1)
        assert Mosaic((layout,), 2).gaps == (1, 2)  # 2 mm and 1 mm

    def test_size_is_in_mm(self):
        mosaic = Mosaic((lay_out(SHAPE, LPS, 0),), 1)
        assert mosaic.shape == (2 * (3 + 1) + 1, 4 + 2 * 2)
        assert mosaic.size == (8, 18)

    def test_composes_cells_on_a_ground(self):
        mosaic = Mosaic((lay_out((2, 1, 2), None, 0),), 1)
        grid = mosaic.compose([np.array([[[1, 2]], [[3, 4]]])], 9)
        assert grid.shape == (8, 6)
        np.testing.assert_array_equal(grid[[2, 5], 2:4], [[1, 2], [3, 4]])
        assert (grid == 9).sum() == 48 - 4


class TestBestColumns:
    def test_fill_the_space(self):
        layouts = (lay_out((12, 10, 10), None, 0),)
        assert best_columns(layouts, None, (4, 3)) == 4
        assert best_columns(layouts, None, (1, 100)) == 1
        assert best_columns(layouts, None, (100, 1)) == 12

    def test_given_are_kept_up_to_the_number_of_slices(self):
        assert best_columns((lay_out(SHAPE, None, 0),), 31, (1, 1)) == 2


class TestLayOver:
    def test_shows_the_same_slices_of_the_patient(self):
        under = Mosaic((lay_out((5, 3, 4), Geometry((5, 3, 4)), "axial", 2),), 1)
        upside_down = Geometry((5, 3, 4), origin=(0, 0, 4), direction=(1, 0, 0, 0, 1, 0, 0, 0, -1))
        over = lay_over(under, [(5, 3, 4)], [upside_down]).layouts[0]
        assert under.layouts[0].numbers == (1, 3)
        assert over.numbers == (3, 1)
