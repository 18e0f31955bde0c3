"""Windows by name and by centre and width."""

import numpy as np
import pytest
import torch

from faimed3d.intensity import WINDOWS, apply_window, window_limits


class TestWindows:
    def test_limits_hand_computed(self):
        assert window_limits("lung") == (-1350, 150)
        assert window_limits("bone") == (-500, 1300)
        assert window_limits((40, 80)) == (0, 80)

    def test_names_ignore_case_and_separator(self):
        assert window_limits("Soft tissue") == window_limits("soft_tissue") == window_limits("soft-tissue")

    def test_every_window_has_limits(self):
        for name, (centre, width) in WINDOWS.items():
            assert window_limits(name) == (centre - width / 2, centre + width / 2)

    def test_the_table_is_read_only(self):
        with pytest.raises(TypeError, match="does not support item assignment"):
            WINDOWS["lung"] = (0, 1)

    def test_apply_window_is_linear_exact(self):
        # PS3.3 C.11.2.1.3.2: (x - c) / w + 0.5 between c - w/2 and c + w/2
        t = torch.tensor([-3000, -1350, -600, -225, 150, 151, 3000])
        assert apply_window(t, "lung").tolist() == [0, 0, 0.5, 0.75, 1, 1, 1]

    def test_any_width_above_zero(self):
        assert apply_window(torch.tensor([0.0, 0.25, 0.5, 1.0]), (0.25, 0.5)).tolist() == [0, 0.5, 1, 1]

    def test_nan_stays_nan(self):
        assert apply_window(torch.tensor([np.nan, -np.inf, np.inf]), "brain").isnan().tolist() == [True, False, False]

    def test_unknown_name_lists_the_names(self):
        with pytest.raises(
            ValueError, match=r"window must be \(centre, width\) or one of brain, .*lung.*, got 'lungs'"
        ):
            window_limits("lungs")

    @pytest.mark.parametrize("window", [5, None, (1, 2, 3)])
    def test_wrong_kind(self, window):
        with pytest.raises(TypeError, match=r"window must be a name or \(centre, width\), got"):
            window_limits(window)

    def test_wrong_numbers(self):
        with pytest.raises(ValueError, match=r"width must be above 0, got .40, -80"):
            window_limits((40, -80))
        with pytest.raises(ValueError, match="window centre must be a finite number, got inf"):
            window_limits((float("inf"), 80))
        with pytest.raises(TypeError, match="window width must be a number, got 'wide'"):
            window_limits((40, "wide"))
