# Sourced: makes .venv in the project's folder if there is none, installs the given requirements file, activates it,
# and sets what helps PyTorch on CPUs.
# PYTHON names the interpreter (default python3, 3.10 or newer).
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
. .venv/bin/activate
python -m pip install --quiet --disable-pip-version-check -r "$1"

# Threads that wait soon leave their core to others.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}"
