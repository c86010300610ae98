#!/usr/bin/env bash
# Checks the types of the package as users get it: of the unpacked wheel. In the source tree `supernet.ops`,
# `supernet.cuda_kernels` and `supernet.conf` do not lie where their names say, and a type checker would skip them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$(realpath -s "${1:-.venv/bin/python}")
root=$PWD

mkdir -p build
rm -rf build/lib build/bdist.* build/types build/wheel # what an earlier build left would be packed again
"$python" -m build --wheel --outdir build/wheel . >build/types.log 2>&1 || { cat build/types.log >&2; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --no-deps --target build/types build/wheel/*.whl

# From inside the folder, because mypy looks into the working folder first. The paths shown are those of the sources.
cd build/types
"$python" -m mypy --config-file "$root/pyproject.toml" --cache-dir "$root/.mypy_cache" -p supernet |
  sed -E 's#^supernet/(ops|cuda_kernels|conf)/#\1/#'
