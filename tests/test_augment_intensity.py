"""Changes of intensity: formulas, all kinds of data, fitted scales."""

import json

import numpy as np
import pytest
import torch
from fastai.data.core import DataLoaders, TfmdDL
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from test_augment import ARGUMENTS, INTENSITY, RANDOM, make

from faimed3d import intensity
from faimed3d.augment import (
    Clip3D,
    HistScaled3D,
    IntensityTransform3D,
    Normalize3D,
    PiecewiseHistScaling,
    RandomBiasField3D,
    RandomBlur3D,
    RandomBrightness3D,
    RandomContrast3D,
    RandomGamma3D,
    RandomGhosting3D,
    RandomLowResolution3D,
    RandomNoise3D,
    RescaleIntensity3D,
    StandardScale,
    Window3D,
    ZScore3D,
)
from faimed3d.geometry import Geometry
from faimed3d.intensity import percentiles_of, rescale, z_score
from faimed3d.spatial.smoothing import along_axes, coarse_matrix, gaussian_matrix, smooth_field
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (2, 1, 6, 7, 8)
RANDOM_INTENSITY = [name for name in INTENSITY if name in RANDOM]


def volume(shape=SHAPE, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


KINDS = {
    "ct": volume() * 400 - 300,
    "mr": volume().abs() * 1000,
    "unit": volume().sigmoid(),
    "tiny": volume() * 1e-6,
    "whole": (volume() * 100).round(),
}


class TestAnyData:
    @pytest.mark.parametrize("name", INTENSITY)
    @pytest.mark.parametrize("kind", KINDS)
    def test_stays_finite_and_float(self, name, kind):
        result = make(name)(TensorDicom3D(KINDS[kind]), split_idx=0)
        assert result.isfinite().all()
        assert result.dtype == torch.float32

    @pytest.mark.parametrize("name", INTENSITY)
    @pytest.mark.parametrize("value", [0.0, -1000.0, 7.0])
    def test_a_constant_stays_finite(self, name, value):
        result = make(name)(TensorDicom3D(torch.full(SHAPE, value)), split_idx=0)
        assert result.isfinite().all()

    @pytest.mark.parametrize("name", RANDOM_INTENSITY)
    def test_a_constant_is_not_changed_at_random(self, name):
        result = make(name)(TensorDicom3D(torch.full(SHAPE, -1000.0)), split_idx=0)
        torch.testing.assert_close(result.as_subclass(torch.Tensor), torch.full(SHAPE, -1000.0))

    @pytest.mark.parametrize("name", INTENSITY)
    def test_nan_stays_where_it_is_and_nowhere_else(self, name):
        image = volume()
        image[0, 0, 1, 2, 3] = torch.nan
        image[1, 0, 0, 0, 0] = torch.nan
        result = make(name)(TensorDicom3D(image), split_idx=0).as_subclass(torch.Tensor)
        assert torch.equal(result.isnan(), image.isnan())

    @pytest.mark.parametrize("name", INTENSITY)
    def test_nothing_but_nan_and_infinity_is_survived(self, name):
        image = torch.full(SHAPE, torch.nan)
        make(name)(TensorDicom3D(image), split_idx=0)
        image[0, 0, 0, 0, 0] = torch.inf
        assert make(name)(TensorDicom3D(image), split_idx=0)[1].isnan().all()

    @pytest.mark.parametrize("name", INTENSITY)
    def test_whole_numbers_become_float(self, name):
        result = make(name)(TensorDicom3D((volume() * 100).to(torch.int16)), split_idx=0)
        assert result.dtype == torch.float32

    @pytest.mark.parametrize("name", RANDOM_INTENSITY)
    @settings(max_examples=4, deadline=None)
    @given(factor=st.floats(0.01, 100), shift=st.floats(-100, 100))
    def test_random_changes_do_not_depend_on_the_units(self, name, factor, shift):
        image, results = volume().double(), []
        for x in (image, image * factor + shift):
            torch.manual_seed(0)
            results.append(make(name)(TensorDicom3D(x), split_idx=0).as_subclass(torch.Tensor))
        torch.testing.assert_close(results[1], results[0] * factor + shift, rtol=1e-5, atol=1e-4 * factor)

    @pytest.mark.parametrize("name", [n for n in INTENSITY if n not in ARGUMENTS])
    def test_channels_are_treated_each_by_its_own_range(self, name):
        image = torch.cat([volume(), volume(seed=1) * 1000 + 5000], 1)
        torch.manual_seed(0)
        both = make(name)(TensorDicom3D(image), split_idx=0)
        torch.manual_seed(0)
        alone = make(name)(TensorDicom3D(image[:, :1].clone()), split_idx=0)
        if "Noise" not in name:  # of which there is more to draw
            torch.testing.assert_close(both[:, :1].as_subclass(torch.Tensor), alone.as_subclass(torch.Tensor))
        assert (both[:, 0] - image[:, 0]).abs().max() < 50


class TestFunctions:
    def test_noise_has_the_strength_asked_for(self):
        torch.manual_seed(0)
        x = volume((2, 1, 30, 30, 30)) * 50 - 500
        noise = intensity.add_noise(x, column(0.1, 0.5)) - x
        spread = noise.flatten(1).std(1) / x.flatten(1).std(1)
        torch.testing.assert_close(spread, torch.tensor([0.1, 0.5]), rtol=0.03, atol=0)
        assert noise.mean().abs() < 0.3

    def test_rician_noise_lifts_the_dark(self):
        torch.manual_seed(0)
        x = torch.zeros(1, 1, 30, 30, 30)
        x[..., 15:] = 100
        noisy = intensity.add_rician_noise(x, column(0.2))
        sd = 0.2 * 50
        assert noisy.min() >= 0
        assert noisy[..., :15].mean().item() == pytest.approx(sd * np.sqrt(np.pi / 2), rel=0.03)  # Rayleigh
        assert noisy[..., 15:].mean().item() == pytest.approx(100 + sd**2 / 200, rel=0.005)

    def test_brightness_and_contrast_by_hand(self):
        x = torch.tensor([0.0, 2, 4, 6]).view(1, 1, 1, 1, 4)
        sd = np.sqrt(5)
        found = intensity.adjust_brightness(x, column(0.5)).flatten().numpy()
        np.testing.assert_allclose(found, [0.5 * sd, 2 + 0.5 * sd, 4 + 0.5 * sd, 6 + 0.5 * sd], rtol=1e-6)
        assert intensity.adjust_contrast(x, column(0.5)).flatten().tolist() == [1.5, 2.5, 3.5, 4.5]
        assert intensity.adjust_contrast(x, column(2), preserve_range=False).flatten().tolist() == [-3, 1, 5, 9]
        assert intensity.adjust_contrast(x, column(2)).flatten().tolist() == [0, 1, 5, 6]

    def test_gamma_by_hand(self):
        x = torch.tensor([-1000.0, -500, 0, 1000]).view(1, 1, 1, 1, 4)
        found = intensity.adjust_gamma(x, column(2)).flatten()
        torch.testing.assert_close(found, torch.tensor([-1000.0, -875, -500, 1000]))

    @given(st.floats(0.3, 3))
    @settings(max_examples=10, deadline=None)
    def test_gamma_keeps_range_and_order(self, gamma):
        x = volume()
        found = intensity.adjust_gamma(x, column(gamma, 1 / gamma))
        torch.testing.assert_close(found.amin((1, 2, 3, 4)), x.amin((1, 2, 3, 4)))
        torch.testing.assert_close(found.amax((1, 2, 3, 4)), x.amax((1, 2, 3, 4)))
        order = x[0].flatten().argsort()
        assert (found[0].flatten()[order].diff() >= 0).all()

    def test_bias_field_multiplies_what_is_above_the_minimum(self):
        x = volume().abs() - 3
        flat = intensity.apply_bias_field(x, torch.full((2, 4, 4, 4), np.log(2)))
        low = x.amin((1, 2, 3, 4), keepdim=True)
        torch.testing.assert_close(flat, (x - low) * 2 + low)

    def test_blur_agrees_with_scipy(self):
        x, sd = volume((2, 1, 12, 13, 14)), column(0.5, 1, 2, 1.5, 0, 0.7).view(2, 3)
        found = intensity.blur(x, sd)
        for i in range(2):
            wanted = ndimage.gaussian_filter(x[i, 0].double().numpy(), sd[i].tolist(), mode="nearest", truncate=4)
            np.testing.assert_allclose(found[i, 0], wanted, atol=2e-3)

    def test_blur_is_as_wide_in_mm_along_every_axis(self):
        geometry = Geometry((21, 21, 21), spacing=(1, 2, 4))
        image = torch.zeros(21, 21, 21)
        image[10, 10, 10] = 1
        blurred = RandomBlur3D(1, sigma=(3, 3))(TensorDicom3D(image, geometry), split_idx=0).as_subclass(torch.Tensor)
        for axis, spacing in enumerate((4, 2, 1)):
            line = blurred.sum([k for k in range(3) if k != axis]).numpy()
            width = np.sqrt((line * ((np.arange(21) - 10) * spacing) ** 2).sum())
            assert width == pytest.approx(3, rel=0.05)

    def test_low_resolution_takes_means_and_keeps_straight_lines(self):
        x = torch.arange(8.0).view(1, 1, 1, 1, 8)
        found = intensity.lower_resolution(x, column(1, 1, 2).view(1, 3)).flatten()
        torch.testing.assert_close(found, torch.tensor([0.5, 1, 2, 3, 4, 5, 6, 6.5]))
        steps = torch.tensor([0.0, 4, 0, 4, 0, 4]).view(1, 1, 1, 1, 6)
        assert intensity.lower_resolution(steps, column(1, 1, 2).view(1, 3)).flatten().tolist() == [2] * 6

    def test_ghosts_are_shifted_copies(self):
        x = torch.zeros(1, 1, 1, 1, 64)
        x[..., 30:34] = 1
        found = intensity.add_ghosting(x, torch.tensor([-1]), torch.tensor([4]), column(0.5)).flatten()
        assert found[14:18].abs().mean() > 3 * found[5:10].abs().mean()
        torch.testing.assert_close(intensity.add_ghosting(x, torch.tensor([-1]), torch.tensor([4]), column(0)), x)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_ghosts_in_half_precision(self, dtype):
        x = torch.rand(2, 1, 4, 5, 6)
        settings = (torch.tensor([-2, -1]), torch.tensor([2, 3]), torch.tensor([0.5, 1.0]))
        half = intensity.add_ghosting(x.to(dtype), *settings)
        assert half.dtype == dtype
        assert torch.allclose(half.float(), intensity.add_ghosting(x.to(dtype).float(), *settings), atol=0.01)

    def test_ghosts_lie_along_one_axis(self):
        x = torch.zeros(1, 1, 16, 16, 16)
        x[0, 0, 8, 8, 8] = 1
        found = intensity.add_ghosting(x, torch.tensor([-2]), torch.tensor([2]), column(0.9))[0, 0]
        assert found[8, :, 8].abs().sum() > 1
        found[8, :, 8] = 0
        assert found.abs().max() < 1e-6

    def test_ghosts_are_of_a_magnitude_image(self):
        x = volume() * 100 - 500
        found = intensity.add_ghosting(x, torch.tensor([-2, -1]), torch.tensor([3, 2]), column(0.9, 0.9))
        assert (found.amin((1, 2, 3, 4)) >= x.amin((1, 2, 3, 4)) - 1e-3).all()


class TestLattice:
    def test_matrices_act_on_their_axis(self):
        x = volume((2, 3, 4, 5, 6)).double()
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


class TestSettings:
    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: RandomNoise3D(std_range=(0.2, 0.1)), r"std_range must be a range with 0 <= low <= high, got"),
            (lambda: RandomGamma3D(gamma=(0, 1)), r"gamma must be a range with 0\.001 <= low <= high"),
            (lambda: RandomBlur3D(sigma=-1), r"sigma must be a range"),
            (lambda: RandomBrightness3D(max_beta=-1), r"max_beta must be a range"),
            (lambda: RandomContrast3D(alpha=(-1, 1)), r"alpha must be a range"),
            (lambda: RandomBiasField3D(strength=-1), r"strength must be a range"),
            (lambda: RandomLowResolution3D(factor=(0.5, 2)), r"factor must be a range with 1 <= low"),
            (lambda: RandomGhosting3D(copies=(1, 3)), r"copies must be a range with 2 <= low"),
            (lambda: Clip3D(1, 0), "Clip3D needs low < high, got 1 and 0"),
            (lambda: Clip3D(-1, 99, percentiles=True), r"percentiles must lie in 0\.\.100, got -1 and 99"),
            (lambda: RescaleIntensity3D(1, 1), "RescaleIntensity3D needs new_min < new_max"),
            (lambda: ZScore3D("brain"), "foreground must be None, 'minimum', 'mean' or a number, got 'brain'"),
            (lambda: Window3D("ear"), "window must be"),
            (lambda: Normalize3D(1), "Normalize3D takes mean and std together, or neither"),
            (lambda: Normalize3D(1, 0), "std must be above 0"),
            (lambda: Normalize3D((1, 2), (1, 2, 3)), "mean and std must be for the same channels, got 2 and 3 numbers"),
        ],
    )
    def test_errors(self, build, message):
        with pytest.raises(ValueError, match=message):
            build()

    def test_normalize_wants_numbers(self):
        with pytest.raises(TypeError, match="mean must be a number or one number for each channel, got 'a'"):
            Normalize3D("a", 1)

    def test_low_resolution_along_one_axis(self):
        torch.manual_seed(0)
        factor = RandomLowResolution3D(one_axis=True).draw([Geometry((2, 3, 4))] * 20)["factor"]
        assert ((factor > 1).sum(1) == 1).all()
        assert (factor > 1).any(0).all()


