"""UNet3D on the smallest volumes: it works, or says which size it needs."""

import itertools

import pytest
import torch
from fastai.layers import NormType

from faimed3d.models import UNet3D

SIZES = [size for size in itertools.product((1, 2, 3, 4, 5), repeat=3) if sum(size) < 9]


@pytest.mark.parametrize("norm_type", [NormType.Instance, NormType.Batch])
@pytest.mark.parametrize("strides", [2, [(1, 2, 2), 2]])
@pytest.mark.parametrize("training", [True, False])
def test_works_or_names_the_size(norm_type, strides, training):
    net = UNet3D(1, 2, widths=(2, 3, 4), strides=strides, norm_type=norm_type).train(training)
    works = 0
    for size in SIZES:
        try:
            scores = net(torch.rand(1, 1, *size))
        except ValueError as error:
            words = str(error)
            assert f"volumes of {size} (D, H, W) have one voxel left" in words
            assert all(n <= divisor for n, divisor in zip(size, net.divisors, strict=True))
        else:
            assert scores.shape == (1, 2, *size)
            works += 1
    assert works == len(SIZES) if norm_type == NormType.Batch and not training else 0 < works < len(SIZES)
