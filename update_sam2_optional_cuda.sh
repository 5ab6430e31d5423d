#!/usr/bin/env bash
# Updates a checkout of SAM 2 or EdgeTAM and rebuilds its optional CUDA extension, sam2._C. Run with --help for the usage.
# The extension labels connected components to fill small holes in masks. It is compiled for one torch, CUDA and GPU architecture, so it must
# be rebuilt after any of them changes and after a git pull. Upstream's build hides failures (it ends with success but without an extension)
# and keeps stale files that are imported instead of new ones, and pip's build isolation and dependencies may replace a board's torch. This
# script prevents these problems and checks the result.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
readonly root program=update_sam2
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/lib_git.sh
source "$root/scripts/lib_git.sh"
# shellcheck source=scripts/lib_cuda.sh
source "$root/scripts/lib_cuda.sh"

usage() {
    cat <<'EOF'
usage: ./update_sam2_optional_cuda.sh [--sam2_dir DIR] [--edgetam] [--no-pull] [--cuda {auto,on,off}] [--arch LIST]
                                      [--python PYTHON] [--dry-run]

Updates a git checkout of SAM 2, installs it into the environment and builds its optional CUDA extension sam2._C. First shows what it will do.
Changes only the checkout and the packages SAM-2, sam2 and EdgeTAM; torch is checked before and after.

  --sam2_dir DIR   the checkout (default: the first checkout among EdgeTAM, ../segment-anything-2, segment-anything-2, ../sam2, sam2
                     beside this script)
  --edgetam        EdgeTAM's checkout (default: EdgeTAM, ../EdgeTAM). EdgeTAM is built in place and not installed: the benchmark runs it
                     from its checkout, and its package, also called sam2, would replace SAM 2
  --no-pull        leave the checkout at its commit
  --cuda MODE      auto (default): build the extension if possible, else continue without it; on: fail if it cannot be built;
                     off: continue without it. Without it the benchmark labels components with OpenCV, with the same masks
  --arch LIST      CUDA architectures to build for, 8.7 for an Orin, 11.0 for a Thor, or "8.6;8.9" (default: TORCH_CUDA_ARCH_LIST, else the GPU's)
  --python PYTHON  interpreter of the environment (default: the active virtual environment, else .venv beside this script)
  --dry-run        show what would be done, and change nothing
  -h, --help       show this

Output of the tools is kept in build-logs/.
Exit status: 0 done, 1 not done (the last lines say why), 2 wrong usage.
EOF
}

# --- arguments ------------------------------------------------------------------------------------------------------------------

sam2_dir="" edgetam=no pull=yes cuda=auto arch="" python="" dry_run=no
while (($#)); do
    case $1 in
        --sam2_dir | --cuda | --arch | --python)
            [[ ${2-} ]] || die_usage "$1 needs a value"
            case $1 in
                --sam2_dir) sam2_dir=$2 ;;
                --cuda) cuda=$2 ;;
                --arch) arch=$2 ;;
                --python) python=$2 ;;
            esac
            shift 2
            ;;
        --edgetam)
            edgetam=yes
            shift
            ;;
        --no-pull)
            pull=no
            shift
            ;;
        --dry-run)
            dry_run=yes
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die_usage "unknown argument $1" ;;
    esac
done
case $cuda in
    auto | on | off) ;;
    *) die_usage "--cuda $cuda: use auto, on or off" ;;
