# Source this file to activate a virtual environment with a requirements file installed: . environment.sh FILE
# It creates the environment if it is missing, and tunes PyTorch for CPUs. Further arguments go to pip install.
# PYTHON is the interpreter (default python3, 3.10 or newer), VENV the folder of the environment (default .venv).
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="${VENV:-.venv}"
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
. "$venv/bin/activate"

# pip takes seconds even if everything is installed: run it only when a requirements file has changed.
installed="$venv/installed-$1"
if ! cat requirements*.txt | cmp -s - "$installed"; then
  echo "installing $1 in $venv; this can take minutes (PyTorch alone: about 5 GB)" >&2
  python -m pip install --quiet --disable-pip-version-check -r "$@" || return
  cat requirements*.txt > "$installed"
fi

# Let waiting OpenMP threads release their core soon.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}"
