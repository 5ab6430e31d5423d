#!/usr/bin/env bash
# What a model is worth at which camera rate: streaming J&F at several rates, a comparison and a figure. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOT'
usage: scripts/sweep_fps.sh SPLIT_DIR [MODELS] [--rates LIST] [--from FILE | --live] [BENCHMARK_ARGUMENT...]
       scripts/sweep_fps.sh /data/sav_val sam2_tiny_mask,edgetam_mask --limit_videos 20
       scripts/sweep_fps.sh /data/sav_val sam2_tiny_mask,edgetam_mask --from orin/frames.csv

Measures the models once on an SA-V split, then simulates cameras of several rates with the latencies it measured, compares the models at
each rate and draws streaming J&F over the rate.

  SPLIT_DIR     folder of the split
  MODELS        comma-separated MODEL_PROMPT (default: sam2_tiny_mask,edgetam_mask,static_mask)
  --rates LIST  frames per second, comma-separated (default: 3,6,12,24,48)
  --from FILE   take the latencies of an earlier run's frames.csv, perhaps of another board, and measure nothing
  --live        follow the camera in real time at each rate instead of simulating it
  -h, --help    show this

Under --out_dir, or results/fps_TIME: measured/ (the run whose latencies are used), sweep/ (a row per object, model and rate) and
streaming.svg. The same --out_dir again goes on with a sweep that was interrupted.
Environment: PYTHON names the interpreter (default .venv/bin/python of the repository).
Exit status: that of the benchmark (0 every row is ok, 1 some are not, 2 wrong arguments, 130 interrupted), or else of the comparison.
EOT
}

die_usage() {
    printf 'sweep_fps: %s\n' "$1" >&2
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
split_dir=$1 models=sam2_tiny_mask,edgetam_mask,static_mask
shift
if [[ ${1-} && $1 != -* ]]; then
    models=$1
    shift
fi
rates=3,6,12,24,48 from="" live="" out_dir=""
arguments=()
while (($#)); do
    case $1 in
        --split_dir* | --models* | --realtime*) die_usage "${1%%=*} is what this script sets" ;;
        --live) live=1 ;;
        --rates=* | --from=* | --out_dir=*)
            name=${1%%=*}
            printf -v "${name#--}" '%s' "${1#*=}"
            ;;
        --rates | --from | --out_dir)
            (($# > 1)) || die_usage "$1 needs a value"
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
[[ -z $live || -z $from ]] || die_usage "--live measures, --from does not: give one of them"
IFS=, read -ra rate_list <<<"$rates"
((${#rate_list[@]})) || die_usage "--rates names no rate"
for rate in "${rate_list[@]}"; do
    [[ $rate =~ ^[0-9]+([.][0-9]+)?$ ]] || die_usage "--rates: $rate is no number of frames per second"
done
out_dir=${out_dir:-results/fps_$(date +%Y-%m-%d_%H-%M-%S)}

python=${PYTHON:-$root/.venv/bin/python}
command -v -- "$python" >/dev/null || {
    echo "sweep_fps: $python was not found; run 'make setup' first, or name an interpreter with PYTHON" >&2
    exit 1
}

# --- run ------------------------------------------------------------------------------------------------------------------------

status=0
# Rows that failed are a result; everything else ends the sweep.
benchmark() {
    local of_run=0
    "$python" "$root/jetson_benchmark.py" --split_dir "$split_dir" --models "$models" ${arguments[@]+"${arguments[@]}"} "$@" || of_run=$?
    ((of_run <= 1)) || exit "$of_run"
    ((status >= of_run)) || status=$of_run
}

simulated=()
if [[ -z $live ]]; then
    if [[ -z $from ]]; then
        benchmark --out_dir "$out_dir/measured"
        from=$out_dir/measured/frames.csv
    fi
    simulated=(--realtime_from "$from")
fi
for rate in "${rate_list[@]}"; do
    benchmark --out_dir "$out_dir/sweep" --realtime "$rate" ${simulated[@]+"${simulated[@]}"}
done
[[ -s $out_dir/sweep/summary.csv ]] || exit "$((status ? status : 1))"

compared=0
# Where latencies come from elsewhere, it does not matter what else this machine was doing: rows marked invalid are taken in.
"$python" "$root/jetson_benchmark.py" compare "$out_dir/sweep" ${simulated[@]+--force} || compared=$?
"$python" "$root/scripts/plot_streaming.py" "$out_dir/sweep" --out "$out_dir/streaming.svg" || compared=$((compared ? compared : 1))
exit "$((status ? status : compared))"
