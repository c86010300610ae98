"""Parameters and FLOPs of the network that a run is about, by its own arguments and the size of its data."""

import inspect
from collections.abc import Mapping

from ...cost import report
from ...errors import SupernetError
from ...network.macro import macro_of
from ...runs.reading import RunRecord
from ...runs.shapes import as_written
from ...space import Genotype, Space

__all__ = ["cost_of"]


def cost_of(run: RunRecord, space: Space, genotype: Genotype) -> dict[str, object]:
    """`parameters`, `flops` (of one input, two a multiply-add) and `of`, the network that they are of, in words.

    A search's genotype is counted as a network of the search's own size; that of a retraining without its auxiliary
    head. Raises SupernetError where the folder does not tell a size, or where the network does not take it.
    """
    with as_written(run.path, "what a run keeps of its network"):
        arguments, image = _size(run)
    taken = inspect.signature(macro_of(space).discrete).parameters
    arguments = {key: value for key, value in arguments.items() if key in taken and key != "auxiliary"}
    counted = report(genotype, image=image, space=space, **arguments)
    pixels = " x ".join(map(str, image))
    named = ", ".join(f"{key} {arguments[key]}" for key in ("channels", "layers") if key in arguments)
    size = "of the size of the search" if run.stage == "search" else "as it was retrained"
    words = f"the network {size}{f' ({named})' if named else ''}, input {pixels}"
    return {"parameters": counted["parameters"], "flops": counted["flops"], "of": words}


def _size(run: RunRecord) -> tuple[Mapping[str, object], list[int]]:
    """(the network's arguments, the shape of an input)"""
    if run.stage == "retrain" and run.result is not None:
        return dict(run.result["arguments"]), [int(n) for n in run.result["data"]["input_size"]]
    image, classes = run.data.get("image"), run.data.get("classes")
    if not isinstance(image, list) or len(image) != 3:
        raise SupernetError(f"{run.path} does not tell the size of its images")
    outputs = classes or run.data.get("outputs") or {}
    known = {"in_chans": image[0], **({"num_classes": len(outputs)} if outputs else {})}
    return {**run.config["network"], **known}, [int(n) for n in image]
