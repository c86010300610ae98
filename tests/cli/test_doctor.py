"""`supernet doctor`: what it prints, and its mistakes in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from supernet.cli import main

pytestmark = pytest.mark.usefixtures("own_folder")
SMALL = ["space.args.nodes=2", "space.args.operations=[none,skip_connect,sep_conv_3x3]", "network.channels=2",
         "network.layers=3", "executor=torch", "device=cpu"]  # fmt: skip


def test_the_table_adds_up_to_the_peak(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "memory", "batch=4", *SMALL]) == 0
    out = capsys.readouterr().out
    first, *rows = out.splitlines()
    assert first == "one step of space darts, batch 4, on cpu, executor torch, amp off"
    values = {row[:26].strip(): row[26:].split()[0] for row in rows}
    assert list(values) == [
        "parameters and buffers", "gradients", "optimisers", "data and batches", "activations kept", "transients",
        "peak", "memory of this machine", "to turn down",
    ]  # fmt: skip
    sizes = [float(value.replace(",", "")) for value in list(values.values())[:7]]
    assert sum(sizes[:-1]) == pytest.approx(sizes[-1], abs=0.4)
    assert "batch_size=4, network.channels=2, network.layers=3, or set network.checkpoint=true" in rows[-1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("memory bach=4", "unknown setting 'bach'; did you mean 'batch_size'?"),
        ("memory batch=four", "batch_size='four' must be of type int"),
        ("memory batch=1", "batch_size=1 must be 2 or more"),
        ("memory space=dart", "did you mean 'darts'?"),
        ("memory network.chanels=4", "did you mean 'network.channels'?"),
        ("memory device=gpu", "device"),
        ("memory -m batch=4", "takes key=value only, not '-m'"),
        ("memory batch", "batch"),
        ("memroy", "unknown check of supernet doctor: 'memroy'; did you mean 'memory'?"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(line: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *line.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert expected in error


def test_the_health_check_says_what_is_here_and_what_auto_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for row in ("supernet", "torch", "CUDA kernels' compiler", "C++ compiler", "GPU", "executor=auto takes"):
        assert f"\n{row} " in f"\n{out}"


def test_mistakes_and_the_help_do_not_wait_for_torch(tmp_path: Path) -> None:
    code = """
import sys
from supernet.cli import main
assert main(["doctor", "--help"]) == 0
assert main(["doctor", "memory", "bach=4"]) == 2
print({"torch", "timm"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.endswith("set()\n"), done.stderr


def test_checkpointing_is_a_setting_of_search_and_retrain(capsys: pytest.CaptureFixture[str]) -> None:
    for stage in (["search"], ["search", "space=nasbench201"], ["retrain", "genotype=DARTS_V2"]):
        assert main([*stage, "network.checkpoint=true", "--cfg", "job"]) == 0
        assert "checkpoint: true" in capsys.readouterr().out
