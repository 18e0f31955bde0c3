"""Classifiers: pool, head, encoder and head."""

import pytest
import torch
from tiny_networks import tiny_network
from torch import nn

from faimed3d.models import (
    AdaptiveConcatPool3d,
    create_cnn_model_3d,
    create_head,
)


class TestCnn:
    def test_concat_pool_gives_maximum_and_mean(self):
        x = torch.arange(24.0).reshape(1, 1, 2, 3, 4)
        assert AdaptiveConcatPool3d()(x).flatten().tolist() == [23, 11.5]
        assert AdaptiveConcatPool3d((1, 3, 2))(x).shape == (1, 2, 1, 3, 2)

    @pytest.mark.parametrize("concat_pool", [True, False])
    def test_head_takes_volumes_of_any_size(self, concat_pool):
        head = create_head(8, 3, concat_pool=concat_pool, lin_ftrs=[5], ps=0.1).eval()
        for size in ((1, 2, 3), (4, 4, 4)):
            assert head(torch.rand(2, 8, *size)).shape == (2, 3)
        assert create_head(8, 3, pool=False).eval()(torch.rand(2, 8)).shape == (2, 3)

    def test_model_of_body_and_head(self):
        model = create_cnn_model_3d(tiny_network, 3, n_in=2, ps=0.0)
        assert model(torch.rand(2, 2, 5, 8, 7)).shape == (2, 3)
        own = create_cnn_model_3d(tiny_network, 3, custom_head=nn.Flatten(), init=None)
        assert own(torch.rand(2, 1, 4, 4, 4)).shape == (2, 8 * 2)
