#!/usr/bin/env bash
# Run the published settings of one method after another, the cheapest first, at low priority.
#
#   benchmarks/ladder.sh [OPTIONS OF ddbench run ...]
#   benchmarks/ladder.sh --data ~/data --jobs 1 --stop-after 2h
#
# Each rung has a run folder below runs/. A finished rung is passed over, an interrupted one goes on
# where it stopped: repeat the command until it says that all rungs are done.
set -euo pipefail
cd "$(dirname "$0")/.."

# preset, method, dataset, images per class; PFLOPs of condensing by `ddbench plan --price`
RUNGS=(
  "paper-gm  gm  mnist   1"   # 0.7
  "paper-dsa dsa mnist   1"   # 0.7
  "paper-dsa dsa cifar10 1"   # 0.8
)

for rung in "${RUNGS[@]}"; do
  read -r preset method dataset ipc <<<"$rung"
  out="runs/$preset-$method-$dataset-ipc$ipc"
  echo "== $method on $dataset, $ipc per class: $out"
  code=0
  nice -n 19 ddbench run --preset "$preset" --method "$method" --dataset "$dataset" --ipc "$ipc" \
    --out "$out" "$@" || code=$?
  if [ "$code" != 0 ]; then
    echo "== not finished (exit code $code); the same command goes on here"
    exit "$code"
  fi
done
echo "== all rungs are done"
