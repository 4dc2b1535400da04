# Sourced: makes .venv in the project's folder if there is none, installs the given requirements file, activates it.
# PYTHON names the interpreter (default python3, 3.10 or newer).
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
. .venv/bin/activate
python -m pip install --quiet --disable-pip-version-check -r "$1"

# For CPUs: threads that wait leave their core to others, and memory once taken is kept, for giving it back and taking
# it again at every step costs a tenth of the time.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-8589934592}" MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-4294967296}"
