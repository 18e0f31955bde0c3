"""The door of the networks' room: networks for users, layers on request."""

import pytest

from faimed3d import models

LAYERS = """
    ASPP ASPPPooling BasicBlock3d Bottleneck3d ConvLayerDynamicPadding ConvTranspose3D DeepLabDecoder DropConnect
    MBConvBlock ResizeToOrig UnetBlock3D adapt_first_conv cnn_split conv1x1 conv3x3 dummy_eval encoder_split in_channels
    model_sizes num_features_model
"""


@pytest.mark.parametrize("name", LAYERS.split())
def test_layers_and_helpers_come_on_request(name):
    assert name not in models.__all__
    assert getattr(models, name).__name__ == name
    assert getattr(models, name).__module__.startswith("faimed3d.models.")


def test_an_unknown_name_is_an_error():
    with pytest.raises(AttributeError, match=r"module 'faimed3d\.models' has no attribute 'UNet4D'"):
        _ = models.UNet4D
