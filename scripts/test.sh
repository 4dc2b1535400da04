#!/usr/bin/env bash
# Linter, type checker and tests, in .venv (made if missing). Arguments go to pytest.
set -euo pipefail
. "$(dirname "$0")/environment.sh" requirements-dev.txt
ruff check .
ruff format --check .
mypy
python -m pytest "$@"
