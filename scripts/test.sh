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
  # Check the project's files: those that git tracks, or in a download without git, all in the project's folders.
  files=() typed=()
  while IFS= read -r file; do
    if [ -e "$file" ]; then files+=("$file"); fi
  done < <(git ls-files -- "*.py" 2>/dev/null)
  [ ${#files[@]} -gt 0 ] || files=(train.py generate.py $(dirname */__init__.py))
  for file in "${files[@]}"; do
    case "$file" in tests | tests/*) ;; *) typed+=("$file") ;; esac
  done
  new="$(git ls-files --others --exclude-standard -- "*.py" 2>/dev/null)" || true
  [ -z "$new" ] || printf 'not checked until you "git add" it: %s\n' $new
  ruff check "${files[@]}"
  ruff format --check "${files[@]}"
  mypy "${typed[@]}"
fi
# Two processes of one thread each; tests of one file stay in one process, because they share expensive fixtures.
OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
