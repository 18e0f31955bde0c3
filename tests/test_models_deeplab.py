"""DeepLab for volumes of any size."""

import pytest
import torch
from tiny_networks import tiny_encoder, tiny_network
from torch import nn

from faimed3d.models import (
    DynamicDeepLab,
    create_deeplab_model_3d,
    encoder_split,
)


class TestDeepLab:
    @pytest.mark.parametrize("size", [(4, 8, 8), (5, 9, 13), (1, 7, 2)])
    def test_gives_a_score_to_every_voxel_of_any_size(self, size):
        model = create_deeplab_model_3d(tiny_network, 3, n_in=2, width=6).eval()
        assert model(torch.rand(1, 2, *size)).shape == (1, 3, *size)

    def test_joins_the_finest_stage(self):
        assert DynamicDeepLab(tiny_encoder(), 2, width=6).early == 0

    def test_trains_on_one_volume_at_a_time(self):
        model = create_deeplab_model_3d(tiny_network, 2, width=6)
        model(torch.rand(1, 1, 8, 8, 8)).sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())

    def test_splits_as_the_u_net_does(self):
        model = DynamicDeepLab(tiny_encoder(), 2, width=6)
        assert sum(len(group) for group in encoder_split(model)) == len(list(model.parameters()))

    def test_refuses_what_is_no_encoder(self):
        with pytest.raises(TypeError, match=r"at least two stages .* got Conv3d"):
            DynamicDeepLab(nn.Conv3d(1, 2, 3), 2)
