"""The shapes of the inputs of an undecided network's parts, by a run of the network on the meta device.

One run has one value for each choice between values; all options of choices between modules run at once, since they
have one shape. So every part is seen in every run, with what the discrete networks of these values would give it.
"""
# B batch

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..errors import SupernetError
from ..space.layers import Elastic, Repeat
from ..space.value import ValueChoice
from .arguments import running
from .leaves import Leaf, Leaves
from .placed import Shape

__all__ = ["Tracer"]

Calls: TypeAlias = tuple[tuple[Shape, ...], ...]  # the input shapes of each call of a part
Joint: TypeAlias = tuple[tuple[str, int], ...]  # (table, option) of several choices
Watch: TypeAlias = Callable[[Leaf, Sequence[Tensor]], None]  # a leaf and the inputs of one call
MOST_JOINT = 4096


class Tracer:
    """Runs the network of `leaves` on an input of `shape`, with values for its choices."""

    def __init__(self, leaves: Leaves, shape: Shape) -> None:
        self.leaves, self.shape = leaves, shape
        self.values = leaves.values()
        # The largest of each: inputs are then as wide as any layer asks for.
        self.base = {site: _largest(choices[0]) for site, choices in self.values.items()}

    def run(self, options: Mapping[str, int], watch: Watch | None = None) -> dict[Leaf, Calls]:
        """The shapes under the values `options` of tables, the largest where it names none; `watch` sees each call."""
        chosen = self.base | dict(options)
        calls: dict[Leaf, list[tuple[Shape, ...]]] = {leaf: [] for leaf in self.leaves.all}
        handles = []
        for leaf in self.leaves.all:

            def hook(
                module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], leaf: Leaf = leaf
            ) -> None:
                inputs = [arg for arg in args if isinstance(arg, Tensor)]
                # None and False ask for nothing: timm's blocks hand attention `attn_mask=None` on.
                asked = [arg for arg in (*args, *kwargs.values()) if arg is not None and arg is not False]
                if len(inputs) < len(asked):
                    raise SupernetError(f"the cost of {leaf.path!r} is not known: it is called with more than tensors")
                calls[leaf].append(tuple(tuple(x.shape) for x in inputs))
                if watch is not None:
                    watch(leaf, inputs)

            if not leaf.alone:
                handles.append(leaf.module.register_forward_pre_hook(hook, with_kwargs=True))
        try:
            self._forward(chosen)
        finally:
            for handle in handles:
                handle.remove()
        return {leaf: tuple(shapes) for leaf, shapes in calls.items()}

    def _forward(self, chosen: Mapping[str, int]) -> None:
        try:
            for choice, site in self.leaves.sites.items():
                n = len(choice.names)
                if isinstance(choice, ValueChoice):  # the weight None is 1, and saves a product a layer
                    choice.mix([None] * n, [i == chosen[site] for i in range(n)])
                else:
                    choice.mix(torch.ones(n, device="meta"), [True] * n)
            with torch.no_grad(), running(type(self.leaves.net).__name__, self.shape):
                self.leaves.net(torch.empty(self.shape, device="meta"))
        finally:
            for choice in self.leaves.sites:
                choice.mix(None)

    def shapes(self, everything: bool) -> dict[Leaf, dict[Joint, Calls]]:
        """Each leaf's calls by the joint values of its own choices and of those that shape its inputs from afar.

        Of the latter those that change sizes and numbers of tokens; the widths of channels too with `everything`.
        """
        far = self._far(everything)
        needed = {leaf: set(self._joint((*leaf.own, *far.get(leaf, ())))) for leaf in self.leaves.all}
        by_joint: dict[Leaf, dict[Joint, Calls]] = {leaf: {} for leaf in self.leaves.all}
        while any(needed.values()):
            options: dict[str, int] = {}
            for joints in needed.values():  # as many different ones in a run as fit together
                fits = (j for j in sorted(joints) if all(options.get(site, option) == option for site, option in j))
                options |= dict(next(fits, ()))
            calls, chosen = self.run(options), self.base | options
            for leaf, joints in needed.items():
                sites = dict.fromkeys((*leaf.own, *far.get(leaf, ())))
                joint = tuple((site, chosen[site]) for site in sites)
                if joint in joints:
                    joints.remove(joint)
                    by_joint[leaf][joint] = calls[leaf]
        return by_joint

    def _joint(self, sites: Iterable[str]) -> Iterable[Joint]:
        """All joint options of these tables."""
        names = list(dict.fromkeys(sites))
        sizes = [self.leaves.sizes[site] for site in names]
        if torch.Size(sizes).numel() > MOST_JOINT:
            raise SupernetError(f"a part depends on {', '.join(names)[:120]}: over {MOST_JOINT} joint values")
        for options in product(*map(range, sizes)):
            yield tuple(zip(names, options, strict=True))

    def _far(self, everything: bool) -> dict[Leaf, list[str]]:
        """Leaf -> tables, not its own, whose values change its inputs' shapes."""
        candidates: dict[str, None] = {}

        def watch(leaf: Leaf, inputs: Sequence[Tensor]) -> None:
            layer = leaf.module
            if isinstance(layer, Elastic) and not isinstance(layer, Repeat):
                for site in leaf.own:
                    if site not in candidates and self._reshapes(layer, inputs[0], site, everything):
                        candidates[site] = None

        plain = self.run({}, watch)
        far: dict[Leaf, list[str]] = {}
        for site in candidates:
            for other in range(self.leaves.sizes[site]):
                if other == self.base[site]:
                    continue
                for leaf, calls in self.run({site: other}).items():
                    if calls != plain[leaf] and site not in far.setdefault(leaf, []):
                        far[leaf].append(site)
        return far

    def _reshapes(self, layer: Elastic, x: Tensor, site: str, everything: bool) -> bool:
        """Whether the values of `site` change the shape of a layer's output, channels left out unless `everything`."""
        shapes = set()
        for option in range(self.leaves.sizes[site]):
            chosen = self.base | {site: option}
            options = [c.default if c.mark == "fixed" else chosen[self.leaves.sites[c]] for c in layer.choices]
            try:
                shape = list(layer.one(x, layer.setting(options)).shape)
            except (SupernetError, RuntimeError):  # the largest values do not fit together: look at its effects
                return True
            if not everything:
                del shape[layer.axis]
            shapes.add(tuple(shape))
        return len(shapes) > 1


def _largest(choice: ValueChoice) -> int:
    values = choice.values
    if not all(isinstance(value, int | float) for value in values):
        return choice.default
    return max(range(len(values)), key=lambda i: values[i])
