"""AlexNet for volumes: five convolutions, the first with large kernels; small and fast, an encoder for the learners."""

from __future__ import annotations

from torch import Tensor, nn

from faimed3d._keywords import StrictKeywords

# of each convolution: channels, kernel, stride, whether a pool follows
_LAYERS: tuple[tuple[int, int, int | tuple[int, int, int], bool], ...] = (
    (64, 11, (1, 4, 4), True),
    (192, 5, 1, True),
    (384, 3, 1, False),
    (256, 3, 1, False),
    (256, 3, 1, True),
)


class AlexNet3D(StrictKeywords, nn.Module):
    """AlexNet with cubes for squares: (B, C, D, H, W) of any size to scores (B, classes).

    It divides H and W by 32 and keeps D, as volumes have fewer slices than rows. After Krizhevsky 2014,
    arXiv:1404.5997.

    Args:
        in_channels: of the input.
        num_classes: of the classifier, which the learners cut off.

    >>> import torch
    >>> with torch.device("meta"):  # shapes alone, no computing
    ...     scores = AlexNet3D(in_channels=1, num_classes=2)(torch.zeros(1, 1, 3, 20, 9))
    >>> scores.shape
    torch.Size([1, 2])
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 3) -> None:
        super().__init__()
        for number, (channels, kernel, stride, pooled) in enumerate(_LAYERS, 1):
            convolution = nn.Conv3d(in_channels, channels, kernel, stride, kernel // 2)
            pool = [nn.MaxPool3d(3, (1, 2, 2), 1)] if pooled else []
            self.add_module(f"layer{number}", nn.Sequential(convolution, nn.ReLU(inplace=True), *pool))
            in_channels = channels
        self.avgpool = nn.AdaptiveAvgPool3d((1, 6, 6))
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(channels * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, classes)."""
        for layer in self.children():
            x = layer(x)
        return x
