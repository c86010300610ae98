"""Layers whose arguments may be choices: kernel, width, expansion, depth, heads, stride, activation, norm and more."""

from .activation import Activation
from .attention import Attention
from .conv import Conv2d
from .elastic import Elastic
from .linear import Linear
from .norm import Norm
from .repeat import Repeat
from .resize import Resize

__all__ = ["Activation", "Attention", "Conv2d", "Elastic", "Linear", "Norm", "Repeat", "Resize"]
