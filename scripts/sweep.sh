#!/usr/bin/env bash
# Runs models once for each autocast dtype, at several camera rates, with several keyframes, or in each power mode, and compares them. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOT'
usage: scripts/sweep.sh dtypes SPLIT_DIR [MODELS] [BENCHMARK_ARGUMENT...]
       scripts/sweep.sh fps SPLIT_DIR [MODELS] [--rates LIST] [--from FILE | --live] [BENCHMARK_ARGUMENT...]
       scripts/sweep.sh keyframes SPLIT_DIR [MODELS] [--camera_fps LIST] [--keyframe LIST] [--from FILE | --live] [BENCHMARK_ARGUMENT...]
       sudo scripts/sweep.sh power SPLIT_DIR [MODELS] [--modes LIST] [BENCHMARK_ARGUMENT...]
       scripts/sweep.sh dtypes /data/sav_val sam2_base_points,edgetam_points --limit_videos 20
       scripts/sweep.sh fps /data/sav_val sam2_tiny_mask,edgetam_mask --from orin/frames.csv

dtypes  runs the models under autocast to float32 (none), float16 and bfloat16 into one folder, and compares the dtypes
power   on a Jetson: runs the models once in each power mode with locked clocks, compares the modes and writes report.html, with joules per
        frame against speed and against J&F; restores mode and clocks at the end. As root, for the modes; models run as the user of sudo
fps     measures the models once, simulates cameras of several rates with these latencies, compares the models at each rate, and
        plots streaming J&F over the rate
keyframes  does so with the model on every Kth frame only, for each K, and names the best K for each camera rate

  SPLIT_DIR     folder of an SA-V split
  MODELS        comma-separated MODEL_PROMPT (default: sam2_tiny_points,edgetam_points for dtypes and power, sam2_tiny_mask,edgetam_mask
                for keyframes, and static_mask too for fps)
  --rates LIST  frames per second, comma-separated (default: 3,6,12,24,48)
  --camera_fps LIST  the same of keyframes (default: 30)
  --keyframe LIST    as the benchmark takes it (default: 1,2,3,5,2:hold,3:hold,5:hold)
  --from FILE   use the latencies in an earlier run's frames.csv, perhaps from another board, and measure nothing
  --modes LIST  power modes, comma-separated, as scripts/lock_clocks.sh takes them (default: all that need no reboot)
  --live        run in real time at each rate instead of simulating it
  -h, --help    show this

