"""Encoders: cut from networks, fitted to the channels of the data."""

import copy

import pytest
import torch
from tiny_networks import tiny_network
from torch import nn
from torchvision.models.video import mc3_18, r2plus1d_18, r3d_18

from faimed3d.models import (
    adapt_first_conv,
    create_body,
    dummy_eval,
    in_channels,
    model_sizes,
    num_features_model,
)


class TestCreateBody:
    def test_keeps_the_stages_before_the_pool(self):
        body = create_body(tiny_network)
        assert [tuple(size) for size in model_sizes(body, (8, 8, 8))] == [
            (1, 4, 8, 8, 8),
            (1, 6, 8, 4, 4),
            (1, 8, 4, 2, 2),
        ]

    def test_cuts_where_it_is_told(self):
        assert len(create_body(tiny_network, cut=2)) == 2
        assert len(create_body(tiny_network, cut=lambda network: nn.Sequential(network.layer0))) == 1 + 2

    @pytest.mark.parametrize("n_in", [1, 2, 3, 4])
    def test_takes_as_many_channels_as_asked(self, n_in):
        body = create_body(tiny_network, n_in=n_in)
        assert in_channels(body) == n_in
        assert body(torch.zeros(1, n_in, 4, 5, 6)).shape == (1, 8, 2, 2, 2)

    @pytest.mark.parametrize("n_in", [1, 2, 4, 5, 6])
    def test_the_same_picture_in_every_channel_gives_the_old_answer(self, n_in):
        old, picture = nn.Conv3d(3, 4, 3), torch.rand(1, 1, 4, 5, 6)
        new = adapt_first_conv(nn.Sequential(copy.deepcopy(old)), n_in)
        assert torch.allclose(
            new(picture.expand(1, n_in, -1, -1, -1)), old(picture.expand(1, 3, -1, -1, -1)), atol=1e-5
        )

    def test_reads_the_shapes_without_touching_state(self):
        body = create_body(tiny_network)
        before = copy.deepcopy(body.state_dict())
        body.train()
        assert num_features_model(body) == 8
        assert body.training
        assert all(torch.equal(value, before[key]) for key, value in body.state_dict().items())

    def test_dummy_eval_computes(self):
        assert dummy_eval(create_body(tiny_network), (4, 8, 8)).shape == (1, 8, 2, 2, 2)

    @pytest.mark.parametrize("arch", [r3d_18, mc3_18, r2plus1d_18])
    def test_the_default_weights_come_through_torchvision_with_their_hash_checked(self, arch, monkeypatch):
        asked = []

        def load(self, *args, **kwargs):
            asked.append(kwargs)
            return model.state_dict()

        with torch.device("meta"):
            model = arch(num_classes=400)
            monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", load)
            monkeypatch.setattr(nn.Module, "load_state_dict", lambda self, state, **kwargs: None)
            body = create_body(arch, n_in=3, pretrained=True)
        assert asked == [{"progress": True, "check_hash": True}]
        assert len(body) == 5

    def test_without_weights_nothing_is_asked_for(self, monkeypatch):
        def load(*args, **kwargs):
            raise AssertionError("asked for weights")

        monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", load)
        assert in_channels(create_body(r3d_18, n_in=1)) == 1

    def test_weights_of_an_arch_of_ones_own(self):
        def arch(pretrained=False):
            network = tiny_network()
            nn.init.constant_(network.layer0[0].weight, 3.0 if pretrained else 1.0)
            return network

        assert (create_body(arch, n_in=1, pretrained=True)[0][0].weight == 9).all()
        network = arch()
        assert create_body(network)[0] is network.layer0

    def test_refuses_what_it_cannot_use(self):
        with pytest.raises(TypeError, match=r"arch must be a function that builds a 3D network, .* got 'r3d_18'"):
            create_body("r3d_18")
        with pytest.raises(TypeError, match="tiny_network takes neither weights nor pretrained"):
            create_body(tiny_network, pretrained=True)
        with pytest.raises(TypeError, match=r"dict must build a network .* it gave a dict"):
            create_body(dict)
        with pytest.raises(ValueError, match="Linear has no 3D convolution"):
            create_body(nn.Linear(2, 2))
        with pytest.raises(ValueError, match="n_in must be at least 1, got 0"):
            create_body(tiny_network, n_in=0)
        with pytest.raises(ValueError, match="has 2 groups: its number of channels cannot be changed"):
            adapt_first_conv(nn.Conv3d(4, 4, 1, groups=2), 1)
