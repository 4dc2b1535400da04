import os
import re

import pytest

from tests.processes import ROOT, run_command


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (2, False), (70, False), (75, True)])
def test_only_a_preempted_run_is_requeued(tmp_path, code, requeued):
    """Run the script with stubs for the commands of Slurm and for Python."""
    stubs = {
        "srun": 'shift 2; SLURM_PROCID=1 SLURM_LOCALID=1 "$@"',
        "python": f'echo "$RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $*" > arguments; exit {code}',
        "scontrol": 'echo "$@" > queued',
    }
    for name, body in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "123", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4"}
    environment = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = ROOT / "scripts" / "slurm.sh"
    done = run_command(["bash", str(script), "--config", "my config.yaml"], env=environment, cwd=tmp_path)
    assert done.returncode == code
    assert (tmp_path / "arguments").read_text() == "1 1 8 4 train.py --config my config.yaml\n"
    assert (tmp_path / "queued").exists() == requeued
    if requeued:
        assert (tmp_path / "queued").read_text() == "requeue 123\n"


def test_the_documentation_quotes_the_script():
    [shown] = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "long-runs.md").read_text(), re.DOTALL)
    script = (ROOT / "scripts" / "slurm.sh").read_text()
    assert set(code_lines(shown)) <= set(code_lines(script))


def code_lines(text: str) -> list[str]:
    """Return the lines of a script without comments, except for the #SBATCH lines."""
    return [re.sub(r" +#(?!SBATCH).*|^# .*", "", line) for line in text.splitlines()]
