#!/usr/bin/env bash
# From a fresh clone to a table: sets up, makes a small split, runs the main job on it. `make demo` calls it.
#
#   scripts/demo.sh [--venv DIR] [--python PYTHON]
#
# The arguments go to scripts/setup.sh. Leaves the split in demo_split and the results in results/demo, both made anew every time.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

venv="$root/.venv"
arguments=("$@")
while (($#)); do
    if [[ $1 == --venv ]]; then venv=${2-}; fi
    shift
done
[[ $venv == /* ]] || venv="$PWD/$venv"

"$root/scripts/setup.sh" ${arguments[@]+"${arguments[@]}"}

cd -- "$root"
rm -rf -- demo_split results/demo
"$venv/bin/python" jetson_benchmark.py demo-data demo_split --videos 2 --frames 32
# The nano model's weights come with the repository, so that no download stands between a clone and scores that mean something.
"$venv/bin/python" jetson_benchmark.py --split_dir demo_split \
    --models static_mask,flow_mask,sam2_nano_mask,sam2_nano_bbox,sam2_nano_points \
    --autocast_dtype float32 --warmup_frames 2 --out_dir results/demo
echo
echo "demo: for the published models, scripts/download_weights.sh sam2_tiny edgetam, then --models sam2_tiny_points,edgetam_points"
