#!/usr/bin/env bash
# The GPU part of the benchmarks in one go, under ten minutes on an H200, its tables last: tests that need a GPU, steps
# of every method against the floor, scoring, data path, operations, start-up, a whole cell, several cells, growth.
#
#   tools/gpu_benchmark.sh [FOLDER]      benchmark.json and benchmark.md go there (outputs/benchmark)
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-outputs/benchmark} PYTHON=${PYTHON:-python}
tests="tests/training/test_cuda.py tests/training/test_cuda_graph.py tests/data/test_crops.py"
timeout 90 "$PYTHON" -m pytest -q -p no:cacheprovider $tests || echo "the tests that need a GPU failed, see above" >&2
timeout 480 "$PYTHON" -m benchmarks --device cuda --every-method --epochs 10 --out "$out" > "$out.log" 2>&1
cat "$out/benchmark.md"
tail -n 3 "$out.log"
