"""The operators of `supernet.cuda_kernels` on inputs of given shapes, held against eager.py in float64.

A `Spec` names an operator and sizes, `Case` is one with its tensors: `run` calls the operator, `check` says whether
every output is as near to float64 as eager PyTorch in the same precision is:

    ||x - x64|| / ||x64||  <=  2 * eager's + 1e-6
"""
# B batch, C channels, H height, W width, n branches, terms or gradients of a spec

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernels.eager import EAGER
from supernet.cuda_kernels.separable.backward import SecondGradients
from supernet.cuda_kernels.separable.branches import Branches, Norm, Outputs, Upstream
from supernet.errors import SupernetError

__all__ = ["HOME", "Case", "Spec"]

EPS = 1e-5
FILTERS = ((3, 1), (5, 1), (3, 2), (5, 2))  # size and dilation: sep_conv 3 and 5, dil_conv 3 and 5
SLACK = 1e-6
# Operator -> its module, and the function that says what is launched.
HOME = {
    "edge_group": ("separable.edge_group", "separable.forward", "edge_group_launches"),
    "edge_group_bwd": ("separable.edge_group", "separable.backward", "edge_group_bwd_launches"),
    "sep_second": ("separable.sep_second", "separable.forward", "sep_second_launches"),
    "sep_second_bwd": ("separable.sep_second", "separable.backward", "sep_second_bwd_launches"),
    "pool_pair": ("pool_pair.pair", "pool_pair.pair", "forward_launches"),
    "pool_pair_bwd": ("pool_pair.pair", "pool_pair.pair", "backward_launches"),
    "node_mix": ("node_mix.mix", "node_mix.mix", "forward_launches"),
    "node_mix_bwd_reduce": ("node_mix.mix", "node_mix.mix", "reduce_launches"),
    "node_mix_shuffled": ("node_mix.shuffled", "node_mix.shuffled", "shuffled_launches"),
}
UNGATED = ("pool_pair", "pool_pair_bwd", "node_mix_shuffled")


