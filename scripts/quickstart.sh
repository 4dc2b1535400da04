#!/usr/bin/env bash
# Set up the environment, generate faces, train a small model on a CPU, and write samples and class areas.
# Options such as training.batch_size=8 are passed to train.py. FACES is the number of faces to generate for training
# (default 5000).
# Rerun the command to continue the training where it stopped.
set -euo pipefail
config=configs/faces_64_cpu.yaml data=data/faces_64 run=runs/faces_64_cpu

for argument in "$@"; do
    case $argument in
    "data.path=$data") ;;
    --* | data.path=*)
        echo "error: quickstart.sh does not take $argument, only options like training.batch_size=8;" \
            "for other data or folders, use train.py (docs/training.md)" >&2
        exit 2
        ;;
    esac
done
. "$(dirname "$0")/environment.sh" requirements.txt

if [ -e "$data" ]; then
    echo "training on the existing faces in $data"
else
    # Check the options now rather than after the minute that generating faces takes.
    python - "$config" "$@" <<'CHECK'
import sys
from configs import load_config
from training.finetune import pretrained_config
from utils import cli

cli.run(lambda: load_config(sys.argv[1], sys.argv[2:], pretrained_config) and 0)
CHECK
    python -m scripts.make_faces "$data" --count "${FACES:-5000}" --resolution 64 --seed 0
fi
python train.py --config "$config" --output "$run" "$@"
checkpoint=$(ls "$run"/checkpoints/*.pt | tail -n 1)
python generate.py --checkpoint "$checkpoint" --output "$run/samples" --seeds 0-15 --overwrite
python generate.py --checkpoint "$checkpoint" --output "$run/samples" --seeds 0-3 --components --overwrite
python -m scripts.evaluate --checkpoint "$checkpoint" --data "$data" --metrics areas --samples 1000
echo "samples: $run/samples/grid.png and components.png"

images="$(basename "$checkpoint" .pt)" images=$((10#${images##*_}))
echo "trained on $images images. What to expect, measured on two CPU cores (docs/results.md):"
echo "  28,000 images: faces as in docs/quickstart.png; every class except earrings covers half to twice its area in the data"
echo "  16,000 images: eyebrows are missing as well"
echo "  10,000 images: glasses are missing too, and often eyes and mouths; faces are blurred and skin can be speckled"
further=("$@" "training.total_images=$((images + 40000))")  # the last value of an option counts
echo "to train further: bash scripts/quickstart.sh$(printf ' %q' "${further[@]}")"
