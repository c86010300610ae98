"""Reads the decision tree out of a network: which choices it has, what each opens, and the path by which each is known.

    a choice                  is named by its module's path, "/" between the parts; `share` names it instead
    inside an option          the option opens it
    inside a Repeat           its block is open for every count that reaches it: one decision a count, of one group
    of a layer's argument     is named by the first layer and argument that hold it: block/conv/kernel_size

A shared choice stands once, at the root when any of its places is nested, since it belongs to no single branch. One
object that stands in several places is one decision, named by the first, which must be open whenever the others are.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from ..errors import SupernetError
from .arithmetic import Derived
from .choice import Choice
from .choice_base import Undecided
from .decision import Decision, Integer, KOf, Mark, OneOf
from .layers import Elastic
from .layers.repeat import Repeat
from .value import ValueChoice, choices_of, value_of

__all__ = ["all_choices", "read_choices", "tree_of"]

Branch = tuple[str, ...]  # the options that lead to a place, from the root


@dataclass
class _Node:
    """A choice, the name by which it is known everywhere, and the nodes that its options open."""

    choice: Undecided
    site: str
    opens: dict[str, list["_Node"]] = field(default_factory=dict)


def read_choices(factory: Callable[[], nn.Module]) -> tuple[list[Decision], str]:
    """The decision tree of the network that `factory` makes, and the network's name."""
    if isinstance(factory, nn.Module):
        raise SupernetError(
            f"Space(...) takes the class {type(factory).__name__} or a function that makes the network, not a network"
        )
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise SupernetError(
            f"Space(...) makes the network without arguments, but {error}; give Space(partial(Net, ...))"
        ) from None
    net = _without_weights(factory)
    if not isinstance(net, nn.Module):
        raise SupernetError(f"Space(...) takes a network class or a function that makes one, not {type(net).__name__}")
    if isinstance(net, Elastic):
        raise SupernetError(f"Space(...): put the {type(net).__name__} into a network, such as nn.Sequential")
    return tree_of(net), type(net).__name__


def tree_of(net: nn.Module) -> list[Decision]:
    """The decision tree of a network; shared decisions behind its own."""
    reader = _Reader()
    own = reader.read(net, "", ())
    used = {choice for module in net.modules() if isinstance(module, Elastic) for choice in module.choices}
    for choice, (site, _) in reader.met.items():
        if isinstance(choice, ValueChoice) and choice not in used:
            raise SupernetError(
                f"the choice of values at {site!r} decides nothing: no layer of supernet (Conv2d, Linear, Norm, Repeat "
                "...) is given it; layers of torch cannot read it"
            )
    return [_decision(node, node.site, "") for node in [*own, *reader.shared.values()]]


def all_choices(net: nn.Module) -> Iterator[tuple[str, Undecided]]:
    """Every choice inside `net` that can be open, each object once, with the name of its row in the relaxed view."""
    reader = _Reader()
    reader.read(net, "", ())
    yield from ((site, choice) for choice, (site, _) in reader.met.items() if choice.mark != "fixed")


def _without_weights(factory: Callable[[], nn.Module]) -> nn.Module:
    """The network on the meta device, which costs no memory; networks that compute while they are built cannot."""
    try:
        with torch.device("meta"):
            return factory()
    except SupernetError:
        raise
    except Exception as error:
        if isinstance(error, TypeError) and any(kind in str(error) for kind in ("ValueChoice", "Derived")):
            raise SupernetError(  # torch reads sizes without asking them, and refuses in words of its own
                f"a layer of torch was given a choice where it needs a number ({str(error)[:120]}); use a layer of "
                "supernet instead: supernet.Conv2d, Linear, Norm, Attention, Repeat ..."
            ) from None
        return factory()


