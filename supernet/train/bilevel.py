"""One bilevel step: alphas learn from their batch, then weights from theirs (DARTS, arXiv:1806.09055).

    1  alpha  <-  Adam(alpha, hypergradient of L_val)         no weight gradient unless the estimate needs it
    2  w      <-  SGD(w, clip(grad_w L_train(w, alpha)))      no alpha gradient

A method's parts enter at fixed places of the two halves; `method.order` may turn them round. With a hypergradient of
one level both learn from one backward on the weights' batch. Running statistics of
batch norm follow the weights' half only. Between `prepare` and its return a step takes nothing from the host and
changes its state in place, so that `captured.py` can run it as one CUDA graph.
"""
# E edges, O operations, B batch

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from math import cos, pi

import torch
from torch import Tensor

from ..config import AlphaConfig, GuardConfig, MethodConfig, WeightConfig
from ..data.loader import Batch
from ..errors import SupernetError
from ..methods import Clock, Method, Problem
from ..methods.noise import Half
from ..methods.optimizers import load_into, set_lr, sgd
from ..methods.problem import BatchName, cut_off
from ..network import Supernet
from ..network.freezing import batch_norms, frozen, frozen_statistics
from ..network.mixture import Mixture
from ..runtime.device import autocast
from ..runtime.guard import Guard
from ..runtime.ranks import Ranks
from ..tasks.task import Task

__all__ = ["BilevelStep"]


