#!/usr/bin/env bash
# Proves the benchmark on a machine with a GPU and no network, within ten minutes. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root program=gpu_acceptance
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

usage() {
    cat <<'EOF'
usage: scripts/gpu_acceptance.sh [--rehearse] [--python PYTHON] KIT OUT

Runs the tests of the GPU, the self-check, SAM 2.1 tiny to large and EdgeTAM with random weights at 1024 in bfloat16, and upstream's own
loop beside them; in what is left of ten minutes, what samplers, garbage collection and scoring cost a frame. Every step has its own time;
one that fails does not stop the others.

  KIT              folder of wheels made by scripts/offline_bundle.sh; what they hold goes into a temporary folder, torch and all else that
                   they lack are those of the interpreter. `none`: the interpreter has everything
  OUT              folder for the results: steps.tsv, log.txt, selfcheck.json, summary.csv of the run, upstream.json; the tables of the last
                   two steps are in log.txt
  --rehearse       on a machine without a GPU: the same steps, as small as they can be and with ten times as long for each
  --python PYTHON  interpreter (default: python3)
  -h, --help       show this

Exit status: 0 every step ended well, 1 one did not (steps.tsv says which), 2 wrong usage.
EOF
}

rehearse=no patience=1 python=python3 arguments=()
while (($#)); do
    case $1 in
        --rehearse)
            rehearse=yes patience=10
            shift
            ;;
        --python)
            [[ ${2-} ]] || die_usage "--python needs a value"
            python=$2
            shift 2
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*) die_usage "unknown argument $1" ;;
        *)
            arguments+=("$1")
            shift
            ;;
    esac
done
((${#arguments[@]} == 2)) || die_usage "give KIT and OUT"
python=$(command -v -- "$python") || die "no interpreter of that name; give --python"
[[ $python == /* ]] || python=$PWD/$python
[[ ${arguments[0]} == none || -d ${arguments[0]} ]] || die "${arguments[0]}: no such folder; make it with scripts/offline_bundle.sh"
kit=none
[[ ${arguments[0]} == none ]] || kit=$(cd -- "${arguments[0]}" && pwd)
mkdir -p -- "${arguments[1]}" || die "${arguments[1]}: cannot be made; give another OUT"
out=$(cd -- "${arguments[1]}" && pwd)

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cd -- "$root"
export TQDM_DISABLE=1 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HUB_OFFLINE=1
printf 'step\tstatus\tseconds\n' >"$out/steps.tsv"
: >"$out/log.txt"
failed=0

step() { # NAME SECONDS COMMAND...
    local name=$1 limit=$(($2 * patience)) begun=$SECONDS status=0
    shift 2
    say "$name (at most $limit s)"
    timeout --kill-after=5 "$limit" "$@" >"$work/log" 2>&1 </dev/null || status=$?
    { printf '\n==== %s\n' "$name" && cat -- "$work/log"; } >>"$out/log.txt"
    printf '%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - begun))" >>"$out/steps.tsv"
    if ((status)); then
        failed=1
        warn "$name: exit status $status$([[ $status != 124 ]] || echo ', it took too long'); the end of its log:" "$(tail -n 5 -- "$work/log")"
    fi
}

readonly whole=595 # seconds

step_if_time() { # NAME SECONDS COMMAND...
    if ((SECONDS + $2 * patience <= whole * patience)); then
        step "$@"
    else
        say "$1: left out, the ten minutes are nearly over"
        printf '%s\tleft out\t0\n' "$1" >>"$out/steps.tsv"
    fi
}

if [[ $kit != none ]]; then
    # a wheel is an archive of what is to lie on the path: a machine without pip can do with that
    # shellcheck disable=SC2016 # the inner shell expands them
    step install 50 bash -c '"$1" -m pip install --quiet --no-index --no-deps --target "$2" "${@:3}" && exit
        for wheel in "${@:3}"; do "$1" -m zipfile -e "$wheel" "$2" || exit; done' install "$python" "$work/packages" "$kit"/*.whl
    export PYTHONPATH="$work/packages${PYTHONPATH:+:$PYTHONPATH}"
fi
if [[ $rehearse == yes ]]; then
    # on a busy machine, threads that wait for each other take a hundred times as long as one
    export OMP_NUM_THREADS=1
    device=cpu selfcheck=(--quick) extra=(--rehearse) pauses=(--quick) scoring=(--quick)
    models=sam2_tiny_mask,edgetam_mask settings=(--imgsz 256 --autocast_dtype float32 --max_frames 5 --warmup_frames 1)
else
    device=cuda selfcheck=() extra=() pauses=(--frames 100 --rounds 3) scoring=(--videos 1 --rounds 1)
    models=sam2_tiny_mask,sam2_small_mask,sam2_base_mask,sam2_large_mask,edgetam_mask
    settings=(--autocast_dtype bfloat16 --max_frames 16 --min_frames 100 --warmup_frames 4)
fi
# conftest.py is for the other tests, and needs more than pytest. 5: nothing was collected, which is as it should be where there is no GPU to test
# shellcheck disable=SC2016 # the inner shell expands them
step tests 110 bash -c '"$1" -m pytest -q --noconftest -p no:cacheprovider -m "not slow" tests/gpu; status=$?; ((status == 5)) && [[ $2 == yes ]] || exit $status' \
    tests "$python" "$rehearse"
step selfcheck 230 "$python" jetson_benchmark.py selfcheck --device "$device" ${selfcheck[@]+"${selfcheck[@]}"} --json "$out/selfcheck.json"
step run 100 "$python" -c 'import sys
from pathlib import Path
from jetson_benchmark import main
from savbench.selfcheck.recorded import load, write_split
write_split(load(), Path(sys.argv[1]), {"clip": 4})
sys.exit(main(["--split_dir", *sys.argv[1:]]))' "$work/split" --models "$models" --random_weights --device "$device" \
    --limit_objects 1 "${settings[@]}" --out_dir "$work/run"
cp -- "$work/run/summary.csv" "$out/summary.csv" 2>/dev/null || true # the step has said why
step upstream 100 "$python" -m benchmarks.gpu_acceptance --device "$device" ${extra[@]+"${extra[@]}"} --out "$out/upstream.json"
step_if_time pauses 60 "$python" benchmarks/bench_pauses.py --device "$device" "${pauses[@]}"
step_if_time scoring 90 "$python" benchmarks/bench_scoring.py --device "$device" "${scoring[@]}"
say "results in $out" "$(column -t -s $'\t' "$out/steps.tsv" 2>/dev/null || cat -- "$out/steps.tsv")"
exit "$failed"
