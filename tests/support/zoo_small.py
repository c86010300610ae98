"""The zoo in sizes for tests: name -> (arguments of the space, arguments of the network)."""

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

# SMALL has the macro spaces alone, this one the spaces of cells too.
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **SMALL,
    "darts": ({"nodes": 2}, {"channels": 4, "layers": 3}),
    "darts_rnn": ({"nodes": 4}, {"hidden": 8}),
    "grammar": ({}, {"channels": 4}),
    "nasbench201": ({}, {"channels": 4, "cells_per_stage": 1}),
    "nasnet": ({}, {"channels": 2, "layers": 3}),
    **{name: ({}, {"channels": 4, "layers": 3}) for name in ("s1", "s2", "s3", "s4")},
}


def small_space(name: str) -> Space:
    return get_space(name, **SMALL[name][0])
