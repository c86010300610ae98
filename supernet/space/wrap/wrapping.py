"""`wrap(model, rules)`: any network as a space, by pattern and without an edit.

    model = timm.create_model("efficientnet_b0", pretrained=True, num_classes=10)
    space = wrap(model, {"blocks.*.conv_dw": {"k5": kernel(5), "k7": kernel(7), "skip": identity}})

Each module that a rule matches becomes a `Choice` named by its path. Its first option and default, "original", is the
module itself with its weights; a genotype that takes it everywhere gives the model back, bit for bit.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from ...errors import SupernetError
from ..choice_base import Undecided
from ..space import Space
from .choice import WrappedChoice, is_plain
from .described import described
from .dry_run import Example, dry_run, first_line, make_example
from .rules import ORIGINAL, Rules, Site, find_sites

__all__ = ["place", "wrap"]


def wrap(
    model: nn.Module,
    rules: Rules,
    *,
    example: Example = None,
    name: str | None = None,
    arguments: Mapping[str, object] | None = None,
) -> Space:
    """The space of `model` with alternatives for the modules that `rules` match; `model` itself stays as it is.

    `rules` maps a glob over module names ("layer*.conv2"; `*` crosses dots) or a predicate (name, module) -> bool to
    alternatives: a name for each, and a function of the original module. It is handed a copy, which it may take apart,
    and returns a module, or None where there is no such alternative for this one. Ready ones are `kernel(5)`,
    `depthwise`, `operation("sep_conv_3x3")`, `width(0.5)`, `bottleneck(0.5)`, `identity` and `without`.

    `example` is one input's shape (C, H, W) or a batch [B, ...] for the dry run; None: the size that timm notes.
    `name` is the space's (None: timm's name of the model, else its class). `arguments` are those that the model was
    made with beside num_classes and in_chans; a file of the space, and so an export, needs them.

    The model keeps its head: make it for the data, `timm.create_model(..., num_classes=10, in_chans=1)`. Retraining a
    genotype goes on from the model's weights where the original or a copy of it is taken.

    A module under several names is one choice in all of them. Code around a module may read plain attributes of it that
    all options share (`conv.out_channels`); alternatives without one are given the original's. Raises SupernetError by
    name for rules that match nothing or overlap, and for everything that the dry run refuses: see dry_run.py.
    """
    if not isinstance(model, nn.Module):
        raise SupernetError(f"wrap takes a network, such as timm.create_model(...), not {model!r:.60}")
    if any(isinstance(module, Undecided) for module in model.modules()):
        raise SupernetError("this network has choices already; wrap takes one without, or give Space its class")
    sites = find_sites(model, rules)
    x = make_example(model, example)
    template = _copied(model)
    net, choices = place(template, sites, {})
    _refuse_idle(sites, choices)
    reads = dry_run(template, net, choices, x)
    del net, choices

    return Space(_Wrapped(template, sites, reads, rules, arguments or {}), name=name or _name(model))


class _Wrapped:
    """Makes the network of a wrapped space from the weights of the model that was wrapped."""

    def __init__(
        self,
        template: nn.Module,
        sites: Sequence[Site],
        reads: Mapping[str, set[str]],
        rules: Rules,
        arguments: Mapping[str, object],
    ) -> None:
        self._template, self._sites, self._reads = template, sites, reads
        self._rules, self._arguments = rules, arguments

    def __call__(self) -> nn.Module:
        """The network, its choices undecided."""
        return place(self._template, self._sites, self._reads)[0]

    def written_form(self) -> dict[str, object]:
        """The body of a space file; raises SupernetError for what is no data."""
        return {"wrap": described(self._template, self._rules, self._reads, self._arguments)}


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise SupernetError(f"{type(model).__name__} cannot be copied by copy.deepcopy: {first_line(error)}") from error


def _name(model: nn.Module) -> str:
    noted = getattr(model, "pretrained_cfg", None)
    known = noted.get("architecture") if isinstance(noted, Mapping) else None
    return known or type(model).__name__


def place(
    template: nn.Module, sites: Sequence[Site], reads: Mapping[str, set[str]]
) -> tuple[nn.Module, list[WrappedChoice]]:
    """A copy of `template` with a choice at each site, and those; sites without alternatives stay as they are."""
    net = copy.deepcopy(template)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))  # else whatever torch.device() is set to
    choices = []
    for site in sites:
        original = net.get_submodule(site.name)
        options = {ORIGINAL: original, **dict(_alternatives(site, original, device))}
        if len(options) == 1:
            continue
        for option in options.values():
            for name in reads.get(site.name, ()):
                if not hasattr(option, name) and is_plain(value := getattr(original, name, None)):
                    setattr(option, name, value)
        try:
            choices.append(WrappedChoice(options, place=site.name))
        except SupernetError as error:
            reason, twins, _ = str(error).partition("; was a loop variable")  # which is no question here
            hint = "; options must differ in more than their weights: return another module, or None to leave it out"
            raise SupernetError(f"module {site.name!r}: {reason}{hint if twins else ''}") from None
        for place in site.names:
            parent, _, leaf = place.rpartition(".")
            setattr(net.get_submodule(parent), leaf, choices[-1])
    return net, choices


def _alternatives(site: Site, original: nn.Module, device: torch.device) -> Iterator[tuple[str, nn.Module]]:
    """Each alternative on `device`, of the original's type and in its mode."""
    own = next((p for p in original.parameters() if p.is_floating_point()), None)
    for name, make in site.alternatives.items():
        where = f"module {site.name!r}, option {name!r}"
        try:
            with device:
                alternative = make(copy.deepcopy(original))
        except Exception as error:
            raise SupernetError(f"{where}: {first_line(error)}") from error
        if alternative is None:
            continue
        if not isinstance(alternative, nn.Module):
            raise SupernetError(
                f"{where}: the function gives {type(alternative).__name__}; let it return a module, or None"
            )
        yield name, (alternative if own is None else alternative.to(own.dtype)).train(original.training)


def _refuse_idle(sites: Sequence[Site], choices: Sequence[WrappedChoice]) -> None:
    """Raises SupernetError for a rule that has left every module it matches without an alternative."""
    used = {choice.place for choice in choices}
    busy = {site.rule for site in sites if site.name in used}
    for site in sites:
        if site.rule not in busy:
            raise SupernetError(
                f"rule {site.rule} leaves {site.name!r} and whatever else it matches without an alternative: each one "
                "would be the original again"
            )
