"""What stands behind every model that is registered with timm: a genotype and the arguments of its macro structure.

Genotype and arguments may come from a stranger's config.json: they are checked against the registries, and nothing in
them is ever executed.
"""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models._builder import build_model_with_cfg
from torch import Tensor, nn

from ..arguments import MOST_OF_NETWORK
from ..errors import GenotypeError, SupernetError, unknown
from ..network import build_from
from ..network.macro import macro_of
from ..space import SPACES, Genotype, Space, published, space_of
from .data_facts import Arguments
from .input_size import img_size_of, resample_positions, sized
from .opened import fit_head, opened_space
from .stored import check_folder, check_shapes, folder_of

__all__ = [
    "GenotypeLike", "as_genotype", "check_reads_images", "classifier_of", "create_cellnet", "first_conv",
    "has_timms_interface",
]  # fmt: skip

GenotypeLike = Genotype | Mapping[str, object] | str | os.PathLike[str]


def as_genotype(value: GenotypeLike) -> Genotype:
    """The genotype of a JSON mapping, of the path of a .json file, of a published name, or `value` itself.

    Raises GenotypeError where it is none of these.
    """
    if isinstance(value, Genotype):
        return value
    if isinstance(value, Mapping):
        try:
            text = json.dumps(dict(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise GenotypeError(f"genotype mapping is not plain JSON: {str(error)[:120]}") from None
        return Genotype.from_json(text)
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.endswith(".json")):
        return Genotype.load(Path(value))
    if isinstance(value, str):
        return published(value)
    raise GenotypeError(
        f"genotype must be a Genotype, a JSON mapping, a .json path or a published name, not {type(value).__name__}"
    )


def check_reads_images(genotype: Genotype) -> None:
    """Raises SupernetError where the networks of the genotype's registered space read something else."""
    reads = getattr(macro_of(space_of(genotype)).discrete, "reads", "images")
    if reads != "images":
        raise SupernetError(
            f"timm holds image models, and networks of space {genotype.space!r} read {reads}; supernet.build(genotype, "
            "...) makes one, supernet.train.trained.trained_network(run) loads that of a retraining with its weights"
        )


def first_conv(net: nn.Module) -> str | None:
    """The path of the convolution that reads the image, which timm adapts to other input channels."""
    return next((name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)), None)


def has_timms_interface(net: nn.Module) -> bool:
    """Whether timm can change the classifier of `net`; networks of a written space (YAML) are plain chains."""
    return hasattr(net, "get_classifier")


def classifier_of(net: nn.Module) -> str | None:
    """The path of the last layer, which timm replaces for other classes; None where it cannot."""
    get = getattr(net, "get_classifier", None)
    if get is None:
        return None
    last = get()
    return next((name for name, module in net.named_modules() if module is last), "classifier")


def create_cellnet(variant: str, pretrained: bool, genotype: GenotypeLike, **kwargs: Any) -> nn.Module:
    """The network of `genotype` as timm's factory makes it, for the entry `variant`.

    `kwargs` are the arguments of the macro structure (`channels`, `num_classes`, ...) and those of timm's factory
    (`pretrained_cfg`, `features_only`, `out_indices`, ...). Raises SupernetError for unknown or impossible ones.
    """
    dtype, device = kwargs.pop("dtype", None), kwargs.pop("device", None)  # as timm's own models take them
    folder, record = folder_of(kwargs.get("pretrained_cfg")), kwargs.get("pretrained_model_args")
    if record is not None and str(record.get("genotype", ".json")).endswith(".json"):  # it would lead out of the folder
        raise SupernetError(
            "config.json names no genotype, or a file of one; exports hold theirs in model_args, as JSON"
        )
    point = as_genotype(genotype)
    written = kwargs.pop("space", None)
    if record is not None and folder is not None:
        check_folder(folder)
    if written is None and point.space not in SPACES:
        raise SupernetError(
            f"this is a network of its author's own class {point.space[:60]!r}, which timm cannot build; "
            "load it with that class, as the README.md of its folder says"
        )

    if written is None:
        check_reads_images(point)
    space = space_of(point) if written is None else opened_space(written, point)
    if record is not None:
        _check_record(record, folder, space)

    parameters = inspect.signature(macro_of(space).discrete).parameters

    def network(**typed: Any) -> nn.Module:
        arguments = dict(sized(typed, parameters, point.space))
        _bounded(arguments)
        if written is not None and "pretrained" in parameters:  # the folder's own weights follow
            arguments["pretrained"] = False
        if arguments.get("num_classes") == 0:
            arguments.pop("auxiliary", None)  # a second classifier of nothing
        net = build_from(space, point, **arguments)
        if not has_timms_interface(net):
            _check_kept_whole(
                point, pretrained, kwargs, any_classes=written is not None and "num_classes" in parameters
            )
        vars(net)["_traits"] = {"first_conv": first_conv(net)}  # the stem decides, not the entry
        return net

    if size := img_size_of(kwargs):  # else timm takes that of the weights
        kwargs.setdefault("img_size", size)
    if kwargs.get("features_only"):
        kwargs.setdefault("feature_cls", "getter")  # timm's default re-wires the modules in a row, which cells are not
        if "out_indices" not in kwargs:
            known = {key: value for key, value in kwargs.items() if key in {*parameters, "img_size"}}
            kwargs["out_indices"] = tuple(range(_resolutions(network, known)))
    model = build_model_with_cfg(network, variant, pretrained, pretrained_filter_fn=_fitter(kwargs), **kwargs)
    model = model.to(device=device, dtype=dtype)
    if not kwargs.get("features_only"):
        vars(model)["pretrained_cfg"] |= {"first_conv": first_conv(model), "classifier": classifier_of(model)}
    return model


