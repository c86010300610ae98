#!/usr/bin/env bash
# The wheel as a user gets it: built, installed with the pinned versions into an empty environment, and used from
# another folder. Everything happens in a temporary folder, which is removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
builder=$(realpath -s "${1:-.venv/bin/python}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH

say() { echo "wheel-check: $*"; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; say "failed: $*"; exit 1; }; }
names() { "$builder" -m zipfile -l "$1" | awk 'NR > 1 {print $1}' | sort; }

say "building: sdist, the wheel from it, and a wheel straight from the tree"
rm -rf build/lib build/bdist.* # what an earlier build left would be packed again
quietly "$builder" -m build --outdir "$work/dist" .
quietly "$builder" -m build --wheel --outdir "$work/direct" .
wheel=$(echo "$work"/dist/*.whl)
# Into files: `names | grep -q` fails under pipefail whenever grep has found its line before the writer is done.
names "$wheel" >"$work/names"
names "$work"/direct/*.whl >"$work/names-direct"
diff "$work/names" "$work/names-direct" || { say "the two wheels differ"; exit 1; }
for file in supernet/py.typed supernet/ops/__init__.py supernet/conf/search.yaml supernet/cuda_kernels/__init__.py; do
  grep -qxF "$file" "$work/names" || { say "the wheel lacks $file"; exit 1; }
done
if grep -vE '^supernet(-[^/]*\.dist-info)?/' "$work/names"; then say "these lie outside our package"; exit 1; fi

say "installing it into an empty environment"
"$builder" -m venv "$work/env"
quietly "$work/env/bin/python" -m pip install -c constraints.txt "$wheel"
quietly "$work/env/bin/python" -m pip check
mkdir "$work/elsewhere"
cd "$work/elsewhere"
export PATH="$work/env/bin:$PATH"

say "importing it"
python - "$root" <<'PYTHON'
import importlib.util, sys

import supernet

assert not supernet.__file__.startswith(sys.argv[1]), f"imported from the source tree: {supernet.__file__}"
assert "torch" not in sys.modules, "import supernet loads torch"
for bare in ("ops", "conf", "cuda_kernels"):
    assert importlib.util.find_spec(bare) is None, f"the wheel installs a top-level package {bare}"
for name in supernet.__all__:
    getattr(supernet, name)
PYTHON

say "running its commands"
quietly supernet --help
quietly python -m supernet --help
quietly supernet search --cfg job
tiny=(epochs=1 network.channels=4 network.layers=3 data.limit=64 batch_size=16 run.root="$work/runs")
quietly supernet search "${tiny[@]}" run.name=search
quietly supernet retrain "${tiny[@]}" run.name=retrain genotype="$work/runs/search"
quietly supernet export run="$work/runs/retrain"
quietly python - "$work/runs/retrain/model" <<'PYTHON'
import sys

import timm
import torch

import supernet.timm_models

model = timm.create_model(f"local-dir:{sys.argv[1]}", pretrained=True).eval()
assert torch.isfinite(model(torch.zeros(2, *model.pretrained_cfg["input_size"]))).all()
PYTHON
say "ok: $(basename "$wheel") builds, installs, searches, retrains and exports"
