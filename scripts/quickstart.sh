#!/usr/bin/env bash
# From nothing to faces and their masks on a CPU: environment, data, training, samples, class areas.
# Arguments go to train.py; FACES is the number of training images.
set -euo pipefail
. "$(dirname "$0")/environment.sh" requirements.txt
data=data/faces_64 run=runs/faces_64_cpu

if [ -e "$data" ]; then
    echo "training on the faces in $data, which are there already"
else
    python -m scripts.make_faces "$data" --count "${FACES:-5000}" --resolution 64 --seed 0
fi
python train.py --config configs/faces_64_cpu.yaml --output "$run" "$@"
checkpoint=$(ls "$run"/checkpoints/*.pt | tail -n 1)
python generate.py --checkpoint "$checkpoint" --output "$run/samples" --seeds 0-15 --overwrite
python generate.py --checkpoint "$checkpoint" --output "$run/samples" --seeds 0-3 --components --overwrite
python -m scripts.evaluate --checkpoint "$checkpoint" --data "$data" --metrics areas --samples 1000
echo "samples: $run/samples/grid.png and components.png"
