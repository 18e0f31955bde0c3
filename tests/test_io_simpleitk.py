"""SimpleITK images to arrays with a geometry, and back."""

import numpy as np
import pytest
import SimpleITK as sitk
from io_volumes import OBLIQUE, volume

from faimed3d.errors import UnsupportedImage
from faimed3d.io import from_sitk, to_sitk


class TestSimpleITK:
    @pytest.mark.parametrize("channels", [(), (3,)])
    def test_there_and_back(self, channels):
        array = volume(shape=(*channels, 2, 3, 4))
        image = to_sitk(array, OBLIQUE)
        assert image.GetSize() == (4, 3, 2)
        assert image.GetNumberOfComponentsPerPixel() == (3 if channels else 1)
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint((3, 2, 1)), OBLIQUE.index_to_world((1, 2, 3)), rtol=1e-12
        )
        got, geometry = from_sitk(image)
        np.testing.assert_array_equal(got, array)
        assert geometry.agrees(OBLIQUE, 1e-12)

    def test_the_array_is_a_copy(self):
        image = to_sitk(volume(), OBLIQUE)
        got, _ = from_sitk(image)
        got[:] = 0
        assert image[3, 2, 1] == volume()[1, 2, 3]

    def test_four_dimensions_become_channels(self):
        image = sitk.JoinSeries([to_sitk(volume() + k, OBLIQUE) for k in range(5)])
        got, geometry = from_sitk(image)
        np.testing.assert_array_equal(got[4], volume() + 4)
        assert geometry.agrees(OBLIQUE, 1e-12)

    def test_refuses_what_is_no_volume(self):
        with pytest.raises(TypeError, match=r"expected a SimpleITK.Image, got ndarray"):
            from_sitk(volume())
        with pytest.raises(UnsupportedImage, match="2 dimensions"):
            from_sitk(sitk.Image(3, 4, sitk.sitkUInt8))
        with pytest.raises(UnsupportedImage, match="complex"):
            from_sitk(sitk.Image(3, 4, 5, sitk.sitkComplexFloat32))
        image = sitk.Image([3, 4, 5, 6], sitk.sitkUInt8)
        image.SetDirection(np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0].ravel())
        with pytest.raises(UnsupportedImage, match="4 spatial dimensions"):
            from_sitk(image)
