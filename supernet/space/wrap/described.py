"""A wrapped network as data: the name by which timm or an import makes it again, and its rules."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from ...errors import SupernetError
from ..form.classes import path_of
from .rules import Rules
from .written import write_rules

__all__ = ["described"]


def described(
    model: nn.Module, rules: Rules, reads: Mapping[str, set[str]], arguments: Mapping[str, object]
) -> dict[str, object]:
    """The body `wrap` of a space file for `model`.

    Raises SupernetError for rules that are Python code, and where name and `arguments` make another network.
    """
    written: dict[str, object] = {"rules": write_rules(rules)}
    noted = getattr(model, "pretrained_cfg", None)
    name = noted.get("architecture") if isinstance(noted, Mapping) else None
    made = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
    if name and type(model).__module__.startswith("timm."):
        import timm  # late: it imports torchvision

        if isinstance(classes := getattr(model, "num_classes", None), int):
            made.setdefault("num_classes", classes)
        stem = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        if stem is not None and stem.groups == 1:
            made.setdefault("in_chans", stem.in_channels)
        factory: Callable[..., nn.Module] = timm.create_model
        source = {"model": name}
        again = _shapes(lambda: factory(name, **{k: tuple(v) if isinstance(v, list) else v for k, v in made.items()}))
    else:
        path = path_of(type(model))
        if not path:
            raise SupernetError(
                f"the class {type(model).__name__} of the wrapped network has no import path, so no file can name it: "
                "put the class at the top of a module"
            )
        source = {"class": path}
        again = _shapes(lambda: type(model)(**made))
    if again != {key: tuple(value.shape) for key, value in model.state_dict().items()}:
        raise SupernetError(
            f"{next(iter(source.values()))} with {made} is another network than the wrapped one, so no file can "
            "describe it: give wrap the arguments that it was made with, arguments={...}"
        )
    found = {place: sorted(names) for place, names in reads.items() if names}
    return {**source, **({"arguments": made} if made else {}), **written, "reads": found}


def _shapes(make: object) -> dict[str, tuple[int, ...]] | None:
    """The shapes of the state of what `make` gives; None where it fails."""
    assert callable(make)
    try:
        with torch.device("meta"):
            return {key: tuple(value.shape) for key, value in make().state_dict().items()}
    except Exception:  # of any kind: the class is not ours
        return None
