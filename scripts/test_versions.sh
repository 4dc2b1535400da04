#!/usr/bin/env bash
# Run the tests with several releases of PyTorch, each in its own environment under .venvs (6 GB each).
#   bash scripts/test_versions.sh                       oldest 2.14.1+0.29.1 2.15.0+0.29.2
#   bash scripts/test_versions.sh 2.14.1+0.29.1         one pair of torch and torchvision
# "oldest" is the oldest supported release of every package in the requirements files for users.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- oldest 2.14.1+0.29.1 2.15.0+0.29.2
results=()
for versions in "$@"; do
  export VENV=".venvs/$versions"
  mkdir -p .venvs
  if [ "$versions" = oldest ]; then
    sed -n 's/ *#.*//; s/>=/==/p' requirements.txt requirements-{alignment,editing,evaluation,export,studio}.txt
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
