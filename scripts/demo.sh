#!/usr/bin/env bash
# Sets up a fresh clone, generates a small split, and benchmarks models on it. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOT'
usage: scripts/demo.sh [SETUP_ARGUMENT...]

Sets up what it needs (setup.sh --minimal), generates a small split, benchmarks a nano SAM 2 and two baselines on it, and prints the table. `make demo` calls it.

  SETUP_ARGUMENT  passed to scripts/setup.sh, for example --venv DIR or --python PYTHON
  -h, --help      show this

Writes the split to demo_split and the results to results/demo, replacing earlier ones.
Exit status: 0 all rows ok, 1 some are not or setup failed, 2 wrong usage, 130 interrupted.
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

"$root/scripts/setup.sh" --minimal ${arguments[@]+"${arguments[@]}"}

cd -- "$root"
rm -rf -- demo_split results/demo
"$venv/bin/python" jetson_benchmark.py demo-data demo_split --videos 2 --frames 32
# The nano model's weights come with the repository, so that the demo gives meaningful scores without a download.
"$venv/bin/python" jetson_benchmark.py --split_dir demo_split \
    --models static_mask,flow_mask,sam2_nano_mask,sam2_nano_bbox,sam2_nano_points \
    --autocast_dtype float32 --warmup_frames 2 --out_dir results/demo
echo
echo "demo: for the published models, scripts/download_weights.sh sam2_tiny edgetam, then --models sam2_tiny_points,edgetam_points"
