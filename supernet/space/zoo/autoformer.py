"""AutoFormer's space of vision transformers (Chen et al.; arXiv:2107.00651), in the sizes of its "tiny" supernet.

    patches, class token and positions | blocks x + attention(norm(x)), x + mlp(norm(x)) | norm | pool | linear

One width for the whole network and a depth; each block chooses its number of heads and the ratio of its hidden layer to
the width: 3 * (4^12 + 4^13 + 4^14) = 1.1e9 networks.
"""
# B batch, N tokens, C channels, H height, W width

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SupernetError, unknown
from ..choice import Choice
from ..layers import Attention, Conv2d, Linear, Norm, Repeat
from ..layers.elastic import Elastic, Setting
from ..limits import check_options, check_sizes
from ..registry import SPACES
from ..space import Space
from ..value import Size, rounded
from .timm_interface import Classifier, FeatureInfo, drop_path

__all__ = ["AutoFormer", "autoformer_tiny"]

TOKEN_POOLS = ("token", "avg", "")


class Tokens(nn.Module):
    """[B, C, H, W] to [B, 1 + H W, C], positions added; the first position is the class token."""

    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1 + patches, dim), std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 1 + H W, C]."""
        return _tokens(x, self.position)


class ElasticTokens(Elastic):
    """`Tokens` whose channels may be a choice."""

    axis = -1

    def __init__(self, patches: int, dim: Size) -> None:
        super().__init__(dim=dim)
        self.shared = Tokens(patches, self.most("dim"))

    def one(self, x: Tensor, setting: Setting) -> Tensor:
        """[B, C, H, W] to [B, 1 + H W, dim]."""
        return _tokens(x[:, : setting["dim"]], self.shared.position[..., : setting["dim"]])

    def stock(self, setting: Setting) -> nn.Module:
        return Tokens(self.shared.position.shape[1] - 1, setting["dim"])

    def copy_to(self, layer: nn.Module, setting: Setting) -> None:
        layer.get_parameter("position").copy_(self.shared.position[..., : setting["dim"]])


def _tokens(x: Tensor, position: Tensor) -> Tensor:
    tokens = nn.functional.pad(x.flatten(2).transpose(1, 2), (0, 0, 1, 0))
    if tokens.shape[1] != position.shape[1]:
        raise SupernetError(
            f"an image of {x.shape[2]}x{x.shape[3]} patches in a network for {position.shape[1] - 1}: set image_size"
        )
    return tokens + position


class Block(nn.Module):
    """Self-attention and a hidden layer, each behind a norm and beside a residual."""

    def __init__(self, dim: Size, heads: Sequence[int], ratios: Sequence[float], head_dim: int, drop: float) -> None:
        super().__init__()
        self.heads, self.ratio = Choice(list(heads)), Choice(list(ratios))
        hidden = rounded(dim * self.ratio, 1)
        self.attention = nn.Sequential(Norm(dim, "layer", axis=-1), Attention(dim, self.heads, head_dim))
        self.mlp = nn.Sequential(Norm(dim, "layer", axis=-1), Linear(dim, hidden), nn.GELU(), Linear(hidden, dim))
        self.drop = drop_path(drop)()

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        x = x + self.drop(self.attention(x))
        return x + self.drop(self.mlp(x))


class TokenPool(nn.Module):
    """[B, N, C] to [B, C]: the class token, or the mean of the others; "" leaves all tokens."""

    def __init__(self, pool_type: str) -> None:
        super().__init__()
        self.pool_type = pool_type

    def feat_mult(self) -> int:
        """Pooled features have the channels of a token."""
        return 1

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to [B, C], or to [B, N, C] for ""."""
        return {"token": lambda: x[:, 0], "avg": lambda: x[:, 1:].mean(1), "": lambda: x}[self.pool_type]()


class AutoFormer(Classifier):
    """The network for images of `image_size` pixels a side, in patches of `patch_size`; tokens stand for maps."""

    block_pattern = r"^blocks\.0\.(\d+)"

    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        ratios: Sequence[float],
        *,
        image_size: int = 32,
        patch_size: int = 4,
        head_dim: int = 64,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        global_pool: str = "token",
    ) -> None:
        super().__init__(num_classes, global_pool, drop_rate)
        check_sizes(image_size=image_size, patch_size=patch_size, head_dim=head_dim, in_chans=in_chans)
        if image_size % patch_size:
            raise SupernetError(f"network patch_size={patch_size} must divide image_size={image_size}")
        self.patch_size, self.side = patch_size, image_size // patch_size
        dim = Choice(list(dims))
        self.dim: Any = dim  # a number in networks where it is decided
        patches = Conv2d(in_chans, dim, patch_size, patch_size, padding=0)
        self.stem = nn.Sequential(patches, ElasticTokens(self.side**2, dim))
        block = partial(Block, dim, heads, ratios, head_dim, drop_path_rate)
        self.blocks = nn.ModuleList([Repeat(lambda i: block(), Choice(list(depths)))])
        self.last = Norm(dim, "layer", axis=-1)
        self.classifier = Linear(dim, num_classes) if num_classes else nn.Identity()

    @property
    def num_features(self) -> int:  # type: ignore[override]
        """The width, of a network without open choices."""
        return self.dim

    @property
    def feature_info(self) -> list[FeatureInfo]:  # type: ignore[override]
        """One map: all blocks have the same resolution."""
        return [{"num_chs": self.num_features, "reduction": self.patch_size, "module": "blocks.0"}]

    def make_pool(self, name: str, num_classes: int) -> TokenPool:
        """[B, N, C] to [B, C] by "token" or "avg"; "" leaves the tokens."""
        if name not in TOKEN_POOLS:
            raise SupernetError(unknown("global_pool", name, TOKEN_POOLS[:-1]))
        if not name and num_classes:
            raise SupernetError(f"global_pool='' leaves all tokens: num_classes={num_classes} must be 0")
        return TokenPool(name)

    def as_map(self, x: Tensor) -> Tensor:
        """[B, N, C] to the map [B, C, H, W] of all tokens but the first."""
        return x[:, 1:].transpose(1, 2).unflatten(2, (self.side, self.side))

    def no_weight_decay(self) -> set[str]:
        """Positions never decay."""
        return {name for name, _ in self.named_parameters() if name.endswith("position")}


@SPACES.register("autoformer_tiny")
def autoformer_tiny(
    dims: Sequence[int] = (192, 216, 240),
    depths: Sequence[int] = (12, 13, 14),
    heads: Sequence[int] = (3, 4),
    ratios: Sequence[float] = (3.5, 4.0),
) -> Space:
    """The space of networks of width in `dims` and depth in `depths`; per block `heads` and hidden `ratios`."""
    check_options(dims=dims)
    check_options(100, depths=depths, heads=heads, ratios=ratios)
    args = {"dims": dims, "depths": depths, "heads": heads, "ratios": ratios}
    net = partial(AutoFormer, dims, depths, heads, ratios)
    return Space(net, name="autoformer_tiny", args={key: list(value) for key, value in args.items()})