class BilevelStep:
    """Both optimisers and the parts of a method over one supernet.

    `lr(epoch)` anneals the weights' learning rate from `weights.lr` to `weights.min_lr` along a cosine over `epochs`.
    `seed` is that of the method's counted noise, `phase` the number of the phase that the step belongs to, `stage` how
    many times the weights were drawn anew before it.
    """

    def __init__(
        self,
        net: Supernet,
        task: Task,
        *,
        method: Method | MethodConfig | None = None,
        weights: WeightConfig | None = None,
        alphas: AlphaConfig | None = None,
        epochs: int = 50,
        amp: str = "off",
        guard: Guard | None = None,
        ranks: Ranks | None = None,
        seed: int = 0,
        phase: int = 0,
        stage: int = 0,
    ) -> None:
        self.net, self.task, self.epochs, self.amp, self.phase, self.stage = net, task, epochs, amp, phase, stage
        self.ranks = ranks or Ranks()
        self.weight_config, alpha_config = weights or WeightConfig(), alphas or AlphaConfig()
        self.method = method if isinstance(method, Method) else Method(method or MethodConfig())
        self.method.bind(net, seed)
        # Looked for once: in the thousands of modules of a supernet that takes as long as an optimiser's step.
        self.weights, self.alphas = self.method.weights(net), self.method.alphas(net)
        self._norms = [*batch_norms(net), *batch_norms(self.method)]
        self.guard = guard or Guard(GuardConfig(skips=0), net, self.device)
        if who := self.method.double_backward:
            net.require_double_backward(who)
        if not self.weights:
            raise SupernetError("every weight of the network is frozen (requires_grad is False): nothing would learn")
        self.weight_optimizer: torch.optim.Optimizer = sgd(self.weights, self.weight_config)
        self.alpha_optimizer = self.method.alpha_optimiser.make(self.alphas, alpha_config)

    @property
    def device(self) -> torch.device:
        return self.alphas[0].device

    def learning(self) -> None:
        """Looks anew for what learns: some weights or alphas may have been frozen, or may learn again."""
        self.weights = [w for w in self.method.weights(self.net) if w.requires_grad]
        self.alphas = [a for a in self.method.alphas(self.net) if a.requires_grad]

    def lr(self, epoch: int) -> float:
        """The weights' learning rate in `epoch`, counted from 0."""
        low, high = self.weight_config.min_lr, self.weight_config.lr
        return low + (high - low) * (1 + cos(pi * epoch / self.epochs)) / 2

    def __call__(
        self, train: Batch, val: Batch | None, epoch: int = 0, step: int = 0
    ) -> dict[str, Mapping[str, Tensor]]:
        """One step on a batch for the weights and one for the alphas (None: the alphas rest).

        Returns the task's sums over each batch, scalars, as {"train": ..., "alpha": ...}; they stay on the device.
        Either half that the guard skips has zeros for sums.
        """
        self.prepare(epoch, step)
        return self.run(train, val)

    def clock(self, epoch: int, step: int) -> Clock:
        """Where the search stands before step `step` of the run, in `epoch` since the weights were drawn."""
        return Clock(step, epoch, self.epochs, self.phase, self.stage)

    def prepare(self, epoch: int, step: int = 0) -> None:
        """What the host tells the device before a step, into places that are there: the rate, the parts' numbers."""
        set_lr(self.weight_optimizer, self.lr(epoch))
        self.method.prepare(self.clock(epoch, step))
        if not self.net.training:
            self.net.train()

    def run(self, train: Batch, val: Batch | None) -> dict[str, Mapping[str, Tensor]]:
        """The step itself, after `prepare`; the sums are scalars."""
        self.guard.begin()
        if self.method.hypergradient.single_level:
            return {"train": self._single_step(train, alphas_learn=val is not None)}
        sums: dict[str, Mapping[str, Tensor]] = {}
        if self.method.config.order == "weight_first":
            sums["train"] = self._weight_step(train)
        if val is not None:
            sums["alpha"] = self._alpha_step(train, val)
        if "train" not in sums:
            sums["train"] = self._weight_step(train)
        return {"train": sums.pop("train"), **sums}

    def problem(
        self, half: Half, train: Batch, val: Batch | None = None, sums: dict[str, Tensor] | None = None
    ) -> Problem:
        """The bilevel problem on two batches, as one half of a step sees it.

        `sums` receives those of its first pass, scalars: in the alphas' half of the validation batch, in the weights'
        half of the training batch.
        """
        measured: BatchName = "val" if half == "alphas" else "train"
        repeats = self.method.repeats(half)
        again = None if repeats is None else self._repeated()
        # In one level the one pass is drawn as the alphas need it.
        draws: Half = "alphas" if self.method.hypergradient.single_level else half

        def drawn() -> Mixture:
            return self.method.mixture(self.net, draws)

        def run(name: BatchName, mixture: Mixture | None) -> tuple[Tensor, Tensor]:
            batch = train if name == "train" else val
            if batch is None:
                raise ValueError("the weights' half of a step has no validation batch")
            if name == repeats and again is not None:
                again()
            outputs, targets = self._outputs(batch, drawn() if mixture is None else mixture)
            if name == measured and sums is not None and not sums:
                sums.update(self.task.sums(outputs.detach(), targets))
            return outputs, targets

        return Problem(
            weights=self.weights,
            alphas=self.alphas,
            run=run,
            criterion=lambda outputs, targets: self.task.loss(outputs, targets, training=True),
            lr=self.weight_optimizer.param_groups[0]["lr"],
            momentum=self.weight_config.momentum,
            weight_decay=self.weight_config.weight_decay,
            momentum_buffers=[self.weight_optimizer.state[w].get("momentum_buffer") for w in self.weights],
            reduce=self.ranks.mean if self.ranks.world > 1 else None,
            mixture=drawn,
        )

    def _alpha_step(self, train: Batch, val: Batch) -> Mapping[str, Tensor]:
        return self._move_alphas(*self.alpha_gradients(train, val))

    def _move_alphas(
        self, loss: Tensor, gradients: Sequence[Tensor], sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        for alpha, gradient in zip(self.alphas, gradients, strict=True):
            # In the alphas' type and memory layout: the fused optimiser takes no other.
            alpha.grad = torch.empty_like(alpha).copy_(gradient)
        self.method.alpha_optimiser.before_step(self.alphas)
        sums = self.guard.update("alphas", self.alpha_optimizer, loss, self.guard.norm(gradients), sums)
        self.alpha_optimizer.zero_grad(set_to_none=True)
        self.method.alpha_optimiser.after_step(self.alphas)
        return sums

    def alpha_gradients(self, train: Batch, val: Batch) -> tuple[Tensor, list[Tensor], Mapping[str, Tensor]]:
        """The validation loss, the gradients [E, O] that the alphas' optimiser takes, and the sums over `val`."""
        sums: dict[str, Tensor] = {}
        problem = self.problem("weights" if self.method.hypergradient.single_level else "alphas", train, val, sums)
        with frozen_statistics(self.net, self._norms):
            estimate = self.method.hypergradient(problem)
            gradients = self._regularised(replace(problem, value=estimate.val_loss), estimate.total)
        return estimate.val_loss, gradients, sums

    def _regularised(self, problem: Problem, gradients: list[Tensor]) -> list[Tensor]:
        """The gradients of the alphas, each [E, O], with those that regularisers add."""
        for regulariser in self.method.regularisers:
            more = regulariser.alphas(problem)
            gradients = gradients if more is None else list(torch._foreach_add(gradients, list(more)))
        return gradients

    def _single_step(self, train: Batch, alphas_learn: bool) -> Mapping[str, Tensor]:
        """Weights, and alphas where they learn, by one backward on one batch."""
        problem, loss, sums = self._weight_half(train, alphas_learn)
        if alphas_learn:
            gradients = [torch.zeros_like(a) if a.grad is None else a.grad for a in self.alphas]
            self.ranks.mean([*gradients, loss])
            self._move_alphas(loss, self._regularised(replace(problem, value=loss), gradients), sums)
        return self._move_weights(problem, loss, sums)

    def _weight_step(self, train: Batch) -> Mapping[str, Tensor]:
        return self._move_weights(*self._weight_half(train))

    def _move_weights(self, problem: Problem, loss: Tensor, sums: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        loss = self.ranks.mean_gradients(self.weights, loss)
        for gradient_filter in self.method.filters:
            gradient_filter(problem)
        norm = self.guard.clip(self.weights, self.weight_config.clip)
        for part in self.method.after_update:
            part.before(problem)
        sums = self.guard.update("weights", self.weight_optimizer, loss, norm, sums)
        for part in self.method.after_update:
            part(problem)
        self.weight_optimizer.zero_grad(set_to_none=True)
        return sums

    def weight_gradients(self, train: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The training loss and the sums over `train`, scalars; the gradients are left in the weights."""
        _, loss, sums = self._weight_half(train)
        return loss, sums

    def _weight_half(self, train: Batch, alphas_learn: bool = False) -> tuple[Problem, Tensor, Mapping[str, Tensor]]:
        """(problem, training loss, sums over the batch), all scalars; leaves gradients, `alphas_learn`: theirs too."""
        sums: dict[str, Tensor] = {}
        problem = self.problem("weights", train, sums=sums)
        perturbation, regularisers = self.method.perturbation, self.method.regularisers
        with nullcontext() if alphas_learn else frozen(self.alphas):
            # Shown a problem without the sums, which are those of the pass that the weights learn from.
            mixture = None if perturbation is None else perturbation(self.problem("weights", train))
            leaves = None
            if any(regulariser.needs_slopes for regulariser in regularisers):
                mixture = leaves = cut_off(self.method.mixture(self.net, "weights") if mixture is None else mixture)
            loss = _differentiated(problem.loss("train", mixture))
            for number in range(1, self.method.passes):
                loss = loss + _differentiated(problem.loss("train", self.method.mixture(self.net, "weights", number)))
            if len(regularisers):
                problem = replace(problem, value=loss, slopes=self._slopes(leaves))
                if mixture is not None:
                    problem = replace(problem, mixture=lambda: mixture)
        for regulariser in regularisers:
            self._add(regulariser.weights(problem))
        return problem, loss, sums

    def _slopes(self, leaves: Mixture | None) -> Sequence[Tensor] | None:
        """The gradient by p [E, O] of each site that a backward has left in `leaves`, averaged over the ranks."""
        if leaves is None:
            return None
        slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in leaves.p]
        if self.ranks.world > 1:
            self.ranks.mean(slopes)
        return slopes

    @torch.no_grad()
    def _add(self, gradients: Sequence[Tensor] | None) -> None:
        """Adds to the weights' gradients."""
        for w, more in zip(self.weights, gradients or (), strict=False):
            w.grad = more if w.grad is None else w.grad.add_(more)

    def _repeated(self) -> Callable[[], None] | None:
        """Puts the generators back to where they are now, before each pass: dropout repeats its draws.

        Else the differences that second-order estimates take would be differences of masks.
        """
        device = self.device
        cuda = device.type == "cuda"
        if cuda and torch.cuda.is_current_stream_capturing():  # only where the network was seen to draw nothing
            return None
        drawn = torch.get_rng_state(), torch.cuda.get_rng_state(device) if cuda else None

        def again() -> None:
            torch.set_rng_state(drawn[0])
            if drawn[1] is not None:
                torch.cuda.set_rng_state(drawn[1], device)

        return again

    def _outputs(self, batch: Batch, mixture: Mixture) -> tuple[Tensor, Tensor]:
        """(outputs [B, ...], targets [B, ...])"""
        inputs, targets = self.task.unpack(batch)
        with autocast(self.device, self.amp):
            outputs = self.net(inputs, mixture=mixture)
        return outputs.float() if outputs.dtype == torch.bfloat16 else outputs, targets

    def state_dict(self) -> dict[str, object]:
        """Network, both optimisers and the method's parts."""
        return {
            "net": self.net.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "parts": dict(self.method.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, object]]) -> None:
        """Take over what `state_dict` gave, into the tensors that are there."""
        self.net.load_state_dict(state["net"])
        load_into(self.weight_optimizer, state["weight_optimizer"])
        load_into(self.alpha_optimizer, state["alpha_optimizer"])
        self.method.load(state["parts"])


def _differentiated(loss: Tensor) -> Tensor:
    """`loss`, a scalar, whose gradients are now in what learns."""
    if loss.requires_grad:  # not where a draw leaves a network without weights
        loss.backward()
    return loss.detach()
