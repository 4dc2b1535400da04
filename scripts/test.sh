#!/usr/bin/env bash
# Linter, type checker and tests, in .venv (made if missing). Arguments go to pytest.
set -euo pipefail
. "$(dirname "$0")/environment.sh" requirements-dev.txt
ruff check .
ruff format --check .
mypy
# Two processes of one thread each; a file's tests stay together, for they share what takes long to make.
OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" python -m pytest -n 2 --dist loadfile "$@"
