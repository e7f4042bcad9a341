#!/usr/bin/env bash
# The results of sweeps/four_packs.yaml from nothing: settings tried on val200, chosen, and used. What is done is skipped, so
# it can be stopped and started again; it goes on to the next stage only when one is whole.
#
#   tools/four_packs.sh [WORKERS] [SECONDS]      workers on one GPU (16); seconds after which it stops (none)
set -uo pipefail
cd "$(dirname "$0")/.."
workers=${1:-16} end=$((SECONDS + ${2:-1000000}))
PYTHON=${PYTHON:-python}
run() { timeout --signal=TERM $((end - SECONDS > 1 ? end - SECONDS : 1)) "$@"; }
sweep() { run "$PYTHON" -m aoft_bench -cd sweeps -cn "$@" hydra/launcher=joblib hydra.launcher.workers="$workers"; }

sweep four_packs_tune method=lora,lora_matched,adapter,aoft_without_lambda &&
  sweep four_packs_tune method=aoft,aoft_adapter recipe.lr=3e-4,1e-3 method.lambda_lr=10,60 &&
  sweep four_packs_tune method=full recipe.lr=3e-5,1e-4,3e-4,1e-3 &&
  sweep four_packs_tune method=linear recipe.lr=1e-3,3e-3,1e-2,3e-2 &&
  "$PYTHON" -m aoft_bench select results/tuning/four_packs &&
  sweep four_packs hparams=tuned
