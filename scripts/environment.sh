# Sourced: activates an environment in the project's folder, made if missing, in which the given requirements file is
# installed, and sets what helps PyTorch on CPUs.
# PYTHON names the interpreter (default python3, 3.10 or newer), VENV the environment's folder (default .venv);
# further arguments go to pip install.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="${VENV:-.venv}"
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
. "$venv/bin/activate"

# pip takes seconds to find that nothing is to be done: it is asked only when a requirements file has changed.
installed="$venv/installed-$1"
if ! cat requirements*.txt | cmp -s - "$installed"; then
  python -m pip install --quiet --disable-pip-version-check -r "$@" || return
  cat requirements*.txt > "$installed"
fi

# Threads that wait soon leave their core to others.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}"
