"""What scores look at a network with: a copy of it, its layers, its ReLUs."""

from .layers import fill_normal, gradients, layers, loss_gradients, neutralise_norms, weights
from .relus import different, relu_codes
from .trial import Batch, Loss, Trial, real

__all__ = [
    "Batch", "Loss", "Trial", "different", "fill_normal", "gradients", "layers", "loss_gradients", "neutralise_norms",
    "real", "relu_codes", "weights",
]  # fmt: skip
