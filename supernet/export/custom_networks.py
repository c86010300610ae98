"""How the card says that a network of one's own is loaded: with its class, its YAML file, or the call of `wrap`."""

import sys
from collections.abc import Mapping
from functools import partial

from ..space import Genotype, Space
from ..space.form.network import NetworkForm
from .data_facts import Arguments

__all__ = ["how_to_load"]

_TEXT = """The network is of its author's own space {space!r}, which timm does not know. {means}:

```python
{imports}

{before}model = build_from({space_code}, Genotype.load("genotype.json"){arguments})
model.load_state_dict(load_file("model.safetensors"))
```"""
_IMPORTS = (
    "from safetensors.torch import load_file",
    "from supernet import Genotype, Space",
    "from supernet.network import build_from",
)


def how_to_load(genotype: Genotype, arguments: Arguments, net: type, space: Space | None) -> str:
    """The section of the card; `net` is the class of the exported network.

    Without `space`, what was decided is taken to be of the class that the space was made from, if it is not timm's.
    """
    factory: object = net if space is None else space.factory
    bound: Arguments = {}
    positional: tuple[object, ...] = ()
    if isinstance(factory, partial):
        bound, positional, factory = factory.keywords, factory.args, factory.func
    module = str(getattr(factory, "__module__", ""))
    before, means, imports, space_code = "", "With that class", list(_IMPORTS), "space"
    if factory is None or (space is None and module.startswith("supernet.")):
        means = "With that space"
        before = "space = ...  # as the search was given it: Space.from_yaml(...), or what made it in Python\n"
    elif module.startswith("timm.") if space is None else module.startswith("supernet.space.wrap"):
        means = "It is an existing network with alternatives, so make that network and the space again"
        before = "space = wrap(model, rules)  # the network, the rules and the name that the search was given\n"
        imports[1:2] = ["from supernet import Genotype", "from supernet.space.wrap import wrap"]
    elif isinstance(factory, NetworkForm):
        means = "With the YAML file of the space"
        before = 'space = Space.from_yaml("space.yaml")  # the file that the search was given\n'
    else:
        name, line = _name(factory)
        if line:
            imports.append(line)
        else:
            means = f"With `{name}`, which its author's script defines"
        call = [*map(_code, positional), *(f"{key}={_code(value)}" for key, value in bound.items())]
        if call:
            imports.insert(0, "from functools import partial\n")
            name = f"partial({', '.join([name, *call])})"
        space_code = f"Space({', '.join([name, *_header(genotype, net)])})"
    more_arguments = "".join(f", {key}={_code(value)}" for key, value in arguments.items())
    lines = "\n".join(imports)
    return _TEXT.format(
        space=genotype.space, means=means, imports=lines, before=before, space_code=space_code, arguments=more_arguments
    )


def _name(factory: object) -> tuple[str, str]:
    """(expression, line that imports it); no line where it cannot be imported: a script's own, or one in a function."""
    module, path = getattr(factory, "__module__", None) or "", getattr(factory, "__qualname__", type(factory).__name__)
    there: object = sys.modules.get(module)
    for part in path.split("."):
        there = getattr(there, part, None)
    if there is factory and module != "__main__":
        return path, f"from {module} import {path.partition('.')[0]}"
    short = path.rpartition(".")[2]
    return (short if short.isidentifier() else "make_network"), ""


def _header(genotype: Genotype, net: type) -> list[str]:
    """What `Space(Net)` does not find by itself."""
    own = {"name": genotype.space, "version": genotype.version, "args": dict(genotype.args)}
    usual = {"name": net.__name__, "version": 1, "args": {}}
    return [f"{key}={value!r}" for key, value in own.items() if value != usual[key]]


def _code(value: object) -> str:
    """The value as Python writes it; `...` for what has no such form."""
    plain = value is None or isinstance(value, bool | int | float | str)
    if isinstance(value, list | tuple):
        plain = all(_code(item) != "..." for item in value)
    if isinstance(value, Mapping):
        plain = all(_code(item) != "..." for pair in value.items() for item in pair)
    return repr(value) if plain else "..."
