"""Matrices along the axes of a volume."""

import torch
from intensity_samples import column, normal

from faimed3d.spatial.axis_matrices import along_axes, coarse_matrix, gaussian_matrix, smooth_field


class TestMatrices:
    def test_matrices_act_on_their_axis(self):
        x = normal((2, 3, 4, 5, 6)).double()
        d, h, w = (torch.rand(2, m, n, dtype=torch.float64) for m, n in ((2, 4), (3, 5), (7, 6)))
        wanted = torch.einsum("bid,bjh,bkw,bcdhw->bcijk", d, h, w, x)
        torch.testing.assert_close(along_axes(x, (d, h, w)), wanted)
        shared = torch.einsum("id,jh,kw,bcdhw->bcijk", d[0], h[0], w[0], x)
        torch.testing.assert_close(along_axes(x, (d[0], h[0], w[0])), shared)

    def test_rows_add_up_to_one(self):
        for matrix in (gaussian_matrix(7, column(0, 0.4, 30)), coarse_matrix(7, column(1, 1.7, 30))):
            torch.testing.assert_close(matrix.sum(-1), torch.ones(3, 7, dtype=torch.float64))
        torch.testing.assert_close(gaussian_matrix(7, column(0))[0], torch.eye(7, dtype=torch.float64))

    def test_a_constant_control_gives_a_constant_field(self):
        field = smooth_field(torch.full((1, 1, 4, 5, 6), 3.0), (2, 9, 5))
        torch.testing.assert_close(field, torch.full((1, 1, 2, 9, 5), 3.0))
