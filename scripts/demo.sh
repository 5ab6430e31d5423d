#!/usr/bin/env bash
# From a fresh clone to a table: sets up, makes a small split, runs the main job on it. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOT'
usage: scripts/demo.sh [SETUP_ARGUMENT...]

Sets up, generates a small split, benchmarks a nano SAM 2 and two baselines on it, and prints the table. `make demo` calls it.

  SETUP_ARGUMENT  goes to scripts/setup.sh, --venv DIR or --python PYTHON for example
  -h, --help      show this

Leaves the split in demo_split and the results in results/demo, both made anew every time.
Exit status: 0 every row is ok, 1 some are not or setup failed, 2 wrong usage, 130 interrupted.
EOT
}

venv="$root/.venv"
arguments=("$@")
while (($#)); do
    case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --venv) venv=${2-} ;;
    esac
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
