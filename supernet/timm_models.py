"""Registers the networks with timm; importing this module is all it takes.

    import timm, supernet.timm_models

    timm.create_model("local-dir:runs/.../model", pretrained=True)              an exported folder
    timm.create_model("sn_cellnet", genotype="genotype.json", channels=36)      any genotype
    timm.create_model("sn_pdarts", num_classes=100)                             a published cell, untrained

`sn_cellnet` takes `genotype` (a `Genotype`, its JSON as a mapping, a path that ends in .json, or a published name) and
the arguments of the genotype's macro structure; the other entries are published cells in the authors' sizes.
"""

from collections.abc import Callable

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import generate_default_cfgs, register_model
from torch import nn

from .export.timm_entry import GenotypeLike, create_cellnet

__all__ = ["sn_cellnet"]  # timm's decorator appends the other entries

_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_CIFAR: dict[str, object] = {"channels": 36, "layers": 20, "stem": "cifar"}
_IMAGENET: dict[str, object] = {"channels": 48, "layers": 14, "stem": "imagenet"}

# Entry -> (published cell, its arguments). The names are those of the papers; `_in1k` ends the ImageNet networks.
_PUBLISHED: dict[str, tuple[str, dict[str, object]]] = {
    "sn_darts_v1": ("DARTS_V1", _CIFAR),
    "sn_darts_v2": ("DARTS_V2", _CIFAR),
    "sn_pc_darts": ("PCDARTS", _CIFAR),
    "sn_pdarts": ("PDARTS", _CIFAR),
    "sn_drnas": ("DrNAS_cifar10", _CIFAR),
    "sn_darts_v2_in1k": ("DARTS_V2", _IMAGENET),
    "sn_pc_darts_in1k": ("PC_DARTS_image", _IMAGENET),
    "sn_pdarts_in1k": ("PDARTS", _IMAGENET),
    "sn_drnas_in1k": ("DrNAS_imagenet", _IMAGENET),
}


def _cfg(imagenet: bool) -> dict[str, object]:
    return {
        "num_classes": 1000 if imagenet else 10,
        "input_size": (3, 224, 224) if imagenet else (3, 32, 32),
        "pool_size": (7, 7) if imagenet else (8, 8),
        "crop_pct": 0.875 if imagenet else 1.0,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN if imagenet else _CIFAR_MEAN,
        "std": IMAGENET_DEFAULT_STD if imagenet else _CIFAR_STD,
        "first_conv": "stem.stem0.0" if imagenet else "stem.stem.0",
        "classifier": "classifier",
    }


default_cfgs = generate_default_cfgs(
    {"sn_cellnet": _cfg(False), **{name: _cfg(size is _IMAGENET) for name, (_, size) in _PUBLISHED.items()}}
)


@register_model
def sn_cellnet(pretrained: bool = False, genotype: GenotypeLike = "DARTS_V2", **kwargs: object) -> nn.Module:
    """The network of any genotype of a registered space."""
    return create_cellnet("sn_cellnet", pretrained, genotype, **kwargs)


def _entry(name: str, cell: str, size: dict[str, object]) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, genotype: GenotypeLike = cell, **kwargs: object) -> nn.Module:
        return create_cellnet(name, pretrained, genotype, **{**size, **kwargs})

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"The published cell {cell}."
    return create


for _name, (_cell, _size) in _PUBLISHED.items():
    register_model(_entry(_name, _cell, _size))
