"""An exported model: a folder in timm's and Hugging Face's layout, whole or absent.

    model.safetensors   weights            config.json   what timm.create_model("local-dir:...", pretrained=True) reads
    genotype.json       the architecture   README.md     the model card
    cell-normal.png ... drawings of it, which the card shows, where they were handed over

Written aside in the same parent folder, flushed, and renamed.
"""

import inspect
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.utils import unwrap_model
from torch import Tensor, nn

from ..cost import flops
from ..errors import SupernetError
from ..files import MOST_RECORD, put_folder, read_text, refuse_links, tmp_path
from ..network import build_from
from ..network.macro import macro_of
from ..space import SPACES, Genotype, Space, space_of
from ..space.form import read_space
from .card import CLASSIFICATION, write_card
from .custom_networks import how_to_load
from .data_facts import Arguments, DataFacts, classes_of, complete
from .input_size import img_size_of
from .opened import written_space
from .opened.spaces import class_of
from .timm_entry import check_reads_images, classifier_of, first_conv, has_timms_interface

__all__ = ["export_model"]

FILES = ("README.md", "config.json", "genotype.json", "model.safetensors")
PICTURE = re.compile(r"(cell-[A-Za-z0-9_-]+|decisions)\.png")
# How a network was trained, not what it is: whoever fine-tunes it chooses anew.
_TRAINING_ONLY = ("auxiliary", "drop_path_rate", "drop_rate", "pretrained", "seed")