@dataclass(frozen=True)
class Spec:
    """Sizes of one call; `n` counts branches, pooled gradients or terms."""

    operator: str
    batch: int
    channels: int
    height: int
    width: int
    n: int
    stride: int = 1
    weights: bool = True  # of a backward: the weights' gradients too

    def __str__(self) -> str:
        text = f"{self.batch}x{self.channels}x{self.height}x{self.width} n={self.n}"
        text += f" /{self.stride}" if self.stride > 1 else ""
        return text + ("" if self.weights else " no dw")

    @property
    def filters(self) -> list[tuple[int, int]]:
        """Size and dilation of each branch's depthwise filter."""
        kinds = FILTERS[:2] if self.operator.startswith("sep_second") else FILTERS
        return [kinds[i % len(kinds)] for i in range(self.n)]

    @property
    def out(self) -> tuple[int, int]:
        return -(-self.height // self.stride), -(-self.width // self.stride)


class _Draw:
    """Random tensors of one storage type; the same on every device."""

    def __init__(self, spec: Spec, dtype: torch.dtype, device: torch.device) -> None:
        self.spec, self.dtype, self.device = spec, dtype, device
        self.wide = torch.promote_types(dtype, torch.float32)
        self.generator = torch.Generator().manual_seed(0)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def image(self, size: Sequence[int], channels: int = 0) -> Tensor:
        """[B, C, *size], channels-last."""
        shape = self.spec.batch, *size, channels or self.spec.channels
        return self._normal(*shape).to(self.device, self.dtype).permute(0, 3, 1, 2)

    def stack(self, n: int, size: Sequence[int]) -> Tensor:
        """[n, B, C, *size], each of the n channels-last."""
        shape = n, self.spec.batch, *size, self.spec.channels
        return self._normal(*shape).to(self.device, self.dtype).permute(0, 1, 4, 2, 3)

    def small(self, *shape: int, around: float = 0.0, spread: float = 0.5) -> Tensor:
        return (around + spread * self._normal(*shape).clamp(-1.5, 1.5)).to(self.device, self.wide)

    def filters(self, kinds: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """Depthwise [C, 1, k, k] and pointwise [C, C, 1, 1], of the size that keeps variances."""
        c = self.spec.channels
        dw = [self.small(c, 1, k, k, spread=1 / k) for k in kinds]
        return dw, [self.small(c, c, 1, 1, spread=c**-0.5) for _ in kinds]

    def norm(self, n: int, channels: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, scale and shift [n, C]."""
        c = channels or self.spec.channels
        return self.small(n, c), self.small(n, c, around=1.0, spread=0.3), self.small(n, c, spread=0.2)

    def coef(self, n: int) -> Tensor:
        """[n, 3, C]: the backward of a norm, whose second and third parts are small."""
        parts = [self.small(n, self.spec.channels, around=a, spread=s) for a, s in ((1.0, 0.3), (0.0, 0.1), (0.0, 0.1))]
        return torch.stack(parts, 1)


def _edge_group(d: _Draw) -> tuple[Any, ...]:
    s = d.spec
    kinds, dilation = zip(*s.filters, strict=True)
    return d.image((s.height, s.width)), *d.filters(kinds), list(dilation), s.stride, EPS


def _edge_group_bwd(d: _Draw) -> tuple[Any, ...]:
    s, first = d.spec, _edge_group(d)[:-1]
    # The four branches of an edge share their node's gradient, as in a network.
    nodes = [d.image(s.out) for _ in range(-(-s.n // 4))]
    g = [nodes[i // 4] for i in range(s.n)]
    return *first, g, d.stack(s.n, s.out), d.coef(s.n), d.image((s.height, s.width)), s.weights


def _sep_second(d: _Draw) -> tuple[Any, ...]:
    s = d.spec
    z1 = [d.image((s.height, s.width)) for _ in range(s.n)]
    return z1, *d.norm(s.n), *d.filters([size for size, _ in s.filters]), EPS


def _sep_second_bwd(d: _Draw) -> tuple[Any, ...]:
    s = d.spec
    z1, mean, scale, shift, dw, pw, _ = _sep_second(d)
    nodes = [d.image(s.out) for _ in range(-(-s.n // 2))]
    g = [nodes[i // 2] for i in range(s.n)]
    return z1, mean, scale, shift, scale, dw, pw, g, d.stack(s.n, s.out), d.coef(s.n), s.weights


def _pool_pair(d: _Draw) -> tuple[Any, ...]:
    return d.image((d.spec.height, d.spec.width)), d.spec.stride, EPS


def _pool_pair_bwd(d: _Draw) -> tuple[Any, ...]:
    s = d.spec
    x, stride, _ = _pool_pair(d)
    pooled = torch.stack([y.permute(0, 2, 3, 1) for y in EAGER["pool_pair"](x, stride, EPS)()[0]])
    g = [d.image(s.out) for _ in range(s.n)]
    b, c = (d.small(2, s.channels, spread=0.1) for _ in range(2))
    return x, pooled.permute(0, 1, 4, 2, 3), g, d.small(3, s.n, s.channels), b, c, stride


def _node_mix(d: _Draw) -> tuple[Any, ...]:
    s = d.spec
    z = [d.image((s.height, s.width)) for _ in range(s.n)]
    return z, *d.norm(s.n), torch.softmax(d.small(s.n), 0)


def _node_mix_bwd_reduce(d: _Draw) -> tuple[Any, ...]:
    z, mean, scale, shift, p = _node_mix(d)
    return d.image((d.spec.height, d.spec.width)), z, mean, scale, shift, scale, p


def _node_mix_shuffled(d: _Draw) -> tuple[Any, ...]:
    s, k = d.spec, 4
    inner = s.channels // k
    z = [d.image((s.height, s.width), inner) for _ in range(s.n)]
    edges = max(s.n // 7, 1)
    bypass = [d.image((s.height, s.width)) for _ in range(edges)]
    p, beta = torch.softmax(d.small(s.n), 0), torch.softmax(d.small(edges), 0)
    return z, *d.norm(s.n, inner), p, bypass, beta, k


MAKE: dict[str, Callable[[_Draw], tuple[Any, ...]]] = {
    "edge_group": _edge_group, "edge_group_bwd": _edge_group_bwd, "sep_second": _sep_second,
    "sep_second_bwd": _sep_second_bwd, "pool_pair": _pool_pair, "pool_pair_bwd": _pool_pair_bwd, "node_mix": _node_mix,
    "node_mix_bwd_reduce": _node_mix_bwd_reduce, "node_mix_shuffled": _node_mix_shuffled,
}  # fmt: skip


class Case:
    """One operator with its inputs. Raises SupernetError where there is no such operator."""

    def __init__(self, spec: Spec, dtype: torch.dtype, device: torch.device) -> None:
        self.spec = spec
        self.arguments = MAKE[spec.operator](_Draw(spec, dtype, device))
        self._operator = _find(HOME[spec.operator][0], spec.operator)

    def run(self) -> Any:
        """The operator."""
        return self._operator(*self.arguments)

    def eager(self) -> Callable[[], Any]:
        """The unfused equivalent, prepared."""
        return EAGER[self.spec.operator](*self.arguments)

    def check(self) -> str:
        """Empty, or what is wrong: an output too far from float64, or two runs that differ."""
        outputs, again = list(_flat(self.run())), list(_flat(self.run()))
        with _full_float32():
            usual = list(_flat(self.eager()()))
        exact = list(_flat(EAGER[self.spec.operator](*_double(self.arguments))()))
        if not all(map(_same_bits, outputs, again)):
            return "two runs differ"
        if len(outputs) != len(exact):
            return f"{len(outputs)} outputs in place of {len(exact)}"
        for i, (x, plain, right) in enumerate(zip(outputs, usual, exact, strict=True)):
            error, allowed = _error(x, right), 2 * _error(plain, right) + SLACK
            if not error <= allowed:
                return f"output {i} {tuple(x.shape)}: error {error:.1e} where {allowed:.1e} is allowed"
        return ""

    def poison(self) -> None:
        """Makes a value of the first activation NaN, in one pixel of one channel."""
        first = next(x for x in _flat(self.arguments) if x.dim() == 4)
        first[-1, -1, first.shape[2] // 2, first.shape[3] // 2] = float("nan")

    def moved(self) -> int:
        """Bytes of all inputs once and all outputs once."""
        tensors = {(x.data_ptr(), x.shape): x for x in _flat((self.arguments, self.run()))}
        return sum(x.numel() * x.element_size() for x in tensors.values())

    def operations(self) -> int:
        """Floating-point operations of the convolutions, 2 a multiply-add; of a pool or a mix, of its sums."""
        s = self.spec
        pixels = s.batch * s.out[0] * s.out[1] * s.channels
        if s.operator.startswith(("edge_group", "sep_second")):
            taps = sum(size**2 + s.channels for size, _ in s.filters)
            passes = 1 if not s.operator.endswith("bwd") else 2 if s.weights else 1
            return 2 * pixels * taps * passes
        if s.operator.startswith("pool_pair"):
            return pixels * (18 if s.operator == "pool_pair" else 18 + 6 * s.n)
        return pixels * s.n * 4

    def kernels(self) -> list[Any]:
        """The CUDA kernels that the operator launches for these sizes; needs no GPU."""
        _, module, name = HOME[self.spec.operator]
        outputs = self.run()
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [one.kernel for one in _find(module, name)(*_grouped(self.spec.operator, self.arguments, outputs))]


def _grouped(operator: str, call: tuple[Any, ...], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """A call and its outputs as the function takes them that says what is launched."""
    if operator == "edge_group":
        x, dw, pw, dilation, stride, eps = call
        return x, Branches(dw, pw, dilation), stride, eps, Outputs(*out)
    if operator == "edge_group_bwd":
        x, dw, pw, dilation, stride, g, z, coef, add, _ = call
        return x, Branches(dw, pw, dilation), stride, Upstream(g, z, coef), add, *out
    if operator == "sep_second":
        z1, mean, scale, shift, dw, pw, eps = call
        return z1, (mean, scale, shift), Branches(dw, pw, [1] * len(dw)), eps, Outputs(*out)
    if operator == "sep_second_bwd":
        z1, mean, scale, shift, rstd, dw, pw, g, z2, coef, _ = call
        norm, branches = Norm(mean, scale, shift, rstd), Branches(dw, pw, [1] * len(dw))
        return z1, norm, branches, Upstream(g, z2, coef), SecondGradients(*out)
    return *call, *(() if operator in UNGATED else (None,)), *out


@contextmanager
def _full_float32() -> Iterator[None]:
    """cuDNN's usual ten bits would make a lax measure of the error in float32."""
    cudnn = torch.backends.cudnn
    before, cudnn.allow_tf32 = cudnn.allow_tf32, False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


def _find(module: str, name: str) -> Callable[..., Any]:
    try:
        return getattr(import_module(f"supernet.cuda_kernels.{module}"), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise SupernetError(f"this checkout has no {module}.{name} in cuda_kernels") from error


def _flat(value: Any) -> Iterator[Tensor]:
    """All tensors in it; those stacked [n, B, C, H, W] one by one."""
    if isinstance(value, Tensor):
        yield from value if value.dim() == 5 else [value]
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _flat(one)


def _double(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double()
    return type(value)(map(_double, value)) if isinstance(value, (list, tuple)) else value


def _same_bits(x: Tensor, y: Tensor) -> bool:
    one, other = (v.contiguous().flatten().view(torch.uint8) for v in (x, y))
    return x.dtype == y.dtype and torch.equal(one, other)


def _error(x: Tensor, exact: Tensor) -> float:
    """||x - exact|| / ||exact||, over what is finite; infinite where the two are not NaN or infinite alike."""
    x, exact = x.detach().double(), exact.detach()
    finite = exact.isfinite()
    if x.shape != exact.shape or not torch.equal(x.isfinite(), finite):
        return float("inf")
    x, exact = x[finite], exact[finite]
    return float((x - exact).norm() / exact.norm().clamp_min(1e-30))
