"""Standard scales: learned, applied, saved and read."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from intensity_samples import normal

from faimed3d.augment import (
    PiecewiseHistScaling,
    StandardScale,
)
from faimed3d.intensity import percentiles_of
from faimed3d.volume import TensorDicom3D


class TestStandardScale:
    def test_brings_images_of_any_units_to_one_scale(self):
        images = [
            normal((8, 9, 10), seed).abs() ** 2 * factor + shift for seed, factor, shift in ((1, 1, 0), (2, 300, 50))
        ]
        scale = StandardScale.fit(images)
        one, two = (percentiles_of(scale.apply(x), (10, 50, 90)) for x in images)
        np.testing.assert_allclose(one, two, atol=3)
        np.testing.assert_allclose(one, np.array(scale.values)[[1, 5, 9]], atol=2)
        assert scale.values[0] == 0
        assert scale.values[-1] == 100

    @given(st.floats(0.01, 100), st.floats(-500, 500))
    @settings(max_examples=10, deadline=None)
    def test_does_not_depend_on_the_units(self, factor, shift):
        scale, x = StandardScale((10, 40, 90), (0, 20, 100)), normal((4, 5, 6)).double()
        torch.testing.assert_close(scale.apply(x * factor + shift), scale.apply(x), atol=1e-6, rtol=1e-6)

    def test_puts_the_landmarks_at_their_values_and_keeps_the_order(self):
        scale, x = StandardScale((0, 50, 100), (0, 30, 100), foreground="all"), torch.tensor([0.0, 1, 2, 6, 10])
        assert scale.apply(x).tolist() == [0, 15, 30, 65, 100]
        long = normal((1000,))
        assert (scale.apply(long)[long.argsort()].diff() >= 0).all()

    def test_goes_straight_on_beyond_the_outer_landmarks(self):
        scale, x = StandardScale((25, 75), (0, 10), foreground="all"), torch.arange(5.0)
        assert scale.apply(x).tolist() == [-5, 0, 5, 10, 15]

    def test_constant_and_nan(self):
        scale = StandardScale((0, 100), (0, 10))
        assert scale.apply(torch.tensor([3.0, 3, torch.nan])).nan_to_num(-1).tolist() == [5, 5, -1]
        spiked = torch.zeros(1000)
        spiked[0] = 1
        assert scale.apply(spiked).isfinite().all()
        fitted = StandardScale.fit([torch.ones(5), torch.arange(5.0)], (0, 50, 100), "all")
        assert fitted.values == (0, 50, 100)

    def test_landmarks_that_coincide_stay_apart(self):
        crowded = torch.cat([torch.zeros(900), torch.arange(100.0)])
        scale = StandardScale.fit([crowded], (10, 20, 30, 99), "all")
        assert (np.diff(scale.values) > 0).all()

    def test_is_fitted_on_files_saved_and_read(self, tmp_path):
        image = TensorDicom3D(normal((3, 4, 5)), {"spacing": (1, 2, 3)})
        image.save(tmp_path / "a.nii.gz")
        scale = StandardScale.fit([tmp_path / "a.nii.gz"])
        assert scale == StandardScale.fit([image])
        scale.save(tmp_path / "scale.json")
        assert StandardScale.load(tmp_path / "scale.json") == scale
        assert list(json.loads((tmp_path / "scale.json").read_text())) == ["percentiles", "values", "foreground"]
        assert torch.equal(PiecewiseHistScaling(tmp_path / "scale.json")(image), PiecewiseHistScaling(scale)(image))

    def test_errors(self, tmp_path):
        (tmp_path / "a.json").write_text("{}")
        with pytest.raises(ValueError, match=r"a\.json holds no standard scale"):
            StandardScale.load(tmp_path / "a.json")
        with pytest.raises(ValueError, match="no scale: every item is constant, or there are none"):
            StandardScale.fit([torch.ones(4)])
        with pytest.raises(ValueError, match="must come in pairs, at least 2 of them, got 2 and 3"):
            StandardScale((0, 100), (0, 1, 2))
        with pytest.raises(ValueError, match="values must be increasing finite numbers"):
            StandardScale((0, 100), (1, 1))
        with pytest.raises(ValueError, match=r"percentiles must lie in 0\.\.100"):
            StandardScale((0, 101), (0, 1))
        with pytest.raises(ValueError, match="foreground must be 'minimum', 'mean' or 'all', got 'x'"):
            StandardScale((0, 100), (0, 1), "x")
