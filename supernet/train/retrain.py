"""The stage `retrain`: one genotype's discrete network, trained from scratch with timm's recipe parts.

Optimisers, schedulers, augmentation policies, mixup and the weight average are timm's, named as timm names them. The
defaults are the DARTS recipe (arXiv:1806.09055, section 3.2): SGD with cosine, drop path growing linearly over the
epochs, an auxiliary loss of weight 0.4, clipping at 5. Selection reads validation samples only.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from ..config import RetrainConfig
from ..data.loader import Batch, CountedLoader, EvalLoader
from ..data.resident import Residents
from ..data.sources import ImageInfo
from ..data.splits import Splits
from ..network import build_from
from ..network.cells.classifier import Classifier
from ..network.macro import macro_of
from ..network.training_form import Fast
from ..runs.log import RunLog
from ..runs.state import State
from ..runtime.device import autocast
from ..runtime.guard import Guard
from ..runtime.ranks import Ranks
from ..space import Genotype, Space
from ..tasks.compare import beats, finite
from ..tasks.task import PhaseSums, Task
from .compatibility import check_fits, fit_arguments
from .loop import Metrics
from .measure import evaluate
from .program import TrainingProgram
from .recipe import check_recipe, mixup_of, optimizer_of, scheduler_of, transformed

__all__ = ["RetrainProgram", "discrete_network", "selected_weights"]

log = logging.getLogger(__name__)


class RetrainProgram(TrainingProgram):
    """Trains a network on the training part, selects on the validation part; without that the last epoch counts."""

    stage = "retrain"

    def __init__(
        self,
        config: RetrainConfig,
        net: nn.Module,
        splits: Splits,
        task: Task,
        device: torch.device,
        ranks: Ranks | None = None,
    ) -> None:
        super().__init__(config.seed, task, device, ranks)
        self.config, self.recipe = config, config.recipe
        self.net = net.to(device)
        speed = config.speed
        forms = {"channels_last": speed.channels_last, "fused": speed.fused, "compiled": speed.compile}
        self.fast = Fast(self.net, device, amp=config.amp, **forms)
        train, val = splits.for_retrain(config.val_fraction)
        check_fits(self.net, task, train, device)
        self.refuse_idle(list(self.net.parameters()), len(train), config.batch_size)
        shared: dict[str, Any] = {"batch_size": config.batch_size, "workers": config.data.workers}
        shared |= {"share": self.ranks.share, "device": device}
        check_recipe(config.recipe, splits.info)
        view = transformed(train, splits.info, config.recipe)
        residents = Residents(device, config.data.resident)
        self.train = CountedLoader(view, stream="retrain", seed=config.seed, resident=residents.of(view), **shared)
        self.val = EvalLoader(val, resident=residents.of(val), **shared) if val else None
        self.guard = Guard(config.guard, self.net, device)
        self.optimizer = optimizer_of(self.net, self.recipe)
        self.scheduler = scheduler_of(self.optimizer, self.recipe, config.epochs, self.steps)
        self.ema = ModelEmaV3(self.net, decay=self.recipe.ema, use_warmup=True) if self.recipe.ema else None
        self.mixup = mixup_of(self.recipe, task.outputs, config.batch_size)

    def start(self) -> None:
        """Nothing beyond construction; ranks make sure that they begin alike."""
        self.ranks.same_state(self.net)
        if self.ema is not None:
            self.ranks.same_state(self.ema.module)

    def step(self, batch: Batch, epoch: int, step: int) -> PhaseSums:
        """One step on a batch; the sums are scalars."""
        self.ranks.seed_step(self.config.seed, step)
        self.net.train()
        self.guard.begin()
        self.scheduler.step_update(num_updates=step)
        if isinstance(self.net, Classifier):
            self.net.set_drop_path(self.recipe.drop_path * epoch / self.config.epochs)
        loss, sums = self._gradients(batch)
        loss = self.ranks.mean_gradients(self.net.parameters(), loss)
        norm = self.guard.clip(self.net.parameters(), self.recipe.clip)
        sums = self.guard.update("weights", self.optimizer, loss, norm, sums)
        if self.ema is not None:
            self.ema.update(self.net, step=step)
        if self.guard.end(step):
            raise self.stopped()
        return {"train": sums}

    def _gradients(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss and the sums over `batch`; the gradients are left in the parameters."""
        inputs, targets = self.task.unpack(batch)
        mixed = targets
        if self.mixup is not None and len(inputs) % 2 == 0:
            inputs, mixed = self.mixup(inputs, targets)
        with self.fast.training():
            with autocast(self.device, self.config.amp):
                outputs = self.fast(inputs)
                logits, extra = outputs if isinstance(outputs, tuple) else (outputs, None)
                loss = self.task.loss(logits.float(), mixed, training=True)
                if extra is not None:
                    loss = loss + self.recipe.auxiliary * self.task.loss(extra.float(), mixed, training=True)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        return loss, self.task.sums(logits.detach().float(), targets)

    def gradients_again(self, part: str, step: int) -> Callable[[], tuple[Tensor, Mapping[str, Tensor]]]:
        """The loss, a scalar, and the gradients by name, in the shapes of the parameters."""
        batch = next(self.train.epoch(*divmod(step, self.steps)))

        def gradients() -> tuple[Tensor, Mapping[str, Tensor]]:
            loss, _ = self._gradients(batch)
            return loss, self.named_gradients()

        return gradients

    @property
    def epochs(self) -> int:
        """As many as the configuration says."""
        return self.config.epochs

    @property
    def model(self) -> nn.Module:
        """The network that is measured and exported: the weight average where there is one."""
        return self.ema.module if self.ema is not None else self.net

    def end_epoch(self, epoch: int) -> Metrics:
        """Metrics of the validation part, and the learning rate of the epoch's last step."""
        metrics: dict[str, float] = {"lr": self.optimizer.param_groups[0]["lr"]}
        self.ranks.same_buffers(self.net)
        self.ranks.same_buffers(self.ema.module if self.ema is not None else None)
        if self.val is not None:
            with autocast(self.device, self.config.amp):
                val = evaluate(self.model, self.task, self.val, self.ranks)
            metrics |= {f"val/{name}": value for name, value in val.items()}
            if bad := [name for name, value in metrics.items() if not isfinite(value)]:
                log.warning("epoch %d: %s not finite; it is never the best one", epoch + 1, " and ".join(bad))
        return metrics

    def better(self, metrics: Metrics, best: Metrics | None) -> bool:
        """By the task's metric on the validation part; the later of equals, and always the last without that part."""
        key = f"val/{self.task.selects}"
        if best is None or key not in metrics:
            return True
        return beats(finite(metrics, key), finite(best, key), self.task.maximise, ties=True)

    def show(self, run_log: RunLog, step: int, epoch: int) -> None:
        """Nothing to draw: the cells are the search's."""

    def state_dict(self) -> State:
        state = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}
        state["guard"] = self.guard.state_dict()
        return state | ({"ema": self.ema.module.state_dict()} if self.ema is not None else {})

    def load_state_dict(self, state: State) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.guard.load_state_dict(state["guard"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])

    def close(self) -> None:
        self.train.close()
        if self.val is not None:
            self.val.close()


def discrete_network(
    config: RetrainConfig, space: Space, genotype: Genotype, info: ImageInfo, task: Task
) -> tuple[nn.Module, dict[str, Any]]:
    """(the network of a genotype as `config` asks for it, fresh from its seed; its arguments)"""
    discrete = macro_of(space).discrete
    arguments = fit_arguments(discrete, config.network, info, task)
    if config.recipe.auxiliary and "auxiliary" in inspect.signature(discrete).parameters:
        arguments = {"auxiliary": True, **arguments}
    return build_from(space, genotype, seed=config.seed, **arguments), arguments


def selected_weights(state: State) -> Mapping[str, Tensor]:
    """The weights that are measured and exported, in the shapes of the network, out of its program's `state`."""
    weights: Mapping[str, Tensor] = state["ema"] if "ema" in state else state["net"]
    return weights
