"""The stage `retrain`: one genotype's discrete network, trained from scratch with timm's recipe parts.

Optimisers, schedulers, augmentation policies, mixup and the weight average are timm's, named as timm names them. The
defaults are the DARTS recipe (arXiv:1806.09055, section 3.2): SGD with cosine, drop path growing linearly over the
epochs, an auxiliary loss of weight 0.4, clipping at 5. Selection reads validation samples only.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from timm.data import Mixup, create_transform
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from ..config import RecipeConfig, RetrainConfig
from ..data.loader import CountedLoader, EvalLoader
from ..data.resident import Residents
from ..data.sources import ImageInfo
from ..data.splits import Splits
from ..data.view import View
from ..errors import NumbersError, SupernetError, unknown
from ..network import build_from
from ..network.cell_classifier import Classifier
from ..network.macro import macro_of
from ..network.training_form import Fast
from ..runs.log import RunLog
from ..runtime.device import autocast
from ..runtime.guard import Guard
from ..runtime.ranks import Ranks
from ..space import Genotype, Space
from ..tasks.task import Task, progress_names
from .compatibility import check_fits, fit_arguments
from .measure import evaluate, phase_metrics
from .non_finite import refused, stop

__all__ = ["RetrainProgram"]

# Those of timm that are functions of the number of updates: "plateau" has a state that would have to be saved.
SCHEDULES = ("cosine", "tanh", "step", "poly")
_OFF = {"mixup": 0, "cutmix": 0, "auto_augment": "null"}


class RetrainProgram:
    """Trains on the training part, selects on the validation part; with none of the latter the last epoch counts."""

    stage = "retrain"

    def __init__(
        self,
        config: RetrainConfig,
        space: Space,
        genotype: Genotype,
        splits: Splits,
        task: Task,
        device: torch.device,
        ranks: Ranks | None = None,
    ) -> None:
        self.config, self.recipe, self.task, self.device = config, config.recipe, task, device
        self.space, self.genotype, self.ranks = space, genotype, ranks or Ranks()
        discrete = macro_of(space).discrete
        self.arguments = fit_arguments(discrete, config.network, splits.info, task)
        if config.recipe.auxiliary and "auxiliary" in inspect.signature(discrete).parameters:
            self.arguments = {"auxiliary": True, **self.arguments}
        self.net = build_from(space, genotype, seed=config.seed, **self.arguments).to(device)
        speed = config.speed
        forms = {"channels_last": speed.channels_last, "fused": speed.fused, "compiled": speed.compile}
        self.fast = Fast(self.net, device, amp=config.amp, **forms)
        train, val = splits.for_retrain(config.val_fraction)
        check_fits(self.net, task, train, device)
        shared: dict[str, Any] = {"batch_size": config.batch_size, "workers": config.data.workers}
        shared |= {"share": self.ranks.share, "device": device}
        _check_recipe(config.recipe, splits.info)
        view = self._transformed(train, splits.info)
        residents = Residents(device, config.data.resident)
        self.train = CountedLoader(view, stream="retrain", seed=config.seed, resident=residents.of(view), **shared)
        self.val = EvalLoader(val, resident=residents.of(val), **shared) if val else None
        self.steps = len(self.train)
        self.guard = Guard(config.guard, self.net, device)
        self.optimizer = self._optimizer()
        self.scheduler = self._scheduler()
        self.ema = ModelEmaV3(self.net, decay=self.recipe.ema, use_warmup=True) if self.recipe.ema else None
        self.mixup = _mixup(self.recipe, task.outputs, config.batch_size)

    @property
    def epochs(self) -> int:
        return self.config.epochs

    @property
    def finished(self) -> bool:
        return False

    @property
    def progress_names(self) -> Mapping[str, str]:
        return progress_names(self.task)

    def _transformed(self, view: View, info: ImageInfo) -> View:
        if not self.recipe.auto_augment:
            return view
        size = (info.in_chans, info.image_size, info.image_size)
        if info.in_chans != 3 or not info.mean:
            raise SupernetError(
                "recipe.auto_augment needs RGB images with a mean and deviation: set data.in_chans=3, or give arrays "
                "with augment=Augment(mean=..., std=...), or leave it out"
            )
        transform = create_transform(
            size,
            is_training=True,
            auto_augment=self.recipe.auto_augment,
            mean=info.mean,
            std=info.std,
            scale=(0.35, 1.0),
            hflip=0.5 if view.augment.flip else 0.0,  # mirrored digits are other digits
        )
        return view.with_transform(transform)

    def _optimizer(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        try:
            return create_optimizer_v2(
                self.net,
                opt=recipe.opt,
                lr=recipe.lr,
                weight_decay=recipe.weight_decay,
                momentum=recipe.momentum,
                filter_bias_and_bn=recipe.filter_bias_and_bn,
                layer_decay=recipe.layer_decay,
            )
        except (AssertionError, ValueError) as error:
            raise SupernetError(
                f"recipe.opt={recipe.opt!r} is no optimiser of timm ({str(error)[:80]}); timm.optim.list_optimizers() "
                "lists them"
            ) from None

    def _scheduler(self) -> Any:
        recipe = self.recipe
        if recipe.sched not in SCHEDULES:
            raise SupernetError(unknown("schedule recipe.sched", recipe.sched, SCHEDULES))
        try:
            scheduler, _ = create_scheduler_v2(
                self.optimizer,
                sched=recipe.sched,
                num_epochs=self.config.epochs,
                min_lr=recipe.min_lr,
                warmup_epochs=recipe.warmup_epochs,
                warmup_lr=recipe.warmup_lr,
                decay_rate=recipe.decay_rate,
                decay_epochs=recipe.decay_epochs,
                step_on_epochs=False,
                updates_per_epoch=self.steps,
            )
        except (AssertionError, ValueError) as error:
            raise SupernetError(f"recipe.sched={recipe.sched} with these settings: {str(error)[:200]}") from None
        return scheduler

    def start(self) -> None:
        """Nothing beyond construction; ranks make sure that they begin alike."""
        self.ranks.same_state(self.net)
        if self.ema is not None:
            self.ranks.same_state(self.ema.module)

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        return self.train.epoch(epoch, start)

    def samples(self, batch: Any) -> int:
        return len(batch.index) * self.ranks.world

    def step(self, batch: Any, epoch: int, step: int) -> Mapping[str, Mapping[str, Tensor]]:
        self.ranks.seed_step(self.config.seed, step)
        self.net.train()
        self.guard.begin()
        self.scheduler.step_update(num_updates=step)
        if isinstance(self.net, Classifier):
            self.net.set_drop_path(self.recipe.drop_path * epoch / self.config.epochs)
        loss, found = self._gradients(batch)
        loss = self.ranks.mean_gradients(self.net.parameters(), loss)
        norm = self.guard.clip(self.net.parameters(), self.recipe.clip)
        sums = self.guard.update("weights", self.optimizer, loss, norm, found)
        if self.ema is not None:
            self.ema.update(self.net, step=step)
        if self.guard.end(step):
            raise self._stopped()
        return {"train": sums}

    def _gradients(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
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

    def check(self, step: int) -> None:
        """Raises NumbersError where the state after `step` must not be saved."""
        if self.guard.tripped():
            raise self._stopped()
        try:
            self.guard.check(self.state_dict())
        except NumbersError as error:
            raise refused(error, self.config.seed, step, self._indices(step)) from None

    def _stopped(self) -> NumbersError:
        """Runs the last skipped batch again."""
        step = self.guard.report()["step"]
        batch = next(self.train.epoch(*divmod(step, self.steps)))

        def gradients() -> tuple[Tensor, Mapping[str, Tensor]]:
            loss, _ = self._gradients(batch)
            return loss, {name: p.grad for name, p in self.net.named_parameters() if p.grad is not None}

        return stop(self.guard, self.net, self.config.seed, self._indices(step), gradients)

    def _indices(self, step: int) -> list[int]:
        epoch, number = divmod(step, self.steps)
        return self.train.indices(epoch)[number].tolist()

    def metrics(self, sums: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
        return phase_metrics(self.task, sums)

    @property
    def model(self) -> nn.Module:
        """The network that is measured and exported: the weight average where there is one."""
        return self.ema.module if self.ema is not None else self.net

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Metrics of the validation part, and the learning rate of the epoch's last step."""
        found: dict[str, Any] = {"lr": self.optimizer.param_groups[0]["lr"]}
        self.ranks.same_buffers(self.net)
        self.ranks.same_buffers(self.ema.module if self.ema is not None else None)
        if self.val is not None:
            with autocast(self.device, self.config.amp):
                val = evaluate(self.model, self.task, self.val, self.ranks)
            found |= {f"val/{name}": value for name, value in val.items()}
        return found

    def better(self, metrics: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
        """By the task's metric on the validation part; the later of equals, and always the last without that part."""
        key = f"val/{self.task.selects}"
        if best is None or key not in metrics:
            return True
        return bool(metrics[key] >= best[key] if self.task.maximise else metrics[key] <= best[key])

    def show(self, run_log: RunLog, step: int, epoch: int) -> None:
        """Nothing to draw: the cells are the search's."""

    def state_dict(self) -> dict[str, Any]:
        state = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}
        state["guard"] = self.guard.state_dict()
        return state | ({"ema": self.ema.module.state_dict()} if self.ema is not None else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.guard.load_state_dict(state["guard"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])

    def close(self) -> None:
        self.train.close()
        if self.val is not None:
            self.val.close()


def _check_recipe(recipe: RecipeConfig, info: ImageInfo) -> None:
    """Drop path and the auxiliary head are left out where a network has none; what would change the data is refused."""
    if info.task == ImageInfo.task:
        return
    for key in ("mixup", "cutmix", "auto_augment"):
        if getattr(recipe, key):
            raise SupernetError(
                f"recipe.{key} is for images; data set {info.name!r} has none: recipe.{key}={_OFF[key]}"
            )


def _mixup(recipe: RecipeConfig, classes: int, batch_size: int) -> Any:
    if not (recipe.mixup or recipe.cutmix):
        return None
    if batch_size % 2:
        raise SupernetError(f"recipe.mixup and recipe.cutmix pair samples: batch_size={batch_size} must be even")
    # Without smoothing here: the task smooths, and twice would be too much.
    return Mixup(mixup_alpha=recipe.mixup, cutmix_alpha=recipe.cutmix, label_smoothing=0.0, num_classes=classes)
