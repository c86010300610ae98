"""Tab completion as a user has it: a real bash reads the script of the installed command, and asks the stage itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(sys.executable).parent
ASK = r"""
source <(supernet completion bash)
complete -p supernet
ask() { COMP_LINE="$*"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_POINT=${#COMP_LINE}; COMPREPLY=()
        _supernet_complete; printf '%s\n' "${COMPREPLY[*]}"; }
ask supernet ret
ask supernet retrain recipe=dig
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.skipif(not (SCRIPTS / "supernet-retrain").exists(), reason="the commands are not installed here")
def test_the_script_is_read_and_completes(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", ASK]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    registered, stage, option = done.stdout.splitlines()
    assert registered == "complete -o default -o nospace -F _supernet_complete supernet"
    assert (stage, option.split()) == ("retrain", ["recipe=digits"])
    assert list(tmp_path.iterdir()) == []