class TestScaling:
    def test_window_clip_and_rescale(self):
        image = TensorDicom3D(torch.tensor([-1000.0, 0, 40, 80, 1000]).view(1, 1, 5))
        assert Window3D("brain")(image).flatten().tolist() == [0, 0, 0.5, 1, 1]
        assert Clip3D(-100, 100)(image).flatten().tolist() == [-100, 0, 40, 80, 100]
        assert Clip3D(25, 75, percentiles=True)(image).flatten().tolist() == [0, 0, 40, 80, 80]
        assert RescaleIntensity3D(-1, 1)(image).flatten().tolist() == pytest.approx([-1, 0, 0.04, 0.08, 1])
        assert RescaleIntensity3D(0, 8, (25, 75))(image).flatten().tolist() == [0, 0, 4, 8, 8]

    def test_z_score_of_the_foreground(self):
        x = torch.tensor([0.0, 0, 0, 10, 20, 30])
        assert z_score(x, "mean").tolist() == z_score(x, 10).tolist()
        assert z_score(x, "minimum").tolist() == [-2, -2, -2, -1, 0, 1]
        assert z_score(x, 0).tolist() == [-2, -2, -2, -1, 0, 1]
        assert z_score(x).mean().abs() < 1e-6
        assert z_score(torch.full((3,), 5.0), 0).tolist() == [0, 0, 0]
        assert z_score(torch.full((3,), torch.nan), 0).isnan().all()
        assert rescale(torch.full((3,), 5.0), 2, 3).tolist() == [2, 2, 2]

    def test_items_of_a_batch_are_scaled_each_on_its_own(self):
        x = torch.cat([volume((1, 1, 3, 4, 5)), volume((1, 1, 3, 4, 5)) * 100 + 7])
        for transform in (ZScore3D(), HistScaled3D(), RescaleIntensity3D()):
            one, two = transform(TensorDicom3D(x)).as_subclass(torch.Tensor)
            torch.testing.assert_close(one, two, atol=1e-5, rtol=0)

    def test_hist_scaled_is_that_of_the_tensor(self):
        image = TensorDicom3D(volume((3, 4, 5)))
        brks = image.freqhist_bins(10)
        assert torch.equal(HistScaled3D()(image), image.hist_scaled())
        assert torch.equal(HistScaled3D(brks)(image), image.hist_scaled(brks))


