"""How kernels reach a GPU, with a driver that only notes what it is told; and on a GPU, where there is one."""

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from supernet.cuda_kernels.addresses import pointer, table
from supernet.cuda_kernels.gpu import compile as compiling
from supernet.cuda_kernels.gpu import launch as launching
from supernet.cuda_kernels.gpu.kernel import Kernel
from supernet.cuda_kernels.gpu.launch import Launch, launch
from supernet.cuda_kernels.node_mix.mix import (
    node_mix,
    node_mix_bwd_reduce,
    node_mix_reference,
    node_mix_reference_sums,
)
from supernet.errors import SupernetError

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
KERNEL = Kernel("node_mix/node_mix.cu", "node_mix_bwd_finish<2, 16>")


class Driver:
    """Answers as CUDA's driver does: an error code, 0 for none, and what was asked for."""

    def __init__(self) -> None:
        self.modules: list[bytes] = []
        self.launched: list[tuple[Any, ...]] = []
        self.error: Any = 0
        self.context: tuple[Any, int] = (0, 5)  # of the thread; the runtime's of device N is 100 + N
        self.retained: list[int] = []
        self.calls: list[str] = []

    def cuCtxGetCurrent(self) -> tuple[Any, int]:
        return self.context

    def cuCtxSetCurrent(self, context: int) -> tuple[int]:
        self.calls.append("cuCtxSetCurrent")
        self.context = (0, context)
        return (0,)

    def cuDeviceGet(self, number: int) -> tuple[int, str]:
        return 0, f"device {number}"

    def cuDevicePrimaryCtxRetain(self, device: str) -> tuple[Any, int]:
        self.retained.append(int(device.removeprefix("device ")))
        return self.error, 100 + self.retained[-1]

    def cuModuleLoadData(self, binary: bytes) -> tuple[int, str]:
        self.calls.append("cuModuleLoadData")
        self.modules.append(binary)
        return 0, "module"

    def cuModuleGetFunction(self, module: str, symbol: bytes) -> tuple[int, bytes]:
        return 0, symbol

    def cuLaunchKernel(self, *arguments: Any) -> tuple[Any]:
        self.calls.append("cuLaunchKernel")
        self.launched.append(arguments)
        return (self.error,)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Driver]:
    try:
        compiling.compiler_version()
    except SupernetError as error:
        pytest.skip(str(error))
    noting = Driver()
    monkeypatch.setenv("SUPERNET_CACHE", str(tmp_path))
    monkeypatch.setattr(launching, "_driver", lambda: noting)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(cuda_stream=7))
    launching._function.cache_clear()
    launching._primary.cache_clear()
    yield noting
    launching._function.cache_clear()
    launching._primary.cache_clear()


def test_arguments_lie_where_a_driver_looks() -> None:
    x, y = torch.zeros(3), torch.zeros(2)
    one = Launch(KERNEL, (1, 1, 1), (pointer(x), table([x, y]), ctypes.c_longlong(2**40)))
    first, second, third = one.addresses()
    assert ctypes.cast(first, ctypes.POINTER(ctypes.c_void_p))[0] == x.data_ptr()
    assert ctypes.cast(second, ctypes.POINTER(ctypes.c_void_p))[:2] == [x.data_ptr(), y.data_ptr()]
    assert ctypes.cast(third, ctypes.POINTER(ctypes.c_longlong))[0] == 2**40


def test_the_driver_is_told_grid_block_stream_and_arguments(driver: Driver) -> None:
    one = Launch(KERNEL, (5, 2, 1), (ctypes.c_int(3),))
    launch([one, one], torch.device("cuda"))
    symbol, *place, arguments, extra = driver.launched[0]
    assert b"node_mix_bwd_finish" in symbol and place == [5, 2, 1, 256, 1, 1, 0, 7] and extra == 0
    assert isinstance(arguments, int)
    assert len(driver.launched) == 2 and len(driver.modules) == 1  # loaded once a device
    assert driver.modules[0].startswith(b"\x7fELF")


