"""Search spaces of the literature, one a file; importing this package fills the registry `SPACES`."""

from ..registry import SPACES, get_space
from . import darts, darts_rnn, nasbench201, nasnet, robust

# These are networks with choices in them, and so need torch: imported when they are first asked for.
for _name, _module in {
    "autoformer_tiny": "autoformer",
    "grammar": "grammar",
    "mobilenetv3_like": "mobilenet",
    "nas_bench_macro": "nas_bench_macro",
    "timm_resnet_width": "timm_width",
}.items():
    SPACES.lazy(_name, f"{__name__}.{_module}")

__all__ = ["SPACES", "darts", "darts_rnn", "get_space", "nasbench201", "nasnet", "robust"]
