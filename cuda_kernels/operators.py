"""Registering operators with torch as `torch.ops.supernet.NAME`.

Not by `torch.library.custom_op`: the first call of such an operator imports `torch._dynamo`, which takes two seconds of
every process, also of those that compile nothing. A `Library` does the same without.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.library import Library, infer_schema, register_autograd, register_fake

__all__ = ["Context", "Inputs", "differentiable", "fake", "not_differentiable", "operator"]

P = ParamSpec("P")
R = TypeVar("R")
Inputs: TypeAlias = tuple[Any, ...]  # what an operator was called with
LIBRARY = Library("supernet", "FRAGMENT")


class Context(Protocol):
    """What autograd keeps of one call between forward and backward."""

    saved_tensors: tuple[Any, ...]  # in the order of `save_for_backward`, a Tensor or None each
    needs_input_grad: tuple[Any, ...]  # a bool for each argument, for a list of tensors a sequence of them

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps these tensors, of any shapes, for the backward pass; None keeps a place."""


def operator(body: Callable[P, R]) -> Callable[..., R]:
    """`body` as an operator of its name, on every device; the schema comes from its annotations.

    The body changes none of its arguments and returns none of them. Callers may spread tuples over its arguments.
    """
    name = body.__name__
    LIBRARY.define(name + infer_schema(body, mutates_args=()), tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, body, "CompositeExplicitAutograd")
    return getattr(torch.ops.supernet, name).default


def fake(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Registers the shapes, types and memory order of what operator `name` returns, for tensors without data."""
    return register_fake(f"supernet::{name}", lib=LIBRARY)


def differentiable(name: str, backward: Callable[..., object], setup: Callable[..., None]) -> None:
    """Registers `backward(ctx, *gradients)` of operator `name`; `setup(ctx, inputs, output)` saves what it needs."""
    register_autograd(f"supernet::{name}", backward, setup_context=setup, lib=LIBRARY)


def not_differentiable(name: str) -> None:
    """A backward pass through operator `name` raises RuntimeError, where torch would warn and give no gradient."""

    def refuse(ctx: Context, *gradients: Tensor) -> None:
        raise RuntimeError(f"{name} has no derivative: it is itself the backward of an operator")

    register_autograd(f"supernet::{name}", refuse, lib=LIBRARY)
