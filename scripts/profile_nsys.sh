#!/usr/bin/env bash
# Runs one arm of the benchmark under NVIDIA Nsight Systems. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOF'
usage: scripts/profile_nsys.sh BENCHMARK_ARGUMENT...
       scripts/profile_nsys.sh --split_dir /data/sav_val --models sam2_base_points

Runs jetson_benchmark.py with these arguments under Nsight Systems and writes a timeline of CUDA, cuDNN, cuBLAS, the operating system and
the benchmark's own stages (SAVBENCH_NVTX=1) to nsys/trace.nsys-rep in the run's folder.

Profiles one arm: give lists of one item. By default it runs 40 frames of one object, because a trace of a whole split could not be opened.
The run's folder is --out_dir, or results/nsys_TIME. Its figures are measured with a profiler attached: never report them.

  -h, --help    show this

Environment: NSYS names the program if it is not found automatically; PYTHON names the interpreter (default .venv/bin/python of the repository).
Exit status: that of the benchmark, 1 if there is no trace, 2 wrong usage.
EOF
}

die() { # STATUS LINE...
    local status=$1
    shift
    printf 'profile_nsys: %s\n' "$@" >&2
    exit "$status"
}

# --- arguments ------------------------------------------------------------------------------------------------------------------

(($#)) || {
    usage >&2
    exit 2
}
out_dir=""
declare -A given=()
arguments=("$@")
while (($#)); do
    case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --*=*)
            option=${1%%=*} value=${1#*=}
            ;;
        --*)
            option=$1 value=${2-}
            ;;
        *)
            shift
            continue
            ;;
    esac
    given[$option]=yes
    case $option in
        --models | --autocast_dtype | --attention | --imgsz)
            [[ $value != *,* ]] || die 2 "$option $value makes several arms; profile one at a time"
            ;;
        --out_dir) out_dir=$value ;;
    esac
    shift
done
[[ ${given[--models]-} ]] || die 2 "name the model, for example --models sam2_base_points"

if [[ -z ${given[--limit_videos]-} ]]; then arguments+=(--limit_videos 1); fi
if [[ -z ${given[--limit_objects]-} ]]; then arguments+=(--limit_objects 1); fi
if [[ -z ${given[--max_frames]-} ]]; then arguments+=(--max_frames 40); fi
if [[ -z $out_dir ]]; then
    out_dir=results/nsys_$(date +%Y-%m-%d_%H-%M-%S)
    arguments+=(--out_dir "$out_dir")
fi
# An existing run would be resumed, and a finished one has nothing to trace.
[[ ! -e $out_dir/run.json ]] || die 2 "$out_dir has a run already; give another --out_dir"

# --- programs -------------------------------------------------------------------------------------------------------------------

find_nsys() {
    local candidate
    if [[ ${NSYS-} ]]; then
        command -v -- "$NSYS" || die 1 "NSYS=$NSYS: there is no such program"
        return
    fi
    if command -v nsys; then return; fi
    # Folders of JetPack and the CUDA toolkit that are not on the PATH; the newest release first.
    while read -r candidate; do
        if [[ -x $candidate ]]; then
            echo "$candidate"
            return
        fi
    done < <(printf '%s\n' /usr/local/cuda/bin/nsys /opt/nvidia/nsight-systems*/*/bin/nsys | sort -rV)
    die 1 "Nsight Systems (nsys) was not found" \
        "on a Jetson and on Ubuntu with NVIDIA's package source: 'apt-cache search nsight-systems' lists the releases; JetPack 6.2 has" \
        "    sudo apt install nsight-systems-2024.5.4" \
        "elsewhere: https://developer.nvidia.com/nsight-systems/get-started" \
        "if it is installed in another folder: NSYS=/path/to/nsys scripts/profile_nsys.sh ..."
}

nsys=$(find_nsys)
python=${PYTHON:-$root/.venv/bin/python}
command -v -- "$python" >/dev/null || die 1 "$python was not found; run 'make setup' first, or name an interpreter with PYTHON"

# --- run ------------------------------------------------------------------------------------------------------------------------

readonly trace="$out_dir/nsys/trace"
mkdir -p -- "$out_dir/nsys"
echo "profile_nsys: $("$nsys" --version)"
status=0
# The worker is a child of the benchmark; nsys follows children.
SAVBENCH_NVTX=1 "$nsys" profile --trace=cuda,nvtx,osrt,cudnn,cublas --cuda-memory-usage=true --output="$trace" --force-overwrite=true \
    "$python" "$root/jetson_benchmark.py" "${arguments[@]}" || status=$?
[[ -s $trace.nsys-rep ]] || die "$((status ? status : 1))" "nsys left no $trace.nsys-rep; the lines above say why"
cat <<EOF
profile_nsys: $trace.nsys-rep
profile_nsys: time per stage and per kernel: $nsys stats --report nvtx_sum,cuda_gpu_kern_sum '$trace.nsys-rep'
profile_nsys: the timeline: open the file in nsys-ui, on any machine
profile_nsys: the figures of this run were measured under a profiler; do not report them
EOF
exit "$status"
