"""Multi-head self-attention with undecided width and heads (AutoFormer; Chen et al.; https://arxiv.org/abs/2107.00651).

    output(x) = sum_h softmax(q_h k_h^T / sqrt(d)) v_h W_h + b

Heads have a fixed size and stand side by side, so a number of heads takes the first ones, and a mixture of numbers
weighs each head by the share of the numbers that have it, which is equal. Widths enter the softmax: outputs are summed.
"""
# B batch, N tokens, C channels, H heads, D channels a head

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..value import Arg
from .elastic import Elastic, Running, Setting, shrunk

__all__ = ["Attention", "SelfAttention"]


class SelfAttention(nn.Module):
    """Tokens [B, N, C] to [B, N, C]; `heads` heads of `head_dim` channels, whatever C is."""

    def __init__(self, dim: int, heads: int, head_dim: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, bias=qkv_bias)
        self.proj = nn.Linear(heads * head_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        return self.proj(_attend(self.qkv(x), self.heads))


class Attention(Elastic):
    """Tokens [B, N, dim] to [B, N, dim]; `dim`, `heads` and `head_dim` may be choices.

    A head's query, key and value are the first `head_dim` of the largest; the three stand one behind the other.
    """

    axis = -1
    reads = "dim"

    def __init__(self, dim: Arg, heads: Arg, head_dim: Arg = 64, qkv_bias: bool = True) -> None:
        super().__init__(dim=dim, heads=heads, head_dim=head_dim)
        self.require_whole("dim", "heads", "head_dim")
        widest = self.most("dim"), self.most("heads"), self.most("head_dim")
        self.qkv_bias = qkv_bias
        self.shared = SelfAttention(*widest, qkv_bias)

    def _weights(self, setting: Setting) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """(weight and bias of query, key and value, weight and bias of the projection) of one setting, as slices."""
        dim, heads, size = setting["dim"], setting["heads"], setting["head_dim"]
        shared, most_dim = self.shared, self.most("dim")
        shape = (3, self.most("heads"), self.most("head_dim"))
        qkv = shared.qkv.weight.view(*shape, most_dim)[:, :heads, :size, :dim].reshape(-1, dim)
        bias = shared.qkv.bias.view(shape)[:, :heads, :size].reshape(-1) if self.qkv_bias else None
        proj = shared.proj.weight.view(most_dim, *shape[1:])[:dim, :heads, :size].reshape(dim, -1)
        return qkv, bias, proj, shared.proj.bias[:dim]

    def one(self, x: Tensor, setting: Setting, head_weights: Tensor | None = None) -> Tensor:
        """[B, N, C] to [B, N, dim]; `head_weights` [H] weighs the heads' outputs, and leaves the bias to the caller."""
        qkv, qkv_bias, proj, bias = self._weights(setting)
        x = shrunk(x, setting["dim"], -1)
        y = _attend(F.linear(x, qkv, qkv_bias), setting["heads"])
        if head_weights is not None:
            y = (y.unflatten(-1, (setting["heads"], -1)) * head_weights[:, None]).flatten(-2)
            return F.linear(y, proj)
        return F.linear(y, proj, bias)

    def mixed(self, x: Tensor, running: Sequence[Running]) -> Tensor:
        """[B, N, C] to [B, N, C]; numbers of heads that have equal widths run as one."""
        groups: dict[tuple[int, int], list[Running]] = {}
        for r in running:
            groups.setdefault((r.values["dim"], r.values["head_dim"]), []).append(r)
        outputs = []
        for members in groups.values():
            most = max(members, key=lambda r: r.values["heads"]).values
            p = torch.stack([x.new_ones(()) if r.p is None else r.p.to(x.dtype) for r in members])
            has = torch.tensor([[float(h < r.values["heads"]) for h in range(most["heads"])] for r in members])
            y = self.one(x, most, p @ has.to(p))
            outputs.append(y + p.sum() * self.shared.proj.bias[: most["dim"]])
        return self.total(outputs)

    def stock(self, setting: Setting) -> nn.Module:
        return SelfAttention(setting["dim"], setting["heads"], setting["head_dim"], self.qkv_bias)

    def copy_to(self, layer: nn.Module, setting: Setting) -> None:
        qkv, qkv_bias, proj, bias = self._weights(setting)
        layer.get_parameter("qkv.weight").copy_(qkv)
        layer.get_parameter("proj.weight").copy_(proj)
        layer.get_parameter("proj.bias").copy_(bias)
        if qkv_bias is not None:
            layer.get_parameter("qkv.bias").copy_(qkv_bias)


def _attend(qkv: Tensor, heads: int) -> Tensor:
    """[B, N, 3 H D] to [B, N, H D]."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