class _Reader:
    """Walks a network once; `met` has for each choice its name and the branch in which it was found first."""

    def __init__(self) -> None:
        self.shared: dict[str, _Node] = {}
        self.met: dict[Undecided, tuple[str, Branch]] = {}
        self._nodes: dict[Undecided, _Node] = {}
        self._repeats: set[Repeat] = set()

    def read(self, module: nn.Module, prefix: str, branch: Branch) -> list[_Node]:
        """The nodes below `module` that `branch` opens directly."""
        nodes: list[_Node] = []
        # A module's own values first, wherever they were set: its other children may use them.
        children = sorted(module.named_children(), key=lambda item: not isinstance(item[1], ValueChoice))
        for name, child in children:
            path = f"{prefix}{name}"
            if isinstance(child, Choice):
                nodes += self._module_choice(child, path, branch)
            elif isinstance(child, Repeat):
                nodes += self._repeat(child, path, branch)
            else:
                nodes += self._values(child, path, branch)
                if not isinstance(child, ValueChoice | Derived):
                    nodes += self.read(child, f"{path}/", branch)
        return nodes

    def _values(self, child: nn.Module, path: str, branch: Branch) -> list[_Node]:
        choices = choices_of(child)
        unnamed = [choice for choice in choices if choice not in self.met and choice.share is None]
        nodes: list[_Node] = []
        for choice in choices:
            name = path if len(unnamed) < 2 or choice not in unnamed else f"{path}/{unnamed.index(choice)}"
            nodes += self._enter(choice, name, branch)
        return nodes

    def _module_choice(self, choice: Choice, path: str, branch: Branch) -> list[_Node]:
        if choice.mark == "fixed":
            name = choice.names[choice.default]
            return self.read(_holder(choice.options[name]), f"{path}/{name}/", branch)
        if choice in self.met:
            return self._enter(choice, path, branch)
        new = self._enter(choice, path, branch)
        node, path = self._nodes[choice], choice.share or path
        first = self.shared[choice.share] if choice.share else node  # a later place of a share has names of its own
        for name, option in choice.options.items():
            node.opens[name] = self.read(_holder(option), f"{path}/{name}/", (*branch, f"{path}/{name}"))
        if choice.share:
            _same(choice.share, first, node)
        return new

    def _repeat(self, repeat: Repeat, path: str, branch: Branch) -> list[_Node]:
        if repeat in self._repeats:
            return []
        self._repeats.add(repeat)
        counts = [c for c in choices_of(repeat.count) if c.mark != "fixed"]
        nodes: list[_Node] = []
        if isinstance(repeat.count, Undecided | Derived):
            nodes = self._values(repeat.count, f"{path}/count", branch)
        if not counts:
            return nodes + [n for i, block in repeat.blocks() for n in self.read(_one(i, block), f"{path}/", branch)]
        if len(counts) > 1:
            raise SupernetError(f"the count of the Repeat at {path!r} depends on {len(counts)} choices; it may on one")
        node = self._nodes[counts[0]]
        node = self.shared[node.choice.share] if node.choice.share else node
        for i, block in repeat.blocks():
            reached = (f"{path}/{j}" for j in range(i + 1))  # whoever runs this block runs those before it
            below = self.read(_one(i, block), f"{path}/", (*branch, *reached))
            for at, name in enumerate(counts[0].names):
                if value_of(repeat.count, {counts[0]: at}) > i:
                    node.opens.setdefault(name, []).extend(below)
        return nodes

    def _enter(self, choice: Undecided, path: str, branch: Branch) -> list[_Node]:
        """The new node of a choice that was not met before, or none."""
        if choice.mark == "fixed":
            return []
        if choice in self.met:
            where = self.met[choice][1]
            if choice.share is None and branch[: len(where)] != where:
                raise SupernetError(
                    f"the Choice at {path!r} stands in two options, or in and out of one; give it a share"
                )
            return []
        self.met[choice] = choice.share or path, branch
        self._nodes[choice] = node = _Node(choice, choice.share or path)
        if choice.share is None:
            return [node]
        first = self.shared.setdefault(choice.share, node)
        if isinstance(choice, ValueChoice):
            _same(choice.share, first, node)
        return []


def _same(share: str, one: _Node, other: _Node) -> None:
    values = getattr(one.choice, "values", ()), getattr(other.choice, "values", ())
    # equal dicts may differ in their order
    if values[0] != values[1] or repr(_decision(one, share, "")) != repr(_decision(other, share, "")):
        raise SupernetError(f"choices that share {share!r} must have the same options in the same order and k")


def _holder(option: nn.Module) -> nn.Module:
    """A module whose children are searched for an option's choices: an option may itself be a choice or a layer."""
    return nn.ModuleDict({"choice": option}) if isinstance(option, Undecided | Repeat) else option


def _one(place: int, block: nn.Module) -> nn.Module:
    return nn.ModuleDict({str(place): block})


def _decision(node: _Node, name: str, prefix: str) -> Decision:
    """The decision called `name` below the path `prefix`; its group is the node's name where the path is another."""
    choice, path = node.choice, prefix + name
    below = {
        option: tuple(_decision(deeper, name, f"{path}/{option}/") for deeper, name in _named(node, option))
        for option in choice.names
    }
    group = "" if path == node.site else node.site
    mark: Mark = "searchable" if choice.mark == "searchable" else "trainable"
    default = choice.names[choice.default] if choice.default else ""
    if isinstance(choice, ValueChoice) and choice.range is not None:
        r = choice.range
        return Integer(name, r[0], r[-1], r.step, opens=below, group=group, mark=mark, default=default)
    if choice.k > 1:
        return KOf(name, below, k=choice.k, group=group, mark=mark, default=default)
    return OneOf(name, below, group=group, mark=mark, default=default)


def _named(parent: _Node, option: str) -> list[tuple[_Node, str]]:
    """The nodes that an option opens, with their names below it; whole where two would be called the same."""
    nodes = parent.opens.get(option, [])
    names = [_below(parent, option, node) for node in nodes]
    return list(zip(nodes, names if len(set(names)) == len(names) else [n.site for n in nodes], strict=True))


def _below(parent: _Node, option: str, node: _Node) -> str:
    """The name of a node below its parent's option: without what the parent's path says already."""
    for known in (f"{parent.site}/{option}/", f"{parent.site.rpartition('/')[0]}/"):
        if node.site.startswith(known):
            return node.site.removeprefix(known)
    return node.site
