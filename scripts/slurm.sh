#!/usr/bin/env bash
# Train under Slurm and requeue the job at its time limit. Run in the project folder with the environment active:
# sbatch scripts/slurm.sh --config configs/celebamask_512.yaml
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
# One task per training process, without torchrun: every process gets the signal, and srun returns their exit code.
MASTER_ADDR="$(hostname)" # this script runs on the first node
export MASTER_ADDR
export MASTER_PORT="$((20000 + SLURM_JOB_ID % 20000))"
srun --kill-on-bad-exit=0 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS \
    LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE exec python train.py "$@"' train "$@"
code=$?
if [ "$code" -eq 75 ]; then # stopped by a signal, checkpoint saved; rerun the same command to continue
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
