"""One bilevel step: alphas learn from their batch, then weights from theirs (DARTS, arXiv:1806.09055).

    1  alpha  <-  Adam(alpha, hypergradient of L_val)         no weight gradient unless the estimate needs it
    2  w      <-  SGD(w, clip(grad_w L_tr(w, alpha)))         no alpha gradient

Running statistics of batch norm follow the second half only.
"""

from collections.abc import Mapping
from math import cos, pi
from typing import Any

import torch
from torch import Tensor

from ..methods import HYPERGRADIENTS, RELAXATIONS, Hypergradient, Problem
from ..methods.hypergradient import frozen_statistics
from ..methods.hypergradient.problem import frozen
from ..methods.part import Part
from ..network import Supernet
from .config import AlphaConfig, MethodConfig, WeightConfig
from .device import autocast
from .task import Task

__all__ = ["BilevelStep"]


class BilevelStep:
    """Both optimisers and the parts of a method over one supernet.

    `lr(epoch)` anneals the weights' learning rate from `weights.lr` to `weights.min_lr` along a cosine over `epochs`.
    """

    def __init__(
        self,
        net: Supernet,
        task: Task,
        *,
        method: MethodConfig | None = None,
        weights: WeightConfig | None = None,
        alphas: AlphaConfig | None = None,
        epochs: int = 50,
        amp: str = "off",
    ) -> None:
        method = method or MethodConfig()
        self.net, self.task, self.epochs, self.amp = net, task, epochs, amp
        self.weight_config, alpha_config = weights or WeightConfig(), alphas or AlphaConfig()
        relaxation: Any = RELAXATIONS[method.relaxation]()
        self.hypergradient: Hypergradient = HYPERGRADIENTS[method.hypergradient]()
        self.parts: dict[str, Part] = {"relaxation": relaxation, "hypergradient": self.hypergradient}  # type: ignore[dict-item]
        net.relaxation = relaxation
        if self.hypergradient.double_backward:
            net.require_double_backward(method.hypergradient)
        self.weight_optimizer = torch.optim.SGD(
            net.weights(),
            lr=self.weight_config.lr,
            momentum=self.weight_config.momentum,
            weight_decay=self.weight_config.weight_decay,
        )
        self.alpha_optimizer = torch.optim.Adam(
            net.alphas(),
            lr=alpha_config.lr,
            betas=(alpha_config.beta1, alpha_config.beta2),
            weight_decay=alpha_config.weight_decay,
        )

    def lr(self, epoch: int) -> float:
        """The weights' learning rate in `epoch`, counted from 0."""
        low, high = self.weight_config.min_lr, self.weight_config.lr
        return low + (high - low) * (1 + cos(pi * epoch / self.epochs)) / 2

    def __call__(self, train: Any, val: Any | None, epoch: int) -> dict[str, dict[str, Tensor]]:
        """One step on a batch for the weights and one for the alphas (None: the alphas rest).

        Returns the task's sums over each batch, as {"train": ..., "alpha": ...}; they stay on the device.
        """
        for group in self.weight_optimizer.param_groups:
            group["lr"] = self.lr(epoch)
        self.net.train()
        sums: dict[str, dict[str, Tensor]] = {}
        if val is not None:
            sums["alpha"] = self._alpha_step(train, val)
        sums["train"] = self._weight_step(train)
        return {"train": sums.pop("train"), **sums}

    def _alpha_step(self, train: Any, val: Any) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}

        def val_loss() -> Tensor:
            loss, found = self._loss(val)
            sums.update(found)
            return loss

        problem = Problem(
            weights=self.net.weights(),
            alphas=self.net.alphas(),
            train_loss=lambda: self._loss(train)[0],
            val_loss=val_loss,
            lr=self.weight_optimizer.param_groups[0]["lr"],
            momentum=self.weight_config.momentum,
            weight_decay=self.weight_config.weight_decay,
            momentum_buffers=[self.weight_optimizer.state[w].get("momentum_buffer") for w in self.net.weights()],
        )
        with frozen_statistics(self.net):
            estimate = self.hypergradient(problem)
        for alpha, gradient in zip(self.net.alphas(), estimate.total, strict=True):
            alpha.grad = gradient.to(alpha.dtype)
        self.alpha_optimizer.step()
        self.alpha_optimizer.zero_grad(set_to_none=True)
        return sums

    def _weight_step(self, train: Any) -> dict[str, Tensor]:
        with frozen(self.net.alphas()):
            loss, sums = self._loss(train)
            loss.backward()
        if self.weight_config.clip:
            torch.nn.utils.clip_grad_norm_(self.net.weights(), self.weight_config.clip, foreach=True)
        self.weight_optimizer.step()
        self.weight_optimizer.zero_grad(set_to_none=True)
        return sums

    def _loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        inputs, targets = self.task.unpack(batch)
        with autocast(next(iter(self.net.alphas())).device, self.amp):
            outputs = self.net(inputs)
        if outputs.dtype == torch.bfloat16:
            outputs = outputs.float()
        loss = self.task.loss(outputs, targets, training=True)
        return loss, self.task.sums(outputs.detach(), targets)

    def state_dict(self) -> dict[str, Any]:
        """Network, both optimisers and every part."""
        return {
            "net": self.net.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.net.load_state_dict(state["net"])
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