class TestNormalize:
    def test_subtracts_and_divides_and_undoes_it(self):
        image, mask = TensorDicom3D(volume((2, 3, 4, 5))), TensorMask3D(torch.ones(3, 4, 5))
        transform = Normalize3D((1, 2), (4, 5))
        done, same = transform((image, mask), split_idx=1)
        np.testing.assert_allclose(done[1], (image[1] - 2) / 5, rtol=1e-6)
        assert same is mask
        back = transform.decode((done, same))
        assert type(back[0]) is TensorDicom3D
        np.testing.assert_allclose(back[0], image, atol=1e-5)
        assert back[1] is mask
        whole = torch.stack([image, image])
        np.testing.assert_allclose(transform.decode(transform(whole)), whole, atol=1e-5)
        bare = TensorDicom3D(volume((3, 4, 5)))
        np.testing.assert_allclose(Normalize3D(2, 3).decode(Normalize3D(2, 3)(bare)), bare, atol=1e-5)
        assert transform.decode("text") == "text"

    def test_takes_the_first_batch_where_nothing_is_given(self):
        items = [
            (TensorDicom3D(volume((1, 3, 4, 5), seed) * 5 + 3), TensorMask3D(torch.ones(3, 4, 5))) for seed in (1, 2)
        ]
        loader = TfmdDL(items, bs=2, after_batch=[Normalize3D()], device="cpu")
        dls = DataLoaders(loader, loader)
        image, mask = dls.one_batch()
        assert image.mean().abs() < 1e-5
        assert image.std().item() == pytest.approx(1, abs=1e-4)
        assert (mask == 1).all()

    def test_without_statistics_or_with_others_is_refused(self):
        with pytest.raises(ValueError, match="Normalize3D has no mean and std: pass them"):
            Normalize3D()(TensorDicom3D(volume()))
        with pytest.raises(ValueError, match="statistics for 2 channels, the images have 1"):
            Normalize3D((1, 2), (1, 2))(TensorDicom3D(volume()))

    def test_comes_last_as_in_fastai(self):
        assert Normalize3D(0, 1).order == 99
        assert isinstance(Normalize3D(0, 1), IntensityTransform3D)


class TestStandardScale:
    def test_brings_images_of_any_units_to_one_scale(self):
        images = [
            volume((8, 9, 10), seed).abs() ** 2 * factor + shift for seed, factor, shift in ((1, 1, 0), (2, 300, 50))
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
        scale, x = StandardScale((10, 40, 90), (0, 20, 100)), volume((4, 5, 6)).double()
        torch.testing.assert_close(scale.apply(x * factor + shift), scale.apply(x), atol=1e-6, rtol=1e-6)

    def test_puts_the_landmarks_at_their_values_and_keeps_the_order(self):
        scale, x = StandardScale((0, 50, 100), (0, 30, 100), foreground="all"), torch.tensor([0.0, 1, 2, 6, 10])
        assert scale.apply(x).tolist() == [0, 15, 30, 65, 100]
        long = volume((1000,))
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
        image = TensorDicom3D(volume((3, 4, 5)))
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
