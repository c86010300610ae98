"""The zoo's macro spaces in sizes for tests: name -> (arguments of the space, arguments of the network)."""

from typing import Any

from supernet.space import Space, get_space

SMALL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nas_bench_macro": ({}, {"channels": 4, "features": 8}),
    "mobilenetv3_like": ({"widths": [8, 16], "depths": [1, 2]}, {"channels": 8, "features": 16}),
    "autoformer_tiny": (
        {"dims": [16, 24], "depths": [1, 2], "heads": [1, 2], "ratios": [1.5, 2.0]},
        {"head_dim": 8, "image_size": 16},
    ),
    "timm_resnet_width": ({"backbone": "test_resnet", "sizes": [12, 16]}, {}),
}


def small_space(name: str) -> Space:
    return get_space(name, **SMALL[name][0])
