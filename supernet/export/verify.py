"""The proof of an export: a process that knows nothing but the folder computes the same outputs."""

import copy
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch
from safetensors.torch import load_file, save_file
from timm.utils import unwrap_model
from torch import Tensor, nn

from ..errors import SupernetError
from ..space.form.allowed import VARIABLE

__all__ = ["MOST_DIFFERENCE", "check_reopens", "verify_export"]

MOST_DIFFERENCE = 1e-5  # between the outputs of a model and of the reopened one; equal layouts and threads give 0

# Arguments: where the package lies, the exported folder, the file with the input, the file for the output, threads.
# The package's folder goes last on the path: before the standard library its neighbours could shadow modules of it.
_OPEN = """
import sys
root, folder, inputs, outputs, threads = sys.argv[1:]
sys.path.append(root)
import torch
torch.set_num_threads(int(threads))
import timm
import supernet.timm_models
from safetensors.torch import load_file, save_file
model = timm.create_model("local-dir:" + folder, pretrained=True).eval()
torch.manual_seed(0)
with torch.inference_mode():
    y = model(load_file(inputs)["x"])
save_file({"y": y.contiguous()}, outputs)
"""


def verify_export(
    folder: str | os.PathLike[str],
    model: nn.Module,
    example: Tensor,
    *,
    timeout: float = 600,
    allow: Sequence[str] = (),
) -> float:
    """Largest absolute difference between the logits of `model` and of `folder` opened by timm in a fresh process.

    `example` is a batch [B, C, H, W]; `allow` has import paths that the folder may name.
    Both sides run on the CPU in eval mode, in float32 and with equal memory layouts, so
    that an export without loss gives 0.0. `model` is left as it was. Raises SupernetError where the fresh process
    fails, with its last line, or takes more than `timeout` seconds.
    """
    folder = Path(folder).resolve()
    x = _plain(example.float())
    with TemporaryDirectory() as aside:
        inputs, outputs = os.path.join(aside, "inputs.safetensors"), os.path.join(aside, "outputs.safetensors")
        save_file({"x": x}, inputs)
        package = Path(__file__).resolve().parents[1].parent
        # -P: a file of the working folder that is called timm.py must not be taken for timm.
        line = [
            sys.executable,
            "-P",
            "-c",
            _OPEN,
            str(package),
            str(folder),
            inputs,
            outputs,
            str(torch.get_num_threads()),
        ]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        if allow:  # a class of the user's own is found where this process finds it
            environment |= {VARIABLE: ",".join(allow), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise SupernetError(f"opening {folder} in a fresh process took more than {timeout:g} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SupernetError(f"{folder} does not open in a fresh process: {last[:300]}")
        there = load_file(outputs)["y"]
    return _difference(folder, _outputs(_as_loaded(model), x), there)


def check_reopens(folder: str | os.PathLike[str], model: nn.Module) -> None:
    """Raises SupernetError where `folder`, opened by timm in this process, computes something else than `model`.

    Quicker than `verify_export`, but what this process has imported and registered is there for the opening too: it
    must have imported `supernet.timm_models`.
    """
    folder = Path(folder).resolve()
    try:
        opened = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except RuntimeError as error:  # weights that do not fit
        raise SupernetError(f"{folder} does not open again: {str(error).splitlines()[0][:300]}") from None
    x = torch.randn(2, *vars(opened)["pretrained_cfg"]["input_size"], generator=torch.Generator().manual_seed(0))
    difference = _difference(folder, _outputs(_as_loaded(model), x), _outputs(opened, x))
    if not difference <= MOST_DIFFERENCE:
        raise SupernetError(f"the model reopened from {folder} differs by {difference:.2e} in its outputs")


def _outputs(net: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # for networks with noise in them
        return net(x)


def _difference(folder: Path, here: Tensor, there: Tensor) -> float:
    if here.shape != there.shape:
        raise SupernetError(f"{folder} gives outputs of shape {tuple(there.shape)}, the model {tuple(here.shape)}")
    if here.isnan().logical_xor(there.isnan()).any():
        return float("nan")
    return float((here - there).nan_to_num().abs().max())


def _as_loaded(model: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode whose tensors lie in memory as freshly loaded ones do.

    The layout chooses the convolution kernel and so the last bits; a 1x1 weight counts as contiguous in channels_last.
    """
    net = copy.deepcopy(unwrap_model(model)).cpu().float().eval()
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            tensor.data = _plain(tensor)
    return net


def _plain(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
