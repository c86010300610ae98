"""The auxiliary head of DARTS: a second classifier on the feature map at two thirds of the depth.

    [ReLU, AvgPool 5x5, conv1x1 to 128, BN, ReLU, conv2x2 to 768, BN, ReLU, linear]

The pooling has stride 3 behind the CIFAR stem and 2 behind the ImageNet stem, where the second norm is left out, as in
the authors' code. It expects maps of 8x8 and 7x7; smaller ones are pooled to 2x2 straight away, larger ones leave a
map behind the last convolution that is averaged.
"""
# B batch, C channels, H height, W width

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AuxiliaryHead"]


class AuxiliaryHead(nn.Module):
    """[B, C, H, W] to logits [B, num_classes]."""

    def __init__(self, channels: int, num_classes: int, imagenet: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=2 if imagenet else 3, padding=0, count_include_pad=False)
        self.smallest = 7 if imagenet else 8  # the least size that leaves 2x2 behind the pooling
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.Identity() if imagenet else nn.BatchNorm2d(768),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes] of a feature map [B, C, H, W]."""
        x = F.relu(x)
        fits = min(x.shape[-2:]) >= self.smallest
        x = self.pool(x) if fits else F.adaptive_avg_pool2d(x, 2)
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
