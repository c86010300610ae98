"""The body `wrap` of a space file: an existing network by name, and the rules that give its modules alternatives.

wrap:
  model: resnet18                        a name of timm, or `class: mypkg.nets.Net`, which the caller must allow
  arguments: {num_classes: 10}           what the model is made with; num_classes and in_chans follow the data
  pretrained: true                       start from timm's weights
  example: [3, 64, 64]                   one input's shape for the dry run; else what timm notes
  rules: {"layer*.conv1": {k5: {kernel: 5}, skip: identity}}
  reads: {layer1.0.conv1: [out_channels]}   found by the dry run, which is then left out
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from ...errors import SupernetError, short, unknown
from ..form.classes import find_class
from ..form.fields import FormError, brief, fields, mapping, plain, text, whole
from .dry_run import dry_run, make_example
from .rules import Site, find_sites
from .wrapping import place
from .written import read_rules

__all__ = ["WrapForm"]

# Arguments of timm's factory that name files or other sources: a document brings none.
_REFUSED = ("pretrained", "checkpoint", "cache", "scriptable", "exportable", "features_only", "no_jit", "file", "url")
_MOST = {"num_classes": 1_000_000}
_MOST_SIZE = 4096


class WrapForm:
    """A wrapped network as it is written, and a function that builds it with its choices undecided."""

    sized_by_file = True  # see network/bounded.py

    def __init__(self, data: object, allow: tuple[str, ...], label: str) -> None:
        allowed = ("model", "class", "arguments", "pretrained", "example", "rules", "reads")
        own = fields(data, "wrap", allowed, required=("rules",))
        if ("model" in own) == ("class" in own):
            raise FormError("wrap: it takes a model of timm by name, or a class by its import path")
        self.rules = read_rules(own["rules"])
        self.document: dict[str, object] = dict(own)
        self.made = {
            key: _argument(key, value) for key, value in mapping(own.get("arguments", {}), "wrap.arguments").items()
        }
        pretrained = own.get("pretrained", False)
        if not isinstance(pretrained, bool) or (pretrained and "class" in own):
            raise FormError("wrap.pretrained must be true or false; a class has no weights to load")
        self.arguments: dict[str, object] = dict(self.made)
        if "model" in own:
            self.model, self.base = text(own["model"], "wrap.model"), None
            _check_timm(self.model)
            self.arguments = {"num_classes": None, "in_chans": 3, **self.made, "pretrained": pretrained}
            if self.arguments["num_classes"] is None:
                del self.arguments["num_classes"]
                self.arguments = {"num_classes": 1000, **self.arguments}
        else:
            self.model, self.base = "", find_class(own["class"], allow, "wrap.class")
            known = inspect.signature(self.base).parameters
            self.arguments = {k: known[k].default for k in ("num_classes", "in_chans") if k in known} | self.made
        self.__name__ = self.__qualname__ = label
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in self.arguments.items()]
        )
        self.reads = _reads(own["reads"]) if "reads" in own else self._dry_run(own.get("example"))

    def __call__(self, **arguments: object) -> nn.Module:
        """The network, each module that a rule matches a choice."""
        net = self._made(**{**self.arguments, **arguments})
        return place(net, find_sites(net, self.rules), self.reads)[0]

    def written_form(self) -> dict[str, object]:
        """The body of the document."""
        reads = {where: sorted(names) for where, names in self.reads.items() if names}
        return {"wrap": {**self.document, "reads": reads}}

    def _made(self, **arguments: object) -> nn.Module:
        if self.base is not None:
            return self.base(**arguments)
        import timm  # late: it imports torchvision

        make: Callable[..., nn.Module] = timm.create_model
        wanted = bool(arguments.pop("pretrained", False)) and torch.get_default_device().type != "meta"
        try:
            return make(self.model, pretrained=wanted, **arguments)
        except SupernetError:
            raise
        except Exception as error:  # of any kind: hub, files, and timm's own models
            what = f"the weights of {self.model!r} are not to be had" if wanted else f"wrap.model {self.model!r}"
            hint = "; model.pretrained=false starts without them" if wanted else ""
            raise FormError(f"{what}: {brief(str(error), 160)}{hint}") from None

    def _dry_run(self, example: object) -> dict[str, set[str]]:
        shape: Sequence[int] | None = None
        if example is not None:
            if not isinstance(example, list) or len(example) != 3:
                raise FormError(f"wrap.example: {brief(example)} must be the shape of one input, such as [3, 32, 32]")
            shape = [whole(size, "wrap.example", 1, _MOST_SIZE) for size in example]
        model = self._made(**{**self.arguments, **({"pretrained": False} if self.model else {})})
        sites: list[Site] = find_sites(model, self.rules)
        net, choices = place(model, sites, {})
        if not choices:
            raise FormError("wrap.rules leave every module that they match without an alternative")
        return dry_run(model, net, choices, make_example(model, shape))


def _check_timm(model: str) -> None:
    import timm

    if ":" in model or "/" in model or not timm.is_model(model):
        raise FormError(f"wrap.model: {unknown('model of timm', model[:80], timm.list_models(), most=4)}")
    if model.startswith("sn_"):
        raise FormError(f"wrap.model: {model[:80]!r} is a found network; wrap takes a model of timm")


def _argument(key: str, value: object) -> object:
    where = f"wrap.arguments.{key[:60]}"
    if not key.isidentifier() or any(word in key for word in _REFUSED):
        raise FormError(f"{where}: a space file gives a model no such argument")
    items = value if isinstance(value, list) else [value]
    for item in items:
        plain(item, where)
        if isinstance(item, int) and abs(item) > _MOST.get(key, _MOST_SIZE):
            raise FormError(f"{where}: {short(str(item), 40)} must be at most {_MOST.get(key, _MOST_SIZE)}")
    return tuple(value) if isinstance(value, list) else value


def _reads(data: object) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for where, names in mapping(data, "wrap.reads").items():
        if not isinstance(names, list) or not all(isinstance(n, str) and n.isidentifier() for n in names):
            raise FormError(f"wrap.reads.{where[:60]}: {brief(names)} must be a list of attributes")
        read = {n for n in names if isinstance(n, str)}
        if any(n.startswith("_") for n in read):
            raise FormError(f"wrap.reads.{where[:60]}: attributes of Python itself are not read")
        found[where] = read
    return found
