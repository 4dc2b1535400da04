#!/usr/bin/env bash
# Run linter, type checker and tests in .venv, which is created if missing.
#   bash scripts/test.sh                everything except tests that are slow or need a browser
#   bash scripts/test.sh --all          everything
#   bash scripts/test.sh tests/losses   only pytest, with these arguments
set -euo pipefail
. "$(dirname "$0")/environment.sh" requirements-dev.txt
if [ "${1:-}" = --all ]; then
  shift
  set -- -m "" "$@"
elif [ $# -gt 0 ]; then
  only_pytest=1
fi
if [ -z "${only_pytest:-}" ]; then
  ruff check .
  ruff format --check .
  mypy
fi
# Two processes of one thread each; tests of one file stay in one process, because they share expensive fixtures.
OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
