"""The parts of a training recipe, all of them timm's: augmentation policy, optimiser, schedule, mixup.

Each function raises SupernetError, in timm's words, for a setting that timm does not take.
"""

from typing import Any

import torch
from timm.data import Mixup, create_transform
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn

from ..config import RecipeConfig
from ..data.sources import ImageInfo
from ..data.view import View
from ..errors import SupernetError, unknown

__all__ = ["check_recipe", "mixup_of", "optimizer_of", "scheduler_of", "transformed"]

# Those of timm that are functions of the number of updates: "plateau" has a state that would have to be saved.
SCHEDULES = ("cosine", "tanh", "step", "poly")
_OFF = {"mixup": 0, "cutmix": 0, "auto_augment": "null"}


def transformed(view: View, info: ImageInfo, recipe: RecipeConfig) -> View:
    """The training view with timm's augmentation policy, where the recipe names one."""
    if not recipe.auto_augment:
        return view
    size = (info.in_chans, info.image_size, info.image_size)
    if info.in_chans != 3 or not info.mean:
        raise SupernetError(
            "recipe.auto_augment needs RGB images with a mean and deviation: set data.in_chans=3, or give arrays "
            "with augment=Augment(mean=..., std=...), or leave it out"
        )
    hflip = 0.5 if view.augment.flip else 0.0  # mirrored digits are other digits
    policy: Any = {"is_training": True, "auto_augment": recipe.auto_augment, "mean": info.mean, "std": info.std}
    try:
        transform = create_transform(size, scale=(0.35, 1.0), hflip=hflip, **policy)
    except (AssertionError, ValueError, KeyError, IndexError, TypeError) as error:  # timm reads the text piece by piece
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise SupernetError(
            f"recipe.auto_augment={recipe.auto_augment!r} is no policy of timm ({reason or type(error).__name__}); "
            "examples: rand-m9-mstd0.5, augmix-m3-w3, original"
        ) from None
    return view.with_transform(transform)


def optimizer_of(net: nn.Module, recipe: RecipeConfig) -> torch.optim.Optimizer:
    """timm's optimiser of this name over the parameters of `net`."""
    try:
        return create_optimizer_v2(
            net,
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


def scheduler_of(optimizer: torch.optim.Optimizer, recipe: RecipeConfig, epochs: int, steps: int) -> Scheduler:
    """timm's schedule of this name over `epochs` of `steps` updates, a function of the number of updates."""
    if recipe.sched not in SCHEDULES:
        raise SupernetError(unknown("schedule recipe.sched", recipe.sched, SCHEDULES))
    try:
        scheduler, _ = create_scheduler_v2(
            optimizer,
            sched=recipe.sched,
            num_epochs=epochs,
            min_lr=recipe.min_lr,
            warmup_epochs=recipe.warmup_epochs,
            warmup_lr=recipe.warmup_lr,
            decay_rate=recipe.decay_rate,
            decay_epochs=recipe.decay_epochs,
            step_on_epochs=False,
            updates_per_epoch=steps,
        )
    except (AssertionError, ValueError) as error:
        raise SupernetError(f"recipe.sched={recipe.sched} with these settings: {str(error)[:200]}") from None
    return scheduler


def check_recipe(recipe: RecipeConfig, info: ImageInfo) -> None:
    """Drop path and the auxiliary head are left out where a network has none; what would change the data is refused."""
    if info.task == ImageInfo.task:
        return
    reasons = dict.fromkeys(_OFF, f"is for images; data set {info.name!r} has none")
    if info.images:
        reasons = dict.fromkeys(("mixup", "cutmix"), f"mixes classes, and the targets of task={info.task} are none")
        if info.task == "segmentation":
            reasons["auto_augment"] = "would turn and cut pictures without their masks"
    for key, reason in reasons.items():
        if getattr(recipe, key):
            raise SupernetError(f"recipe.{key} {reason}: recipe.{key}={_OFF[key]}")


def mixup_of(recipe: RecipeConfig, classes: int, batch_size: int) -> Mixup | None:
    """timm's mixup and cutmix over batches, where the recipe asks for one."""
    if not (recipe.mixup or recipe.cutmix):
        return None
    if batch_size % 2:
        raise SupernetError(f"recipe.mixup and recipe.cutmix pair samples: batch_size={batch_size} must be even")
    # Without smoothing here: the task smooths, and twice would be too much.
    return Mixup(mixup_alpha=recipe.mixup, cutmix_alpha=recipe.cutmix, label_smoothing=0.0, num_classes=classes)
