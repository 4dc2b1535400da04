#!/usr/bin/env bash
# Train a small model on a CPU, from environment and data to samples with masks and class areas.
# Arguments go to train.py; FACES is the number of training images (default 5000).
set -euo pipefail
. "$(dirname "$0")/environment.sh" requirements.txt
data=data/faces_64 run=runs/faces_64_cpu

if [ -e "$data" ]; then
    echo "training on the existing faces in $data"
else
    python -m scripts.make_faces "$data" --count "${FACES:-5000}" --resolution 64 --seed 0
fi
python train.py --config configs/faces_64_cpu.yaml --output "$run" "$@"
checkpoint=$(ls "$run"/checkpoints/*.pt | tail -n 1)
python generate.py --checkpoint "$checkpoint" --output "$run/samples" --seeds 0-15 --overwrite
python generate.py --checkpoint "$checkpoint" --output "$run/samples" --seeds 0-3 --components --overwrite
python -m scripts.evaluate --checkpoint "$checkpoint" --data "$data" --metrics areas --samples 1000
echo "samples: $run/samples/grid.png and components.png"
