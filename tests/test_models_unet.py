"""U-Nets for volumes of any size."""

import copy
import pickle

import pytest
import torch
from fastai.layers import NormType, SequentialEx
from tiny_networks import tiny_encoder, tiny_network
from torch import nn
from torchvision.models.video import mc3_18, r2plus1d_18, r3d_18

from faimed3d.losses import DiceCELoss3D
from faimed3d.models import (
    ConvTranspose3D,
    DynamicUnet3D,
    ResizeToOrig,
    UNet3D,
    create_unet_model_3d,
    encoder_split,
)


class TestDynamicUnet3D:
    @pytest.mark.parametrize("size", [(4, 8, 8), (5, 9, 13), (1, 7, 2), (16, 3, 6)])
    @pytest.mark.parametrize("n_in", [1, 2])
    def test_gives_a_score_to_every_voxel_of_any_size(self, size, n_in):
        model = create_unet_model_3d(tiny_network, 3, n_in=n_in).eval()
        assert model(torch.rand(1, n_in, *size)).shape == (1, 3, *size)

    @pytest.mark.parametrize("arch", [r3d_18, mc3_18, r2plus1d_18])
    def test_takes_torchvisions_video_networks(self, arch):
        with torch.device("meta"):
            model = create_unet_model_3d(arch, 2)
            assert model(torch.rand(2, 1, 9, 17, 24)).shape == (2, 2, 9, 17, 24)

    def test_trains_on_r3d_18(self):
        model = create_unet_model_3d(r3d_18, 2, n_in=2)
        scores = model(torch.rand(2, 2, 4, 18, 16))
        assert scores.shape == (2, 2, 4, 18, 16)
        scores.sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

    def test_has_a_skip_for_each_change_of_any_axis(self):
        assert DynamicUnet3D(tiny_encoder(), 2).skips == [1, 0]

    def test_without_batch_norm_uses_none(self):
        model = DynamicUnet3D(tiny_encoder(), 2, norm_type=NormType.Instance)
        rest = nn.ModuleList([model.middle, model.blocks, model.final])
        assert not any("BatchNorm" in type(module).__name__ for module in rest.modules())
        assert any(isinstance(module, nn.InstanceNorm3d) for module in rest.modules())

    def test_has_no_batch_norm_of_pictures(self):
        model = DynamicUnet3D(tiny_encoder(), 2)
        assert not any(isinstance(module, nn.BatchNorm2d | nn.Conv2d) for module in model.modules())

    def test_options_of_the_last_layers(self):
        x = torch.rand(1, 3, 4, 8, 8)
        squeezed = DynamicUnet3D(tiny_encoder(), 1, y_range=(2, 3), bottle=True).eval()(x)
        assert squeezed.min() >= 2
        assert squeezed.max() <= 3
        assert DynamicUnet3D(tiny_encoder(), 2, last_cross=False).eval()(x).shape == (1, 2, 4, 8, 8)

    def test_can_be_copied_and_pickled(self):
        model, x = DynamicUnet3D(tiny_encoder(), 2).eval(), torch.rand(1, 3, 4, 8, 8)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(other(x), model(x))

    @pytest.mark.parametrize("make", [lambda: DynamicUnet3D(tiny_encoder(), 2), lambda: UNet3D(3, 2, (4, 8))])
    def test_compiles_in_one_graph(self, make):
        model, x = make().eval(), torch.rand(1, 3, 5, 8, 7)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        assert torch.allclose(compiled(x), model(x), atol=1e-6)

    @pytest.mark.parametrize("make", [lambda: DynamicUnet3D(tiny_encoder(), 2), lambda: UNet3D(3, 2, (4, 8))])
    def test_trains_in_mixed_precision(self, make):
        model = make()
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(torch.rand(2, 3, 5, 8, 7))
        assert scores.dtype == torch.bfloat16
        loss = DiceCELoss3D()(scores, torch.zeros(2, 5, 8, 7, dtype=torch.int64))
        loss.backward()
        assert loss.dtype == torch.float32
        assert all(p.grad.isfinite().all() for p in model.parameters())

    def test_splits_into_two_halves_of_the_encoder_and_the_rest(self):
        model = DynamicUnet3D(tiny_encoder(), 2)
        groups = encoder_split(model)
        assert len(groups) == 3
        assert sum(len(group) for group in groups) == len(list(model.parameters()))
        assert groups[0][0] is model.encoder[0][0].weight
        assert groups[1][0] is model.encoder[2][0].weight

    def test_refuses_what_is_no_encoder(self):
        with pytest.raises(TypeError, match=r"encoder must be an nn.Sequential of stages .* got Conv3d"):
            DynamicUnet3D(nn.Conv3d(1, 2, 3), 2)
        with pytest.raises(ValueError, match="every stage of the encoder must give"):
            DynamicUnet3D(nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten()), 2)


class TestUNet3D:
    @pytest.mark.parametrize("size", [(4, 8, 8), (5, 9, 13), (3, 2, 7)])
    def test_gives_a_score_to_every_voxel_of_any_size(self, size):
        model = UNet3D(2, 3, widths=(4, 6, 8))
        assert model(torch.rand(1, 2, *size)).shape == (1, 3, *size)

    def test_shrinks_the_axes_it_is_told(self):
        model = UNet3D(1, 2, widths=(4, 6), strides=[(1, 2, 2)])
        assert model.encoder[1](model.encoder[0](torch.rand(1, 1, 3, 8, 8))).shape == (1, 6, 3, 4, 4)
        with pytest.raises(ValueError, match="each of the 2 levels below the first; got 1 entries"):
            UNet3D(1, 2, widths=(4, 6, 8), strides=[2])


class TestPartsOfUnets:
    @pytest.mark.parametrize("blur", [False, True])
    @pytest.mark.parametrize(("scale", "size"), [(2, (6, 10, 14)), ((1, 2, 3), (3, 10, 21))])
    def test_transposed_convolution_enlarges_by_its_scale(self, scale, size, blur):
        layer = ConvTranspose3D(4, 2, scale=scale, blur=blur)
        assert layer(torch.rand(1, 4, 3, 5, 7)).shape == (1, 2, *size)
        assert ConvTranspose3D(4)(torch.rand(1, 4, 1, 1, 1)).shape == (1, 4, 2, 2, 2)

    @pytest.mark.parametrize("mode", ["trilinear", "nearest"])
    def test_resize_to_orig_in_fastais_sequence(self, mode):
        layers = SequentialEx(nn.Conv3d(1, 2, 3, stride=2, padding=1), ResizeToOrig(mode))
        assert layers(torch.rand(1, 1, 5, 7, 8)).shape == (1, 2, 5, 7, 8)
        assert SequentialEx(nn.Identity(), ResizeToOrig(mode))(torch.ones(1, 1, 2, 3, 4)).shape == (1, 1, 2, 3, 4)
