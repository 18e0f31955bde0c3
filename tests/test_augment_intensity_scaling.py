"""Fixed changes of intensity: each item on its own, or by the statistics of a data set."""

import numpy as np
import pytest
import torch
from fastai.data.core import DataLoaders, TfmdDL
from intensity_samples import normal

from faimed3d.augment import (
    Clip3D,
    HistScaled3D,
    IntensityTransform3D,
    Normalize3D,
    RescaleIntensity3D,
    Window3D,
    ZScore3D,
)
from faimed3d.volume import TensorDicom3D, TensorMask3D


class TestScaling:
    def test_window_clip_and_rescale(self):
        image = TensorDicom3D(torch.tensor([-1000.0, 0, 40, 80, 1000]).view(1, 1, 5))
        assert Window3D("brain")(image).flatten().tolist() == [0, 0, 0.5, 1, 1]
        assert Clip3D(-100, 100)(image).flatten().tolist() == [-100, 0, 40, 80, 100]
        assert Clip3D(25, 75, percentiles=True)(image).flatten().tolist() == [0, 0, 40, 80, 80]
        assert RescaleIntensity3D(-1, 1)(image).flatten().tolist() == pytest.approx([-1, 0, 0.04, 0.08, 1])
        assert RescaleIntensity3D(0, 8, (25, 75))(image).flatten().tolist() == [0, 0, 4, 8, 8]

    def test_items_of_a_batch_are_scaled_each_on_its_own(self):
        x = torch.cat([normal((1, 1, 3, 4, 5)), normal((1, 1, 3, 4, 5)) * 100 + 7])
        for transform in (ZScore3D(), HistScaled3D(), RescaleIntensity3D()):
            one, two = transform(TensorDicom3D(x)).as_subclass(torch.Tensor)
            torch.testing.assert_close(one, two, atol=1e-5, rtol=0)

    def test_hist_scaled_is_that_of_the_tensor(self):
        image = TensorDicom3D(normal((3, 4, 5)))
        brks = image.freqhist_bins(10)
        assert torch.equal(HistScaled3D()(image), image.hist_scaled())
        assert torch.equal(HistScaled3D(brks)(image), image.hist_scaled(brks))


class TestNormalize:
    def test_subtracts_and_divides_and_undoes_it(self):
        image, mask = TensorDicom3D(normal((2, 3, 4, 5))), TensorMask3D(torch.ones(3, 4, 5))
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
        bare = TensorDicom3D(normal((3, 4, 5)))
        np.testing.assert_allclose(Normalize3D(2, 3).decode(Normalize3D(2, 3)(bare)), bare, atol=1e-5)
        assert transform.decode("text") == "text"

    def test_takes_the_training_set_where_nothing_is_given(self):
        items = [
            (TensorDicom3D(normal((1, 3, 4, 5), seed) * 5 + 3), TensorMask3D(torch.ones(3, 4, 5))) for seed in (1, 2)
        ]
        loader = TfmdDL(items, bs=2, after_batch=[Normalize3D()], device="cpu")
        dls = DataLoaders(loader, loader)
        image, mask = dls.one_batch()
        assert image.mean().abs() < 1e-5
        assert image.std().item() == pytest.approx(1, abs=1e-4)
        assert (mask == 1).all()

    def test_without_statistics_or_with_others_is_refused(self):
        with pytest.raises(ValueError, match="Normalize3D has no mean and std: pass them"):
            Normalize3D()(TensorDicom3D(normal()))
        with pytest.raises(ValueError, match="statistics for 2 channels, the images have 1"):
            Normalize3D((1, 2), (1, 2))(TensorDicom3D(normal()))

    def test_comes_last_as_in_fastai(self):
        assert Normalize3D(0, 1).order == 99
        assert isinstance(Normalize3D(0, 1), IntensityTransform3D)


def test_clip_has_limits_of_its_own_for_each_channel():
    image = TensorDicom3D(torch.arange(24.0).view(2, 1, 3, 4))
    clipped = Clip3D((2, 14), (5, 20))(image)
    assert clipped.flatten(1).amin(1).tolist() == [2, 14]
    assert clipped.flatten(1).amax(1).tolist() == [5, 20]
    with pytest.raises(ValueError, match="Clip3D has limits for 2 channels, the images have 1"):
        Clip3D((2, 14), (5, 20))(image[:1])
    with pytest.raises(ValueError, match="Clip3D needs low < high"):
        Clip3D((2, 14), (5, 14))