def export_model(
    model: nn.Module,
    genotype: Genotype,
    folder: str | os.PathLike[str],
    *,
    arguments: Arguments | None = None,
    data: DataFacts | None = None,
    metrics: Mapping[str, object] | None = None,
    pictures: Mapping[str, bytes] | None = None,
    space: Space | None = None,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Writes `model` to `folder`, replacing an earlier export there, and returns the folder's absolute path.

    `arguments` are those that `build(genotype, ...)` made the model with. `data` may hold `name`, `mean` and `std` per
    channel for values in [0, 1], `input_size` (channels, height, width), `class_names`, `interpolation`, `crop_pct`,
    and for another task than classification `task` and the metric that `selects`.
    `metrics` are shown in the model card, nothing else is claimed there, and `pictures`, PNG files by a name such as
    cell-normal.png. `space` is that of a network of one's own, whose card then says how it is made again. `check` is
    called with the written folder before it gets its name: what it raises leaves nothing behind. Weights are stored in
    float32, the auxiliary head is left out; `model` is left as it was.
    Raises SupernetError where the arguments do not rebuild the model, for unknown keys or impossible values in `data`,
    and where `folder` holds anything but an earlier export.
    """
    net = unwrap_model(model)
    target = _target(folder)
    known = genotype.space in SPACES  # else a network of the user's own, which the folder brings as data
    form = None if known else written_space(space)
    if known:
        check_reads_images(genotype)
    dropped = [name for name in net.state_dict() if known and name.startswith("auxiliary.")]
    state = {name: value for name, value in _state(net).items() if name not in dropped}
    network: Arguments = dict(_arguments(genotype, arguments or {}, net) if known else arguments or {})
    if known:
        _check_rebuilds(space_of(genotype), genotype, network, state)
    elif form is not None:
        network = _brought(form, genotype, network, state)
    facts = complete(data or {}, net, network)
    drawn = _pictures(pictures or {})
    card = write_card(
        genotype,
        title=str(facts.get("name") or genotype.space) + " " + genotype.hash[:8],
        parameters=sum(p.numel() for name, p in net.named_parameters() if name not in dropped),
        arguments=network,
        data=facts,
        metrics=metrics,
        dropped=["the auxiliary head"] if dropped else [],
        macs=_macs(genotype, network, data or {}) if known else None,
        pictures=list(drawn),
        own="" if known or form else how_to_load(genotype, network, type(net), space),
        allow=(class_of(form) or "") if form else "",
        keeps_head=not has_timms_interface(net),
    )
    texts = {
        "config.json": _json(_config(net, genotype, network, facts, form)),
        "genotype.json": genotype.to_json(),
        "README.md": card,
    }
    _write(target, {name: text.encode() for name, text in texts.items()} | drawn, state, check)
    return target


def _brought(form: str, genotype: Genotype, network: Arguments, state: Mapping[str, Tensor]) -> Arguments:
    """The arguments of a network whose space the folder brings, once they are known to rebuild it."""
    own_class = class_of(form)
    space = read_space(form, [own_class] if own_class else [])
    known = inspect.signature(macro_of(space).discrete).parameters
    told: Arguments = {key: known[key].default for key in ("num_classes", "in_chans") if key in known}
    arguments = {key: value for key, value in {**told, **network}.items() if key != "pretrained"}
    _check_rebuilds(space, genotype, arguments, state)
    return arguments


def _write(
    target: Path, files: Mapping[str, bytes], state: dict[str, Tensor], check: Callable[[Path], None] | None
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = tmp_path(target)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        for name, content in files.items():
            (aside / name).write_bytes(content)
        save_file(state, aside / "model.safetensors", metadata={"format": "pt"})
        os.chmod(aside / "model.safetensors", (aside / "config.json").stat().st_mode & 0o777)  # safetensors gives 0600
        if check is not None:
            _checked(check, aside, target)
        put_folder(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _checked(check: Callable[[Path], None], aside: Path, target: Path) -> None:
    """Runs `check`; what it says of the folder `aside`, which goes now, is said of the export `target`."""
    try:
        check(aside)
    except SupernetError as error:
        reason = str(error).replace(str(aside), "the export")
        raise SupernetError(f"{reason}; nothing was written to {target}") from None


def _state(net: nn.Module) -> dict[str, Tensor]:
    """The weights as safetensors takes them: on the CPU, contiguous, each with a memory of its own."""
    state = {}
    for name, value in net.state_dict().items():
        if not isinstance(value, Tensor):
            raise SupernetError(f"the state {name!r} of the model is no tensor; a safetensors file cannot hold it")
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        state[name] = torch.empty(value.shape, dtype=dtype).copy_(value.detach())
    return state


def _arguments(genotype: Genotype, arguments: Arguments, net: nn.Module) -> Arguments:
    """All that the network's class must be told, defaults too: those of a later version may be others."""
    parameters = inspect.signature(macro_of(space_of(genotype)).discrete).parameters.values()
    whole = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | dict(arguments)
    # timm's methods may have changed the head since the network was built.
    head = {
        "num_classes": getattr(net, "num_classes", None),
        "global_pool": getattr(getattr(net, "global_pool", None), "pool_type", None),
    }
    whole |= {key: value for key, value in head.items() if value is not None}
    return {key: value for key, value in whole.items() if key not in _TRAINING_ONLY}


def _check_rebuilds(space: Space, genotype: Genotype, arguments: Arguments, state: Mapping[str, Tensor]) -> None:
    with torch.device("meta"):
        fresh = build_from(space, genotype, **arguments).state_dict()
    for name in sorted(fresh.keys() | state.keys()):
        there, here = fresh.get(name), state.get(name)
        if there is None or here is None or there.shape != here.shape:
            sizes = [tuple(t.shape) if t is not None else "none" for t in (here, there)]
            raise SupernetError(
                f"the arguments {dict(arguments)} do not rebuild this model: {name!r} is {sizes[0]} in the model and "
                f"{sizes[1]} in build(genotype, ...); give export_model the arguments that the model was built with"
            )


def _config(
    net: nn.Module, genotype: Genotype, arguments: Arguments, data: DataFacts, form: str | None
) -> dict[str, object]:
    """The content of config.json, in timm's layout; without an architecture where timm cannot open it."""
    pretrained: dict[str, object] = {
        "custom_load": False,
        "fixed_input_size": img_size_of(arguments) is not None,
        "input_size": data["input_size"],
        "interpolation": data["interpolation"],
        "crop_pct": data["crop_pct"],
        "mean": data["mean"],
        "std": data["std"],
        "pool_size": None,
        "first_conv": first_conv(net),
        "classifier": classifier_of(net),
    }
    config: dict[str, object] = {"architecture": "sn_cellnet"} if form or genotype.space in SPACES else {}
    for key, value in (
        ("num_classes", classes_of(net, arguments)),
        ("num_features", getattr(net, "num_features", None)),
    ):
        if isinstance(value, int):
            config[key] = value
    if "num_classes" in config:  # timm puts a new head where this differs from the number that the network has
        pretrained["num_classes"] = config["num_classes"]
    task = data.get("task", CLASSIFICATION)
    if task != CLASSIFICATION:
        config["task"] = task
    config |= {key: data[key] for key in ("target_mean", "target_std") if key in data}
    if names := data.get("class_names"):
        config["target_names" if task == "regression" else "label_names"] = names
    brought = {"space": form} if form else {}
    config["model_args"] = {"genotype": json.loads(genotype.to_json()), **brought, **arguments}
    config["pretrained_cfg"] = pretrained
    return config


def _macs(genotype: Genotype, arguments: Arguments, data: DataFacts) -> int | None:
    """Multiply-adds of one image; None where nobody told its size, about which the card then claims nothing."""
    return flops(genotype, image=data["input_size"], **arguments) // 2 if data.get("input_size") else None


def _pictures(pictures: Mapping[str, bytes]) -> dict[str, bytes]:
    for name in pictures:
        if not PICTURE.fullmatch(name):
            raise SupernetError(f"the picture {name[:60]!r} must be called cell-KIND.png or decisions.png")
    return dict(pictures)


def _json(value: object) -> str:
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise SupernetError(f"the arguments of the network must be plain JSON values: {error}") from None


def _target(folder: str | os.PathLike[str]) -> Path:
    """The folder's real path, after checking that nothing but an earlier export would be replaced."""
    target = Path(folder).expanduser().resolve()
    if not target.exists():
        return target
    held = sorted(entry.name for entry in target.iterdir()) if target.is_dir() else None
    if held is None or (held and not _is_export(target, held)):
        foreign = ", ".join(name for name in held or () if name not in FILES)
        there = "a file" if held is None else f"a folder with {foreign or held}"
        raise SupernetError(
            f"{target} is {there[:120]}, no earlier export, and is not overwritten; name another folder or move it"
        )
    return target


def _is_export(folder: Path, held: list[str]) -> bool:
    """Whether a folder with these entries is a whole export: all its files, no others, and its record is of them."""
    if not {*FILES} <= {*held} or any(name not in FILES and not PICTURE.fullmatch(name) for name in held):
        return False
    try:
        refuse_links(folder)
        record = json.loads(read_text(folder / "config.json", MOST_RECORD))["model_args"]["genotype"]
        return Genotype.from_json(json.dumps(record)) == Genotype.load(folder / "genotype.json")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # ValueError: no JSON, no genotype, a link
        return False
