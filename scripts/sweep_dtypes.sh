#!/usr/bin/env bash
# What autocast costs and buys: the same objects in float32, float16 and bfloat16, and a comparison. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOF'
usage: scripts/sweep_dtypes.sh SPLIT_DIR [MODELS] [BENCHMARK_ARGUMENT...]
       scripts/sweep_dtypes.sh /data/sav_val sam2_base_points,edgetam_points --limit_videos 20

Runs the models on an SA-V split under autocast to float32 (none), float16 and bfloat16, into one folder, and compares the dtypes.

  SPLIT_DIR     folder of the split
  MODELS        comma-separated MODEL_PROMPT (default: sam2_tiny_points,edgetam_points)
  -h, --help    show this

The folder is --out_dir, or results/dtypes_TIME. The same --out_dir again goes on with a sweep that was interrupted.
Environment: PYTHON names the interpreter (default .venv/bin/python of the repository).
Exit status: that of the benchmark (0 every row is ok, 1 some are not, 2 wrong arguments, 130 interrupted), or else of the comparison.
EOF
}

die_usage() {
    printf 'sweep_dtypes: %s\n' "$1" >&2
    usage >&2
    exit 2
}

# --- arguments ------------------------------------------------------------------------------------------------------------------

for argument in "$@"; do
    if [[ $argument == -h || $argument == --help ]]; then
        usage
        exit 0
    fi
done
[[ ${1-} && $1 != -* ]] || die_usage "name the folder of the split first"
split_dir=$1 models=sam2_tiny_points,edgetam_points
shift
if [[ ${1-} && $1 != -* ]]; then
    models=$1
    shift
fi
out_dir=""
arguments=("$@")
while (($#)); do
    case $1 in
        --split_dir* | --models* | --autocast_dtype*) die_usage "${1%%=*} is what this script sets" ;;
        --out_dir=*) out_dir=${1#*=} ;;
        --out_dir) out_dir=${2-} ;;
    esac
    shift
done
if [[ -z $out_dir ]]; then
    out_dir=results/dtypes_$(date +%Y-%m-%d_%H-%M-%S)
    arguments+=(--out_dir "$out_dir")
fi

python=${PYTHON:-$root/.venv/bin/python}
command -v -- "$python" >/dev/null || {
    echo "sweep_dtypes: $python was not found; run 'make setup' first, or name an interpreter with PYTHON" >&2
    exit 1
}

# --- run ------------------------------------------------------------------------------------------------------------------------

status=0
"$python" "$root/jetson_benchmark.py" --split_dir "$split_dir" --models "$models" --autocast_dtype float32,float16,bfloat16 \
    ${arguments[@]+"${arguments[@]}"} || status=$?
# Rows that failed, float16 with NaN for example, are a result of the sweep; everything else leaves nothing to compare.
((status <= 1)) || exit "$status"
[[ -s $out_dir/summary.csv ]] || exit "$((status ? status : 1))"

compared=0
"$python" "$root/jetson_benchmark.py" compare "$out_dir" --by autocast_dtype || compared=$?
exit "$((status ? status : compared))"
