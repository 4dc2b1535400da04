#!/usr/bin/env bash
# The tests with other releases of PyTorch, each in an environment of its own below .venvs (6 GB each).
#   bash scripts/test_versions.sh                       oldest 2.14.1+0.29.1 2.15.0+0.29.2
#   bash scripts/test_versions.sh 2.14.1+0.29.1         one pair of torch and torchvision
# "oldest" takes the oldest release that the requirements files admit, of every package that users need.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- oldest 2.14.1+0.29.1 2.15.0+0.29.2
results=()
for versions in "$@"; do
  export VENV=".venvs/$versions"
  mkdir -p .venvs
  if [ "$versions" = oldest ]; then
    sed -n 's/ *#.*//; s/>=/==/p' requirements.txt requirements-{editing,evaluation,export,studio}.txt
  else
    printf 'torch==%s\ntorchvision==%s\n' "${versions%+*}" "${versions#*+}"
  fi > "$VENV.txt"
  if (. scripts/environment.sh requirements-dev.txt --constraint "$VENV.txt") && bash scripts/test.sh tests; then
    results+=("$versions: passed")
  else
    results+=("$versions: FAILED")
  fi
done
printf '%s\n' "${results[@]}"
[[ "${results[*]}" != *FAILED* ]]
