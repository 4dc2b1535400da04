#!/usr/bin/env bash
# Measure the performance of a GPU in three calls of less than nine minutes each: 1, then 2, then 3.
#   bash scripts/measure_gpu.sh 1|2|3 [FOLDER]    logs and JSON lines go to FOLDER (default measurements/)
# 1: machine, tests and operators; 2: training at 512 pixels; 3: kernel profile, overheads, torch.compile, and growth
# with the number of classes. Every part has a time limit and a log; if a part fails, the next one still runs. PYTHON
# (default python3) is an interpreter with requirements-dev.txt installed.
set -uo pipefail
call="${1:-}" folder="${2:-measurements}" python="${PYTHON:-python3}"
if [[ ! "$call" =~ ^[123]$ ]]; then
  echo "usage: bash scripts/measure_gpu.sh 1|2|3 [FOLDER]" >&2
  exit 2
fi
if ! nvidia-smi -L >/dev/null 2>&1; then
  echo "no GPU: nvidia-smi lists none; run this on a machine with an NVIDIA GPU and its driver" >&2
  exit 2
fi
if ! "$python" -c 'import pytest, torch' >/dev/null 2>&1; then
  echo "$python lacks pytest or torch: pip install -r requirements-dev.txt, or set PYTHON to another interpreter" >&2
  exit 2
fi
case "$python" in */*) python="$(cd "$(dirname "$python")" && pwd)/$(basename "$python")" ;; esac
mkdir -p "$folder" && folder="$(cd "$folder" && pwd)" && cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export PYTHONUNBUFFERED=1
summary=() failed=0

part() { # name, limit in seconds, command...
  local name="$1" limit="$2" start=$SECONDS code=0
  shift 2
  timeout -k 5 "$limit" "$@" >"$folder/$name.log" 2>&1 || code=$?
  [ "$code" = 0 ] || failed=1
  summary+=("$name: exit code $code, $((SECONDS - start)) s")
  echo "${summary[-1]}"
}

benchmark() { # name, limit in seconds, soft limit in seconds, benchmark and options...
  local name="$1" limit="$2" soft="$3"
  shift 3
  part "$name" "$limit" "$python" -m scripts.benchmark "$@" --seconds "$soft" --json "$folder/$name.jsonl" --overwrite
}

bf16="training.precision=bfloat16"
graphs="training.cuda_graphs=true"
sized() { echo "training.batch_size=$1 training.max_batch_per_device=$1"; }
read -ra batch16 <<<"$(sized 16)"
case "$call" in
  1)
    # shellcheck disable=SC2016 # $1 belongs to the inner shell
    part machine 30 bash -c 'nvidia-smi -L && nvcc --version; exec "$1" -c "import torch
print(torch.__version__, *torch.cuda.get_arch_list())"' machine "$python"
    part doctor 165 "$python" -m scripts.doctor
    # One process, because every process compiles the operators again.
    part tests 200 "$python" -m pytest -p no:cacheprovider \
      tests/training/test_syncs.py tests/training/test_cuda_graphs.py tests/ops/test_gpu.py
    benchmark ops 120 90 ops --device cuda --megabytes 256 --dtype float32 bfloat16 float16 --rounds 5
    ;;
  2)
    benchmark train 525 400 train --config configs/celebamask_512.yaml --device cuda "${batch16[@]}" "$bf16" "$graphs" \
      --also "$(sized 4)" --also training.precision=float16 --also training.precision=float32 \
      --also training.cuda_graphs=false --also "$(sized 32)" --literal plain
    ;;
  3)
    benchmark profile 90 60 profile --config configs/celebamask_512.yaml --device cuda "${batch16[@]}" "$bf16"
    benchmark overheads 110 60 overheads --config configs/celebamask_512.yaml --device cuda "${batch16[@]}" "$bf16" "$graphs"
    benchmark growth 110 60 train --config configs/celebamask_256.yaml --device cuda "${batch16[@]}" "$bf16" "$graphs" \
      losses.r1_every=0 losses.path_length_every=0 --also "model.num_classes=2 model.transparent_classes=[]" \
      --also model.num_classes=26 --literal none
    benchmark compiled 205 120 train --config configs/celebamask_512.yaml --device cuda "${batch16[@]}" "$bf16" "$graphs" \
      training.compile=true --literal none
    ;;
esac

for line in "${summary[@]}"; do
  echo "== $line"
  tail -n 12 "$folder/${line%%:*}.log"
done
exit "$failed"
