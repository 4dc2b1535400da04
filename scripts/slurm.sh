#!/usr/bin/env bash
# Trains under Slurm, and queues again when the time is over. From the project's folder, with its environment active:
# sbatch scripts/slurm.sh --config configs/celebamask_512.yaml
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
# One task is one process of the run, as torchrun's are: so the signal reaches all of them, and their exit code srun.
MASTER_ADDR="$(hostname)" # this script runs on the first node
export MASTER_ADDR
export MASTER_PORT="$((20000 + SLURM_JOB_ID % 20000))"
srun --kill-on-bad-exit=0 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS \
    LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE exec python train.py "$@"' train "$@"
code=$?
if [ "$code" -eq 75 ]; then # asked to end, checkpoint written: the same command goes on
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
