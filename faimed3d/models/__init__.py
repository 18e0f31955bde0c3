"""Networks for volumes: encoders cut from video networks, U-Nets, classifiers. All take ``(B, C, D, H, W)``."""

from faimed3d.models.cnn import AdaptiveConcatPool3d, cnn_split, create_cnn_model_3d, create_head
from faimed3d.models.deeplab import ASPP, ASPPPooling, DeepLabDecoder, DynamicDeepLab, create_deeplab_model_3d
from faimed3d.models.encoder import (
    adapt_first_conv,
    create_body,
    dummy_eval,
    in_channels,
    model_sizes,
    num_features_model,
)
from faimed3d.models.resnet import ResNet3D, resnet18_3d, resnet34_3d, resnet50_3d, resnet101_3d, resnet152_3d
from faimed3d.models.unet import DynamicUnet3D, UNet3D, UnetBlock3D, create_unet_model_3d, encoder_split

__all__ = [
    "ASPP",
    "ASPPPooling",
    "AdaptiveConcatPool3d",
    "DeepLabDecoder",
    "DynamicDeepLab",
    "DynamicUnet3D",
    "ResNet3D",
    "UNet3D",
    "UnetBlock3D",
    "adapt_first_conv",
    "cnn_split",
    "create_body",
    "create_cnn_model_3d",
    "create_deeplab_model_3d",
    "create_head",
    "create_unet_model_3d",
    "dummy_eval",
    "encoder_split",
    "in_channels",
    "model_sizes",
    "num_features_model",
    "resnet18_3d",
    "resnet34_3d",
    "resnet50_3d",
    "resnet101_3d",
    "resnet152_3d",
]
