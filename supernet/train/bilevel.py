"""One bilevel step: alphas learn from their batch, then weights from theirs (DARTS, arXiv:1806.09055).

    1  alpha  <-  Adam(alpha, hypergradient of L_val)         no weight gradient unless the estimate needs it
    2  w      <-  SGD(w, clip(grad_w L_tr(w, alpha)))         no alpha gradient

Running statistics of batch norm follow the second half only. Between `prepare` and its return a step takes nothing from
the host and changes its state in place, so that `captured.py` can run it as one CUDA graph.
"""

from collections.abc import Callable, Mapping
from math import cos, pi
from typing import Any

import torch
from torch import Tensor

from ..config import AlphaConfig, GuardConfig, MethodConfig, WeightConfig
from ..methods import HYPERGRADIENTS, RELAXATIONS, Hypergradient, Problem
from ..methods.hypergradient import batch_norms, frozen_statistics
from ..methods.hypergradient.problem import frozen
from ..methods.part import Part
from ..network import Supernet
from ..runtime.device import autocast
from ..runtime.guard import Guard
from ..runtime.ranks import Ranks
from ..tasks.task import Task
from .optimizers import adam, load_into, set_lr, sgd

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
        guard: Guard | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        method = method or MethodConfig()
        self.net, self.task, self.epochs, self.amp = net, task, epochs, amp
        self.ranks = ranks or Ranks()
        self.weight_config, alpha_config = weights or WeightConfig(), alphas or AlphaConfig()
        relaxation: Any = RELAXATIONS[method.relaxation]()
        self.hypergradient: Hypergradient = HYPERGRADIENTS[method.hypergradient]()
        self._trains = self.hypergradient.uses_training_batch
        self.parts: dict[str, Part] = {"relaxation": relaxation, "hypergradient": self.hypergradient}  # type: ignore[dict-item]
        net.relaxation = relaxation
        # Looked for once: in the thousands of modules of a supernet that takes as long as an optimiser's step.
        self.weights, self.alphas, self._norms = net.weights(), net.alphas(), batch_norms(net)
        self.guard = guard or Guard(GuardConfig(skips=0), net, self.device)
        if self.hypergradient.double_backward:
            net.require_double_backward(method.hypergradient)
        self.weight_optimizer: torch.optim.Optimizer = sgd(self.weights, self.weight_config)
        self.alpha_optimizer: torch.optim.Optimizer = adam(self.alphas, alpha_config)

    @property
    def device(self) -> torch.device:
        return self.alphas[0].device

    def lr(self, epoch: int) -> float:
        """The weights' learning rate in `epoch`, counted from 0."""
        low, high = self.weight_config.min_lr, self.weight_config.lr
        return low + (high - low) * (1 + cos(pi * epoch / self.epochs)) / 2

    def __call__(self, train: Any, val: Any | None, epoch: int) -> dict[str, Mapping[str, Tensor]]:
        """One step on a batch for the weights and one for the alphas (None: the alphas rest).

        Returns the task's sums over each batch, as {"train": ..., "alpha": ...}; they stay on the device. Either half
        that the guard skips has zeros for sums.
        """
        self.prepare(epoch)
        return self.run(train, val)

    def prepare(self, epoch: int) -> None:
        """What the host tells the device before a step: the learning rate, into the tensor that is there."""
        set_lr(self.weight_optimizer, self.lr(epoch))
        if not self.net.training:
            self.net.train()

    def run(self, train: Any, val: Any | None) -> dict[str, Mapping[str, Tensor]]:
        """The step itself, after `prepare`."""
        self.guard.begin()
        sums: dict[str, Mapping[str, Tensor]] = {}
        if val is not None:
            sums["alpha"] = self._alpha_step(train, val)
        sums["train"] = self._weight_step(train)
        return {"train": sums.pop("train"), **sums}

    def _alpha_step(self, train: Any, val: Any) -> Mapping[str, Tensor]:
        loss, gradients, sums = self.alpha_gradients(train, val)
        for alpha, gradient in zip(self.alphas, gradients, strict=True):
            # In the alphas' type and memory layout: the fused optimiser takes no other.
            alpha.grad = torch.empty_like(alpha).copy_(gradient)
        sums = self.guard.update("alphas", self.alpha_optimizer, loss, self.guard.norm(gradients), sums)
        self.alpha_optimizer.zero_grad(set_to_none=True)
        return sums

    def alpha_gradients(self, train: Any, val: Any) -> tuple[Tensor, list[Tensor], Mapping[str, Tensor]]:
        """The validation loss, the gradient that the alphas' optimiser takes, and the sums over `val`."""
        sums: dict[str, Tensor] = {}

        def val_loss() -> Tensor:
            loss, found = self._loss(val)
            sums.update(found)
            return loss

        problem = Problem(
            weights=self.weights,
            alphas=self.alphas,
            train_loss=self._repeatable(train) if self._trains else lambda: self._loss(train, measure=False)[0],
            val_loss=val_loss,
            lr=self.weight_optimizer.param_groups[0]["lr"],
            momentum=self.weight_config.momentum,
            weight_decay=self.weight_config.weight_decay,
            momentum_buffers=[self.weight_optimizer.state[w].get("momentum_buffer") for w in self.weights],
            reduce=self.ranks.mean if self.ranks.world > 1 else None,
        )
        with frozen_statistics(self.net, self._norms):
            estimate = self.hypergradient(problem)
        return estimate.val_loss, estimate.total, sums

    def _weight_step(self, train: Any) -> Mapping[str, Tensor]:
        loss, found = self.weight_gradients(train)
        loss = self.ranks.mean_gradients(self.weights, loss)
        norm = self.guard.clip(self.weights, self.weight_config.clip)
        sums = self.guard.update("weights", self.weight_optimizer, loss, norm, found)
        self.weight_optimizer.zero_grad(set_to_none=True)
        return sums

    def weight_gradients(self, train: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The training loss and the sums over `train`; the gradients are left in the weights."""
        with frozen(self.alphas):
            loss, sums = self._loss(train)
            loss.backward()
        return loss, sums

    def _repeatable(self, batch: Any) -> Callable[[], Tensor]:
        """The loss on `batch`, the same function at every call of this step: dropout repeats its draws.

        Else the differences that second-order estimates take would be differences of masks.
        """
        device = self.device
        cuda = device.type == "cuda"
        if cuda and torch.cuda.is_current_stream_capturing():  # only where the network was seen to draw nothing
            return lambda: self._loss(batch, measure=False)[0]
        drawn = torch.get_rng_state(), torch.cuda.get_rng_state(device) if cuda else None

        def loss() -> Tensor:
            torch.set_rng_state(drawn[0])
            if drawn[1] is not None:
                torch.cuda.set_rng_state(drawn[1], device)
            return self._loss(batch, measure=False)[0]

        return loss

    def _loss(self, batch: Any, measure: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        inputs, targets = self.task.unpack(batch)
        with autocast(self.device, self.amp):
            outputs = self.net(inputs)
        if outputs.dtype == torch.bfloat16:
            outputs = outputs.float()
        loss = self.task.loss(outputs, targets, training=True)
        return loss, self.task.sums(outputs.detach(), targets) if measure else {}

    def state_dict(self) -> dict[str, Any]:
        """Network, both optimisers and every part."""
        return {
            "net": self.net.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, into the tensors that are there."""
        self.net.load_state_dict(state["net"])
        load_into(self.weight_optimizer, state["weight_optimizer"])
        load_into(self.alpha_optimizer, state["alpha_optimizer"])
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
