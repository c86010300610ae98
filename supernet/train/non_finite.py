"""Where numbers stopped being finite: a batch is run once more, and every module is watched.

In the forward pass it is the first module, in the order of their calls, whose output is not finite. Where only
gradients are not finite it is the last one with such a gradient: a backward pass carries it to all modules before.
"""

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from ..data.loader import Batch
from ..errors import NumbersError
from ..network.freezing import frozen_statistics
from ..runtime.guard import Guard, non_finite
from ..tasks.task import Task

__all__ = ["refused", "require_finite", "samples_without_numbers", "stop", "trace"]

Gradients = Callable[[], tuple[Tensor, Mapping[str, Tensor]]]  # the loss, and the gradients by their parameters' names


def trace(net: nn.Module, gradients: Gradients) -> dict[str, Any]:
    """Runs `gradients` and says where it is not finite, as plain values; running statistics and generators are kept.

    `where` is "output", "loss", "gradient" or, where all is finite this time, None; `module` its name; `input` whether
    the network's input was finite.
    """
    calls: list[str] = []
    bad: list[str] = []
    inputs: list[bool] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: Any, output: Any) -> None:
            calls.append(name)
            if not bad and non_finite(output if isinstance(output, list | tuple | dict) else [output]):
                bad.append(name)

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in net.named_modules() if name]
    hooks.append(net.register_forward_pre_hook(lambda _, given: inputs.append(not non_finite(list(given)))))
    try:
        with frozen_statistics(net), torch.random.fork_rng():
            loss, named = gradients()
    finally:
        for hook in hooks:
            hook.remove()
    names = non_finite(named)
    where = "output" if bad else "loss" if non_finite([loss]) else "gradient" if names else None
    module = bad[0] if bad else _latest(names, calls) if where == "gradient" else None
    return {"where": where, "module": module, "input": all(inputs), "gradients": names[:20] if not bad else []}


def stop(guard: Guard, net: nn.Module, seed: int, indices: list[int], gradients: Gradients) -> NumbersError:
    """The error that ends a run after its skips, with its report; `indices` are the samples of the last one's batch."""
    skip = guard.report()
    try:
        origin = trace(net, gradients)
    except RuntimeError as error:  # such as no memory for another run: what is known must be told all the same
        origin = {"where": None, "module": None, "input": True, "failed": str(error)[:200]}
    place = f"first in the {origin['where']}" if origin["where"] else "and finite when the batch was run again"
    if origin["module"] is not None:
        place += f" of {origin['module']}" + ("" if origin["input"] else ", whose input has them already")
    return NumbersError(
        f"non-finite {skip['found']} in {skip['skips']} steps in a row, the last is step {skip['step']} of seed "
        f"{seed}: {place}; samples {_short(indices)}; check them, lower the learning rate or raise guard.skips",
        {"seed": seed, **skip, **origin, "indices": indices},
    )


def refused(error: NumbersError, seed: int, step: int, indices: list[int]) -> NumbersError:
    """`error` of a state that cannot be saved, with what the run knows; `indices` belong to the last step."""
    return NumbersError(
        f"after step {step} of seed {seed} {error}; the last samples are {_short(indices)}; lower the learning rate",
        {"seed": seed, "step": step, **error.report, "indices": indices},
    )


def require_finite(
    metrics: Mapping[str, object], find: Callable[[], tuple[list[int], list[int]]], epoch: int, seed: int
) -> None:
    """Raises NumbersError where a metric of an ended epoch is not finite; `find` gives the samples that make it so.

    They are those whose inputs are not finite and those whose outputs are not.
    """
    names = [name for name, value in metrics.items() if isinstance(value, float) and not isfinite(value)]
    if not names:
        return
    inputs, outputs = find()
    if inputs:
        why = f"the inputs of the samples {_short(inputs)} are not finite: take them out of the data, or mend them"
    elif outputs:
        why = (
            f"the outputs for the samples {_short(outputs)} are not finite: the search has diverged; lower weights.lr "
            "or alphas.lr"
        )
    else:
        why = "all outputs are finite, but the loss is too large for its type; lower weights.lr or alphas.lr"
    raise NumbersError(
        f"after epoch {epoch + 1} of seed {seed} {' and '.join(names)} not finite: {why}",
        {"seed": seed, "epoch": epoch + 1, "metrics": names, "inputs": inputs, "outputs": outputs},
    )


@torch.no_grad()
def samples_without_numbers(net: nn.Module, task: Task, batches: Iterable[Batch]) -> tuple[list[int], list[int]]:
    """The numbers of the samples whose inputs [B, ...] are not finite, and of those whose outputs [B, ...] are not.

    The network runs in evaluation mode.
    """
    training = net.training
    net.eval()
    inputs: list[int] = []
    outputs: list[int] = []
    try:
        for batch in batches:
            x, _ = task.unpack(batch)
            index = batch.index.tolist()
            inputs += [i for i, bad in zip(index, _not_finite(x), strict=True) if bad]
            outputs += [i for i, bad in zip(index, _not_finite(net(x)), strict=True) if bad]
    finally:
        net.train(training)
    return inputs, outputs


def _not_finite(x: Tensor) -> list[bool]:
    """For each of the samples [B, ...] whether some number is not finite."""
    return (~x.isfinite().flatten(1).all(dim=1)).tolist() if x.dim() > 1 else (~x.isfinite()).tolist()


def _latest(names: list[str], calls: list[str]) -> str:
    """The module of the parameter that was called last; a parameter of none (an alpha) stands for itself."""
    order = {name: i for i, name in enumerate(calls)}
    name = max(names, key=lambda name: order.get(name.rpartition(".")[0], -1))
    module = name.rpartition(".")[0]
    return module if module in order else name


def _short(indices: list[int]) -> str:
    return ", ".join(map(str, indices[:6])) + (f", ... ({len(indices)} in all)" if len(indices) > 6 else "")