The folder is --out_dir, or results/dtypes_TIME, results/fps_TIME, results/keyframes_TIME and results/power_TIME; fps and keyframes write
measured/ (the run whose latencies are used) and sweep/ (a row per object, model and rate) into it, fps also streaming.svg, power a run per
mode. The same --out_dir resumes an interrupted sweep.
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
    dtypes | power) models=sam2_tiny_points,edgetam_points ;;
    fps) models=sam2_tiny_mask,edgetam_mask,static_mask ;;
    keyframes) models=sam2_tiny_mask,edgetam_mask ;;
    *) die_usage "name the sweep first: dtypes, fps, keyframes or power" ;;
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
rates=3,6,12,24,48 camera_fps=30 keyframe=1,2,3,5,2:hold,3:hold,5:hold from="" live="" out_dir="" modes=""
arguments=()
while (($#)); do
    case $sweep:$1 in
        "$sweep:"--split_dir* | "$sweep:"--models* | dtypes:--autocast_dtype* | fps:--realtime* | keyframes:--realtime*) die_usage "${1%%=*} is set by this script; leave it out" ;;
        fps:--live | keyframes:--live) live=1 ;;
        fps:--rates=* | fps:--from=* | keyframes:--from=* | keyframes:--camera_fps=* | keyframes:--keyframe=* | power:--modes=* | "$sweep:"--out_dir=*)
            name=${1%%=*}
            printf -v "${name#--}" '%s' "${1#*=}"
            ;;
        fps:--rates | fps:--from | keyframes:--from | keyframes:--camera_fps | keyframes:--keyframe | power:--modes | "$sweep:"--out_dir)
            (($# > 1)) || die_usage "$1 needs a value"
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
[[ -z $live || -z $from ]] || die_usage "--live measures and --from does not; give one of them"
rates_flag=--rates
if [[ $sweep == keyframes ]]; then
    rates=$camera_fps rates_flag=--camera_fps
    arguments+=(--keyframe "$keyframe")
fi
IFS=, read -ra rate_list <<<"$rates"
((${#rate_list[@]})) || die_usage "$rates_flag names no rate"
for rate in "${rate_list[@]}"; do
    [[ $rate =~ ^[0-9]+([.][0-9]+)?$ ]] || die_usage "$rates_flag: $rate is not a number of frames per second"
done
out_dir=${out_dir:-results/${sweep}_$(date +%Y-%m-%d_%H-%M-%S)}

python=${PYTHON:-$root/.venv/bin/python}
command -v -- "$python" >/dev/null || {
    echo "sweep: $python was not found; run 'make setup' first, or name an interpreter with PYTHON" >&2
    exit 1
}

say() {
    printf 'sweep: %s\n' "$*"
}

# --- run ------------------------------------------------------------------------------------------------------------------------

status=0
# As root only power modes and clocks are changed; what the benchmark writes belongs to the user.
as_user=()
if [[ $(id -u) == 0 && ${SUDO_USER-} ]]; then as_user=(sudo --user "$SUDO_USER" --set-home --); fi
run_python() {
    ${as_user[@]+"${as_user[@]}"} "$python" "$@"
}

# Failed rows, for example NaN under float16, are a result; other failures end the sweep.
benchmark() {
    local of_run=0
    run_python "$root/jetson_benchmark.py" --split_dir "$split_dir" --models "$models" ${arguments[@]+"${arguments[@]}"} "$@" || of_run=$?
    ((of_run <= 1)) || exit "$of_run"
    ((status >= of_run)) || status=$of_run
}

compared=0
compare() { # RUN ARGUMENT...
    [[ -s $1/summary.csv ]] || exit "$((status ? status : 1))"
    run_python "$root/jetson_benchmark.py" compare "$@" || compared=$?
}

sweep_dtypes() {
    benchmark --autocast_dtype float32,float16,bfloat16 --out_dir "$out_dir"
    compare "$out_dir" --by autocast_dtype
}

# Measure once, and simulate every rate with the latencies, or run live at every rate.
simulated=()
at_every_rate() {
    local rate
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
}

sweep_fps() {
    at_every_rate
    # With simulated latencies, load on this machine does not matter: rows marked invalid are included.
    compare "$out_dir/sweep" ${simulated[@]+--force}
    run_python "$root/scripts/plot_streaming.py" "$out_dir/sweep" --out "$out_dir/streaming.svg" || compared=$((compared ? compared : 1))
}

sweep_keyframes() {
    at_every_rate
    compare "$out_dir/sweep" --by keyframe ${simulated[@]+--force}
    run_python "$root/scripts/best_keyframe.py" "$out_dir/sweep" || compared=$((compared ? compared : 1))
}

# Lines of `NUMBER NAME` or `NUMBER NAME (remark)`.
power_modes() {
    "$root/scripts/lock_clocks.sh" --list | sed 's/^lock_clocks: //'
}

sweep_power() {
    local known mode runs=() skipped=()
    known=$(power_modes) || exit 1
    [[ $(id -u) == 0 ]] || {
        echo "sweep: only root may change power modes: run this with sudo" >&2
        exit 1
    }
    if [[ ! $modes ]]; then
        modes=$(grep -v reboot <<<"$known" | awk '{ print $2 }' | paste -sd,)
        while read -r _ mode _; do skipped+=("$mode"); done < <(grep reboot <<<"$known")
    fi
    [[ -z ${skipped[*]-} ]] || say "left out, because the board probably has to reboot for them: ${skipped[*]}"
    trap '"$root/scripts/lock_clocks.sh" --restore' EXIT
    IFS=, read -ra mode_list <<<"$modes"
    for mode in "${mode_list[@]}"; do
        say "power mode $mode"
        if ! "$root/scripts/lock_clocks.sh" --mode "$mode"; then
            say "power mode $mode is left out; the line above says why"
            status=1
            continue
        fi
        benchmark --out_dir "$out_dir/$mode"
        runs+=("$out_dir/$mode")
    done
    ((${#runs[@]})) || exit 1
    compare "${runs[@]}" --by nvpmodel
    run_python "$root/jetson_benchmark.py" report "${runs[@]}" -o "$out_dir/report.html" || compared=$((compared ? compared : 1))
}

case $sweep in
    power) sweep_power ;;
    dtypes) sweep_dtypes ;;
    fps) sweep_fps ;;
    keyframes) sweep_keyframes ;;
esac
exit "$((status ? status : compared))"