def test_a_refusal_of_the_driver_is_one_line(driver: Driver) -> None:
    driver.error = SimpleNamespace(name="CUDA_ERROR_INVALID_VALUE")
    with pytest.raises(SupernetError, match=r"node_mix_bwd_finish<2, 16>: .*CUDA_ERROR_INVALID_VALUE"):
        launch([Launch(KERNEL, (1, 1, 1), ())], torch.device("cuda"))


INVALID = SimpleNamespace(name="CUDA_ERROR_INVALID_CONTEXT")


@pytest.mark.parametrize("answer", [(0, 0), (INVALID, 0)], ids=["none", "error"])
def test_a_thread_without_a_context_gets_that_of_the_runtime(driver: Driver, answer: tuple[Any, int]) -> None:
    one = Launch(KERNEL, (1, 1, 1), ())
    for _ in range(2):  # two such threads
        driver.context = answer
        launch([one, one], torch.device("cuda"))
        assert driver.context == (0, 100)
    assert driver.retained == [0], "once a device"
    again = ["cuCtxSetCurrent", "cuLaunchKernel", "cuLaunchKernel"]
    assert driver.calls == ["cuCtxSetCurrent", "cuModuleLoadData", "cuLaunchKernel", "cuLaunchKernel", *again]


def test_a_context_that_is_there_stays(driver: Driver) -> None:
    launch([Launch(KERNEL, (1, 1, 1), ())], torch.device("cuda"))
    assert driver.context == (0, 5) and not driver.retained and "cuCtxSetCurrent" not in driver.calls


def test_a_context_that_cannot_be_had_is_one_line(driver: Driver) -> None:
    driver.context, driver.error = (0, 0), SimpleNamespace(name="CUDA_ERROR_OUT_OF_MEMORY")
    with pytest.raises(SupernetError, match=r"^the CUDA context of device 0: .*CUDA_ERROR_OUT_OF_MEMORY.*torch[^\n]*$"):
        launch([Launch(KERNEL, (1, 1, 1), ())], torch.device("cuda"))
    assert not driver.launched


@needs_gpu
def test_on_a_gpu_a_fresh_thread_launches() -> None:
    """As autograd's worker: it has called neither torch nor the runtime, so no context is current in it."""
    x = torch.randn(2, 4, 3, 3, device="cuda").to(memory_format=torch.channels_last)
    small = [torch.randn((1, 4), device="cuda") for _ in range(3)]
    p = torch.ones(1, device="cuda")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(node_mix, [x], *small, p).result()
    assert torch.equal(found, node_mix([x], *small, p))


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 16, 32, 32, 14), (3, 5, 7, 2, 4), (1, 1, 1, 1, 1), (2, 136, 9, 9, 35)])
def test_on_a_gpu_values_equal_float64_and_bits_repeat(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Also on a stream of one's own, and replayed from a captured graph."""
    *image, terms = shape
    z = [torch.randn(image, device="cuda").to(dtype, memory_format=torch.channels_last) for _ in range(terms)]
    g = torch.randn(image, device="cuda").to(dtype)
    mean, scale, shift, rstd = (torch.randn((terms, image[1]), device="cuda") for _ in range(4))
    small = [mean, scale, shift, rstd, torch.randn(terms, device="cuda")]

    def run() -> tuple[torch.Tensor, ...]:
        return node_mix(z, *small[:3], small[4]), *node_mix_bwd_reduce(g, z, *small)

    def inside(kind: torch.dtype) -> tuple[torch.Tensor, ...]:
        terms, factors = [x.to(kind) for x in z], [x.to(kind) for x in small]
        node = node_mix_reference(terms, *factors[:3], factors[4])
        return node, *node_mix_reference_sums(g.to(kind), terms, *factors)

    found = run()
    for x, usual, there in zip(found, inside(torch.float32), inside(torch.float64), strict=True):
        bound = 2 * (usual.to(x.dtype).double() - there).norm() + 1e-6 * there.norm()
        assert (x.double() - there).norm() <= bound
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        aside = run()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        captured = run()
    graph.replay()
    torch.cuda.synchronize()
    assert all(map(torch.equal, found, aside)) and all(map(torch.equal, found, captured))
