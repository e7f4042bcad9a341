#!/usr/bin/env bash
# The results of sweeps/four_packs.yaml from nothing: settings tried on val200, chosen, and used. What is done is skipped, so
# it can be stopped and started again.
#
#   tools/four_packs.sh [WORKERS] [SECONDS]      workers on one GPU (20); seconds until nothing goes on (all it takes)
set -uo pipefail
cd "$(dirname "$0")/.."
workers=${1:-20} end=$((SECONDS + ${2:-1000000}))
run() { timeout --signal=TERM $((end - SECONDS > 1 ? end - SECONDS : 1)) "$@"; }
sweep() { run ${PYTHON:-python} -m aoft_bench -cd sweeps -cn "$@" hydra/launcher=joblib hydra.launcher.workers="$workers"; }

# one sweep for all methods of one grid: workers are not started anew for each
sweep four_packs_tune method=lora,lora_matched,adapter,aoft_without_lambda &&
  sweep four_packs_tune method=aoft,aoft_adapter recipe.lr=3e-4,1e-3 method.lambda_lr=10,60 &&
  sweep four_packs_tune method=full recipe.lr=3e-5,1e-4,3e-4,1e-3 &&
  sweep four_packs_tune method=linear recipe.lr=1e-3,3e-3,1e-2,3e-2 &&
  ${PYTHON:-python} -m aoft_bench.select results/tuning/four_packs --name four_packs &&
  sweep four_packs
