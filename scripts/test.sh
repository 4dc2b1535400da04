#!/usr/bin/env bash
# Linter, type checker and tests, in .venv (made if missing).
#   bash scripts/test.sh                all of them, but the tests that are slow or need a browser
#   bash scripts/test.sh --all          these tests, too
#   bash scripts/test.sh tests/losses   pytest alone, with these arguments
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
# Two processes of one thread each; a file's tests stay together, as they share what takes long to make.
OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
