"""Networks for volumes: encoders cut from video networks, U-Nets, DeepLab, classifiers. All take ``(B, C, D, H, W)``.

Their layers and helpers can be imported from here too, but are not in ``__all__``.
"""

from importlib import import_module
from typing import Any  # a name of the table stands for a class or a function

from faimed3d.models.alexnet import AlexNet3D
from faimed3d.models.cnn import AdaptiveConcatPool3d, create_cnn_model_3d, create_head
from faimed3d.models.deeplab import DynamicDeepLab, create_deeplab_model_3d
from faimed3d.models.efficientnet import (
    EfficientNet,
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
)
from faimed3d.models.encoder import create_body
from faimed3d.models.resnet import ResNet3D, resnet18_3d, resnet34_3d, resnet50_3d, resnet101_3d, resnet152_3d
from faimed3d.models.unet import DynamicUnet3D, UNet3D, create_unet_model_3d

__all__ = [
    "AdaptiveConcatPool3d",
    "AlexNet3D",
    "DynamicDeepLab",
    "DynamicUnet3D",
    "EfficientNet",
    "ResNet3D",
    "UNet3D",
    "create_body",
    "create_cnn_model_3d",
    "create_deeplab_model_3d",
    "create_head",
    "create_unet_model_3d",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "resnet18_3d",
    "resnet34_3d",
    "resnet50_3d",
    "resnet101_3d",
    "resnet152_3d",
]

_LAYERS_AND_HELPERS = {
    "cnn": "cnn_split",
    "deeplab": "ASPP ASPPPooling DeepLabDecoder",
    "efficientnet": "ConvLayerDynamicPadding DropConnect MBConvBlock",
    "encoder": "adapt_first_conv dummy_eval in_channels model_sizes num_features_model",
    "resnet": "BasicBlock3d Bottleneck3d conv1x1 conv3x3",
    "unet": "ConvTranspose3D ResizeToOrig UnetBlock3D encoder_split",
}


def __getattr__(name: str) -> Any:
    for module, names in _LAYERS_AND_HELPERS.items():
        if name in names.split():
            return getattr(import_module(f"faimed3d.models.{module}"), name)
    raise AttributeError(f"module 'faimed3d.models' has no attribute {name!r}")