esac
arch=${arch//[ ,]/;}
[[ -z $arch || $arch =~ ^[0-9]+\.[0-9]+[a-z]?(\+PTX)?(\;[0-9]+\.[0-9]+[a-z]?(\+PTX)?)*$ ]] ||
    die_usage "--arch $arch: give versions such as 8.7, several separated by semicolons"

# --- the checkout ---------------------------------------------------------------------------------------------------------------

is_edgetam() { # DIR
    [[ -f $1/sam2/modeling/perceiver.py ]]
}

# Sets `checkout` to the chosen folder, and `others` to other checkouts found.
checkout="" others=()
choose_checkout() {
    local candidates candidate fault
    if [[ $sam2_dir ]]; then
        fault=$(checkout_fault "$sam2_dir")
        [[ -z $fault ]] || die "--sam2_dir $sam2_dir: $fault"
        checkout=$(real_path "$sam2_dir")
        return
    fi
    candidates=("$root/EdgeTAM" "$root/../segment-anything-2" "$root/segment-anything-2" "$root/../sam2" "$root/sam2")
    if [[ $edgetam == yes ]]; then candidates=("$root/EdgeTAM" "$root/../EdgeTAM"); fi
    for candidate in "${candidates[@]}"; do
        [[ -d $candidate ]] || continue
        fault=$(checkout_fault "$candidate")
        if [[ $fault ]]; then
            say "skipping $candidate: $fault"
        elif [[ $checkout ]]; then
            others+=("$(real_path "$candidate")")
        else
            checkout=$(real_path "$candidate")
        fi
    done
    [[ $checkout ]] || die "found no checkout among: ${candidates[*]}" \
        "get one with scripts/get_sam2.sh or scripts/get_edgetam.sh, or name yours with --sam2_dir"
}

command -v git >/dev/null || die "git was not found; install it with the system's package manager: sudo apt install git"
isolate_git
choose_checkout
kind="SAM 2"
if is_edgetam "$checkout"; then kind=EdgeTAM; fi
[[ $edgetam == no || $kind == EdgeTAM ]] || die "--edgetam: $checkout is a checkout of SAM 2; leave out --edgetam, or name EdgeTAM's checkout"
readonly checkout kind

# --- the environment ------------------------------------------------------------------------------------------------------------

if [[ -z $python ]]; then
    for candidate in "${VIRTUAL_ENV:-$root/.venv}/bin/python" "$root/.venv/bin/python"; do
        if [[ -x $candidate ]]; then
            python=$candidate
            break
        fi
    done
    [[ $python ]] || die "there is no environment to build in; make one with scripts/setup.sh, or name an interpreter with --python"
fi
[[ $(type -t -- "$python") == file ]] || die "--python $python: there is no such program"
if [[ $python == */* ]]; then python=$(cd -- "$(dirname -- "$python")" && pwd)/$(basename -- "$python"); fi
readonly python

declare -A fact
# Runs sam2_facts.py from the root folder, so that nothing in the current folder is taken for an installed package. Fills `fact`.
learn() { # ARGUMENT...
    local lines key value
    lines=$(cd / && "$python" "$root/scripts/sam2_facts.py" "$@") || return 1
    fact=()
    while IFS='=' read -r key value; do fact[$key]=$value; done <<<"$lines"
}

learn environment || die "$python cannot report its torch (see above); set up the environment first: scripts/setup.sh"
readonly torch_before=${fact[torch]} installed=${fact[installed]}

# Sets `reason` if the extension will not be built, else the build's settings.
reason="" cuda_home="" header_path=""
if [[ $cuda == off ]]; then
    reason="--cuda off"
else
    plan_cuda "${fact[cuda]}" "${fact[header_dirs]}" "${fact[python_include]}" "${arch:-${TORCH_CUDA_ARCH_LIST:-${fact[arch]}}}"
fi

# --- what will be done ----------------------------------------------------------------------------------------------------------

leftovers() {
    (cd -- "$checkout" && shopt -s nullglob && printf '%s\n' build sam2/_C*.so | while read -r path; do
        if [[ -e $path ]]; then printf '%s ' "$path"; fi
    done)
}

show_plan() {
    local found
    found=$(leftovers)
    say "$kind in $checkout, at $(commit_at "$checkout")"
    if [[ $pull == yes ]]; then
        say "  update     $(describe_update "$checkout")"
    else
        say "  update     nothing (--no-pull)"
    fi
    if [[ $kind == "SAM 2" ]]; then say "  uninstall  ${installed:-nothing}"; fi
    say "  remove     ${found:-nothing}"
    if [[ -z $reason ]]; then
        say "  build      sam2._C for $arch with nvcc $nvcc_release of $cuda_home, against torch's CUDA ${fact[cuda]}"
    else
        say "  build      no sam2._C: $reason"
    fi
    if [[ $kind == "SAM 2" ]]; then say "  install    this checkout, editable, for $python"; fi
    say "  keep       $torch_before"
    if ((${#others[@]})); then say "also found and not changed (name one with --sam2_dir): ${others[*]}"; fi
}

show_plan
if [[ $cuda == on && $reason ]]; then die "--cuda on: sam2._C cannot be built: $reason" "nothing was changed"; fi
if [[ $dry_run == yes ]]; then exit 0; fi

mkdir -p -- "$root/build-logs"
log="$root/build-logs/$(date -u +%Y%m%dT%H%M%SZ)-$(basename -- "$checkout").log"
show_plan >"$log"
trap report_pending_stash EXIT

# --- build ----------------------------------------------------------------------------------------------------------------------

remove_build_products() {
    # A _C.cpython-*.so of an earlier build would be imported instead of a new _C.so.
    rm -rf -- "$checkout/build"
    rm -f -- "$checkout"/sam2/_C*.so
}

run_logged() { # COMMAND...
    printf '+ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1
}

uninstall() {
    if [[ -z $installed ]]; then return; fi
    say "uninstalling $installed"
    # A package outside the virtual environment cannot be uninstalled; the final check finds out whether it interferes.
    # shellcheck disable=SC2086 # names without spaces
    run_logged "$python" -m pip uninstall --yes $installed || die "pip could not uninstall $installed, see $log"
}

# Installs this checkout's package, with or without the extension. Without build isolation, which would build against another torch, and
# without dependencies, which would install one.
install() { # 1 or 0: with or without the extension
    local variables=(SAM2_BUILD_CUDA="$1" SAM2_BUILD_ALLOW_ERRORS=0)
    if (($1)); then
        variables+=(CUDA_HOME="$cuda_home" TORCH_CUDA_ARCH_LIST="$arch" CPATH="$header_path${header_path:+${CPATH:+:}}${CPATH-}")
    fi
    if [[ $kind == EdgeTAM ]]; then
        if (($1)); then (cd -- "$checkout" && run_logged env "${variables[@]}" "$python" setup.py build_ext --inplace --force) || return 1; fi
    else
        # This mode adds the checkout to the path as a folder. The other mode uses a finder that is asked after all folders, so that a folder
        #         # called sam2 in the current folder would be imported first.
        run_logged env "${variables[@]}" "$python" -m pip install --verbose --disable-pip-version-check \
            --no-build-isolation --no-deps --use-pep517 --config-settings editable_mode=compat --editable "$checkout" || return 1
    fi
    if (($1)) && ! compgen -G "$checkout/sam2/_C*.so" >/dev/null; then
        echo "the build ended with success but without a sam2/_C*.so" >>"$log"
        return 1
    fi
}

# Builds with the extension if planned, else without. Sets `reason` if the build of the extension fails.
build() {
    local begun=$SECONDS
    if [[ -z $reason ]]; then
        say "building sam2._C for $arch, which takes some minutes"
        if install 1; then
            say "built in $((SECONDS - begun)) s"
            return
        fi
        printf '    %s\n' "THE BUILD FAILED. The end of $log:" >&2
        tail -n 15 -- "$log" | sed 's/^/    /' >&2
        reason="its build failed, see $log"
        remove_build_products
    fi
    install 0 || die "installing $kind failed, see the end of $log" "sam2 is not installed now; scripts/setup.sh installs the released one again"
}

check_package() {
    local arguments=(package)
    if [[ $kind == EdgeTAM ]]; then arguments+=(--first "$checkout"); fi
    learn "${arguments[@]}" 2>>"$log" || die "the environment can no longer report torch and sam2, see the end of $log"
}

if [[ $pull == yes ]]; then update_checkout "$checkout" "$log"; fi
if [[ $kind == "SAM 2" ]]; then uninstall; fi
remove_build_products
build

# --- check ----------------------------------------------------------------------------------------------------------------------

check_package
if [[ ${fact[torch]} != "$torch_before" ]]; then
    die "TORCH HAS CHANGED. Do not use this environment before it is repaired." \
        "before: $torch_before" "after:  ${fact[torch]}" "$log has the cause; remove the environment and run scripts/setup.sh"
fi
if [[ -z ${fact[origin]} ]]; then
    die "${fact[extension]#broken: }" "install what it needs with scripts/setup.sh, then run this again"
fi
if [[ ${fact[origin]} != "$checkout/sam2" ]]; then
    die "import sam2 finds '${fact[origin]}' instead of $checkout/sam2" \
        "remove the other package (a folder left by another installation, PYTHONPATH), then run this again"
fi
if [[ -z $reason && ${fact[extension]} == broken:* ]]; then
    reason="it was built, but ${fact[extension]#broken: }"
    remove_build_products
    check_package
fi

commit=$(commit_at "$checkout")
if ((${#warnings[@]})); then say "${warnings[@]/#/WARNING, again: }"; fi
case ${fact[extension]} in
    works) say "ready: $kind at $commit with sam2._C, which labels a known mask correctly on this GPU" ;;
    loads) say "ready: $kind at $commit with sam2._C, which loads; there is no GPU here to test it" ;;
    absent) say "ready WITHOUT sam2._C ($reason): $kind at $commit; the benchmark fills holes with OpenCV, with the same masks at about 1 ms a frame" ;;
    *) die "sam2._C is in an unexpected state: ${fact[extension]}" ;;
esac
if [[ $cuda == on && $reason ]]; then die "--cuda on: there is no sam2._C: $reason"; fi