def _fitter(kwargs: Arguments) -> Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]]:
    """What makes stored weights, of any shapes, fit the network that `kwargs` ask for."""
    cfg = kwargs.get("pretrained_cfg")
    stored = cfg.get("num_classes") if isinstance(cfg, Mapping) else getattr(cfg, "num_classes", None)

    def fit(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        fits = _fit(state, model)
        return fits if has_timms_interface(model) else fit_head(fits, model, stored)

    return fit


def _bounded(arguments: Arguments) -> None:
    for key, most in MOST_OF_NETWORK.items():
        value = arguments.get(key)
        if isinstance(value, int) and value > most:
            raise SupernetError(f"argument {key}={str(value)[:40]} of the network must be at most {most}")


def _check_record(record: Arguments, folder: Path | None, space: Space) -> None:
    """Raises SupernetError where what a config.json says of its network is none, or not that of its weights."""
    point = as_genotype(record["genotype"])
    known = inspect.signature(macro_of(space).discrete).parameters
    own = {key: value for key, value in record.items() if key not in ("genotype", "space")}
    arguments = dict(sized(own, known, point.space))
    if strange := [key for key in arguments if key not in known]:  # timm's own words may name other files
        raise SupernetError(unknown("argument in model_args of config.json:", strange[0], [*known][2:]))
    _bounded(arguments)
    if folder is not None:
        with torch.device("meta"):
            network = build_from(space, point, **arguments)
        head = [f"{name}." for name in (classifier_of(network), first_conv(network)) if name]
        check_shapes(folder, network, ("auxiliary.", *head))


def _check_kept_whole(point: Genotype, pretrained: bool, kwargs: Arguments, *, any_classes: bool = False) -> None:
    """Raises SupernetError where timm would take apart a network that lacks its functions for that."""
    reason = f"networks of space {point.space!r} lack timm's functions"
    if kwargs.get("features_only"):
        raise SupernetError(f"features_only=True: {reason}, so they give no features; open the whole network")
    cfg = kwargs.get("pretrained_cfg")
    stored = cfg.get("num_classes") if isinstance(cfg, Mapping) else getattr(cfg, "num_classes", None)
    asked = kwargs.get("num_classes")
    if pretrained and not any_classes and None not in (stored, asked) and stored != asked:
        raise SupernetError(
            f"num_classes={asked}: {reason}, so the classifier stays as it was trained, with {stored} classes; open it "
            "without num_classes=, or put a layer of your own in its place"
        )


def _resolutions(network: Callable[..., object], arguments: Arguments) -> int:
    """The number of maps that the network offers; found without its weights."""
    with torch.device("meta"):
        maps = getattr(network(**arguments), "feature_info", ())
    return len(maps)


def _fit(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """`state` as `model` takes it: for its size of images, and with an auxiliary head where it has one."""
    return _fit_auxiliary(resample_positions(state, model), model)


def _fit_auxiliary(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """`state` with an auxiliary head where `model` has one: exports leave it out, and it may be trained anew."""
    own = {key: value for key, value in model.state_dict().items() if key.startswith("auxiliary.")}
    fits = {
        key: value
        for key, value in state.items()
        if not key.startswith("auxiliary.") or (key in own and own[key].shape == value.shape)
    }
    return own | fits
