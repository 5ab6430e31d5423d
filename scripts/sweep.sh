#!/usr/bin/env bash
# Runs models once for each autocast dtype, or at several camera rates, and compares them. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOT'
usage: scripts/sweep.sh dtypes SPLIT_DIR [MODELS] [BENCHMARK_ARGUMENT...]
       scripts/sweep.sh fps SPLIT_DIR [MODELS] [--rates LIST] [--from FILE | --live] [BENCHMARK_ARGUMENT...]
       scripts/sweep.sh dtypes /data/sav_val sam2_base_points,edgetam_points --limit_videos 20
       scripts/sweep.sh fps /data/sav_val sam2_tiny_mask,edgetam_mask --from orin/frames.csv

dtypes  runs the models under autocast to float32 (none), float16 and bfloat16 into one folder, and compares the dtypes
fps     measures the models once, simulates cameras of several rates with these latencies, compares the models at each rate, and
        plots streaming J&F over the rate

  SPLIT_DIR     folder of an SA-V split
  MODELS        comma-separated MODEL_PROMPT (default: sam2_tiny_points,edgetam_points for dtypes, sam2_tiny_mask,edgetam_mask,static_mask
                for fps)
  --rates LIST  frames per second, comma-separated (default: 3,6,12,24,48)
  --from FILE   use the latencies in an earlier run's frames.csv, perhaps from another board, and measure nothing
  --live        run in real time at each rate instead of simulating it
  -h, --help    show this

The folder is --out_dir, or results/dtypes_TIME and results/fps_TIME; fps writes measured/ (the run whose latencies are used), sweep/ (a row
per object, model and rate) and streaming.svg into it. The same --out_dir resumes an interrupted sweep.
Environment: PYTHON names the interpreter (default .venv/bin/python of the repository).
Exit status: that of the benchmark (0 all rows ok, 1 some are not, 2 wrong arguments, 130 interrupted), or if it is 0 that of the comparison.
EOT
}

die_usage() {
    printf 'sweep: %s\n' "$1" >&2
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
case ${1-} in
    dtypes) models=sam2_tiny_points,edgetam_points ;;
    fps) models=sam2_tiny_mask,edgetam_mask,static_mask ;;
    *) die_usage "name the sweep first: dtypes or fps" ;;
esac
readonly sweep=$1
shift
[[ ${1-} && $1 != -* ]] || die_usage "name the folder of the split after $sweep"
split_dir=$1
shift
if [[ ${1-} && $1 != -* ]]; then
    models=$1
    shift
fi
rates=3,6,12,24,48 from="" live="" out_dir=""
arguments=()
while (($#)); do
    case $sweep:$1 in
        "$sweep:"--split_dir* | "$sweep:"--models* | dtypes:--autocast_dtype* | fps:--realtime*) die_usage "${1%%=*} is set by this script; leave it out" ;;
        fps:--live) live=1 ;;
        fps:--rates=* | fps:--from=* | "$sweep:"--out_dir=*)
            name=${1%%=*}
            printf -v "${name#--}" '%s' "${1#*=}"
            ;;
        fps:--rates | fps:--from | "$sweep:"--out_dir)
            (($# > 1)) || die_usage "$1 needs a value"
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
[[ -z $live || -z $from ]] || die_usage "--live measures and --from does not; give one of them"
IFS=, read -ra rate_list <<<"$rates"
((${#rate_list[@]})) || die_usage "--rates names no rate"
for rate in "${rate_list[@]}"; do
    [[ $rate =~ ^[0-9]+([.][0-9]+)?$ ]] || die_usage "--rates: $rate is not a number of frames per second"
done
out_dir=${out_dir:-results/${sweep}_$(date +%Y-%m-%d_%H-%M-%S)}

python=${PYTHON:-$root/.venv/bin/python}
command -v -- "$python" >/dev/null || {
    echo "sweep: $python was not found; run 'make setup' first, or name an interpreter with PYTHON" >&2
    exit 1
}

# --- run ------------------------------------------------------------------------------------------------------------------------

status=0
# Failed rows, for example NaN under float16, are a result; other failures end the sweep.
benchmark() {
    local of_run=0
    "$python" "$root/jetson_benchmark.py" --split_dir "$split_dir" --models "$models" ${arguments[@]+"${arguments[@]}"} "$@" || of_run=$?
    ((of_run <= 1)) || exit "$of_run"
    ((status >= of_run)) || status=$of_run
}

compared=0
compare() { # RUN ARGUMENT...
    [[ -s $1/summary.csv ]] || exit "$((status ? status : 1))"
    "$python" "$root/jetson_benchmark.py" compare "$@" || compared=$?
}

sweep_dtypes() {
    benchmark --autocast_dtype float32,float16,bfloat16 --out_dir "$out_dir"
    compare "$out_dir" --by autocast_dtype
}

sweep_fps() {
    local rate simulated=()
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
    # With simulated latencies, load on this machine does not matter: rows marked invalid are included.
    compare "$out_dir/sweep" ${simulated[@]+--force}
    "$python" "$root/scripts/plot_streaming.py" "$out_dir/sweep" --out "$out_dir/streaming.svg" || compared=$((compared ? compared : 1))
}

case $sweep in
    dtypes) sweep_dtypes ;;
    fps) sweep_fps ;;
esac
exit "$((status ? status : compared))"
