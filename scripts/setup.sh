#!/usr/bin/env bash
# Makes the benchmark's virtual environment and installs its requirements. Run with --help for the usage.
# On a desktop or server everything, including torch, comes from the package registry. On a Jetson torch has to match the board's CUDA: there
# the environment uses the system's packages, pip must keep the installed torch, torchvision and major version of NumPy, and torch is compared
# before and after. JetPack brings no torch: with --with-torch it is installed into the environment, never into the system, whose Python on
# JetPack 7 refuses packages (PEP 668). Needs no root.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOF'
usage: scripts/setup.sh [--minimal] [--dev] [--ray] [--with-torch] [--python PYTHON] [--venv DIR]
                        [--torch {auto,system,registry}] [--offline DIR]

Makes a virtual environment and installs the benchmark's requirements into it. Ends at once if nothing has changed.

  --minimal        only what SAM 2, the baselines, compare and validate need, without report's packages (requirements-report.txt), EdgeTAM's
                   (requirements-edgetam.txt), Cutie's (requirements-cutie.txt), transformers and what --runtime onnx needs
                   (requirements-onnx.txt); what is installed already stays
  --dev            also install packages for tests, lint and benchmarks
  --ray            also install Ray, for --executor ray: 80 MB to download, 240 MB installed
  --with-torch     on a Jetson without a torch that works: install the one for its JetPack into the environment (what it is and what it
                   costs is said before; see savbench/board/jetpacks.tsv); a torch that works stays
  --python PYTHON  interpreter to make the environment with (default: python3 if it is 3.10 or newer, else the newest python3.X found)
  --venv DIR       folder of the environment (default: .venv in the repository)
  --torch SOURCE   system: use the system Python's torch; registry: let pip install torch; auto (default): system on a Jetson,
                   registry elsewhere
  --offline DIR    install only from DIR, made by scripts/offline_bundle.sh for this machine; torch is then the system's, unless DIR has
                   one. Later calls without this option keep using DIR
  -h, --help       show this

Environment: SETUP_MIN_FREE_MIB overrides the free disk space required; pip's own variables (PIP_INDEX_URL, PIP_FIND_LINKS,
PIP_NO_CACHE_DIR, ...) and TMPDIR are respected; SETUP_ROOT is a prefix of /etc and /proc, for tests.
Exit status: 0 ready, 1 not ready (the last lines say why), 2 wrong usage.
EOF
}

say() {
    printf 'setup: %s\n' "$*"
}

die() { # LINE...
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

die_usage() {
    printf 'setup: %s\n' "$1" >&2
    usage >&2
    exit 2
}

# --- arguments ------------------------------------------------------------------------------------------------------------------

dev=no ray=no minimal=no with_torch=no python="" venv="$root/.venv" torch_from=auto offline=""
while (($#)); do
    case $1 in
        --dev | --ray | --minimal)
            printf -v "${1#--}" yes
            shift
            ;;
        --with-torch)
            with_torch=yes
            shift
            ;;
        --python | --venv | --torch | --offline)
            [[ ${2-} ]] || die_usage "$1 needs a value"
            case $1 in
                --python) python=$2 ;;
                --venv) venv=$2 ;;
                --torch) torch_from=$2 ;;
                --offline) offline=$2 ;;
            esac
            shift 2
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die_usage "unknown argument $1" ;;
    esac
done
[[ $venv == /* ]] || venv="$PWD/$venv"
readonly venv venv_python="$venv/bin/python" stamp="$venv/.setup-stamp" log="$venv/setup.log"
# Says that the torch in the environment was installed by --with-torch, not by some package that came with its own.
readonly own_torch="$venv/.with-torch" fs=${SETUP_ROOT-}

# --- from a folder instead of a registry ----------------------------------------------------------------------------------------

# An environment made from a folder keeps using it.
if [[ ! $offline && -f $stamp ]]; then read -r _ _ _ _ offline <"$stamp"; fi
if [[ $offline ]]; then
    [[ $dev == no && $ray == no && $with_torch == no ]] ||
        die_usage "--offline has only the packages for running the benchmark; leave out --dev, --ray and --with-torch"
    offline=$(cd -- "$offline" 2>/dev/null && pwd) || die "--offline $offline: no such folder" \
        "copy the folder that scripts/offline_bundle.sh made for this machine, or remove $venv to set up from a registry"
    [[ -f $offline/SHA256SUMS && -f $offline/requirements.txt ]] ||
        die "--offline $offline: not made by scripts/offline_bundle.sh: SHA256SUMS or requirements.txt is missing"
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=$offline
    unset PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_CONSTRAINT
    if [[ $torch_from == auto ]] && ! compgen -G "$offline/torch-*.whl" >/dev/null; then torch_from=system; fi
fi
readonly offline
# The tests need everything, and a folder for a machine without a network is installed as it is.
if [[ $dev == yes || $offline ]]; then minimal=no; fi

case $torch_from in
    system | registry) ;;
    auto)
        torch_from=registry
        if [[ -e $fs/etc/nv_tegra_release ]] || grep -qs tegra "$fs/proc/device-tree/compatible"; then torch_from=system; fi
        ;;
    *) die_usage "--torch $torch_from: use auto, system or registry" ;;
esac
readonly torch_from

# The user's settings could make pip install under ~/.local, or report a newer pip at every call.
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1

# --- nothing to do? -------------------------------------------------------------------------------------------------------------

torch_release() { # PYTHON
    "$1" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || echo none
}

# Run from the root folder, so that a checkout in the current folder (for example sam2/) is not taken for an installed package.
torch_facts() { # PYTHON
    (cd / && "$1" -c 'import torch
print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, GPU usable: {torch.cuda.is_available()}, in {torch.__file__}")')
}

# Whether a Jetson's torch and torchvision need no others: they compute on the GPU, or only this user's rights are missing.
torch_serves() { # PYTHON
    (cd / && "$1" - 2>/dev/null) <<'EOF'
import os
import sys

import torch
import torchvision

if torch.version.cuda is None:
    sys.exit(1)
if torch.cuda.is_available():
    torch.zeros(1, device="cuda").add_(1).item()
elif not os.path.exists("/dev/nvmap") or os.access("/dev/nvmap", os.R_OK | os.W_OK):
    sys.exit(1)
EOF
}

has_edgetam() {
    [[ -f $root/EdgeTAM/sam2/build_sam.py ]]
}

# Everything that determines the environment's contents. If the system's torch was upgraded, the board is set up again.
fingerprint() {
    {
        cat -- "$root/scripts/setup.sh" "$root"/requirements*.txt
        echo "$venv $torch_from $("$venv_python" --version)"
        if [[ $torch_from == system ]]; then torch_release "$venv_python"; fi
        if [[ $offline ]]; then cat -- "$offline/SHA256SUMS"; fi
        if has_edgetam; then echo EdgeTAM; fi
    } | sha256sum | cut -d' ' -f1
}

venv_works() {
    [[ -x $venv_python ]] && "$venv_python" -c 'import pip' 2>/dev/null
}

# Installed extras stay wanted, so that asking for one extra and then another does not remove the first.
is_set_up() {
    [[ -f $stamp ]] && venv_works || return 1
    local known_fingerprint known_dev known_ray known_minimal
    read -r known_fingerprint known_dev known_ray known_minimal _ <"$stamp"
    [[ $known_fingerprint == "$(fingerprint)" ]] || return 1
    [[ $with_torch == no ]] || torch_serves "$venv_python" || return 1
    if [[ $known_dev == yes ]]; then dev=yes; fi
    if [[ $known_ray == yes ]]; then ray=yes; fi
    if [[ $known_minimal == no ]]; then minimal=no; fi
    [[ "$dev $ray $minimal" == "$known_dev $known_ray $known_minimal" ]]
}

if is_set_up; then
    say "$venv is up to date"
    exit 0
fi

# --- interpreter ----------------------------------------------------------------------------------------------------------------

is_new_enough() { # PYTHON
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

choose_python() {
    local candidate
    if [[ $python ]]; then
        [[ $(type -t -- "$python") == file ]] || die "--python $python: there is no such program"
        is_new_enough "$python" || die "--python $python: the benchmark needs Python 3.10 or newer, this is $("$python" --version 2>&1)"
    else
        # A command may exist and still not run, as pyenv's do for versions that are not enabled.
        for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
            if is_new_enough "$candidate"; then
                python=$candidate
                break
            fi
        done
        [[ $python ]] || die "the benchmark needs Python 3.10 or newer, python3 here is: $(python3 --version 2>&1)" \
            "install a newer one with the system's package manager, or name one with --python"
    fi
    # An active virtual environment would report its own packages instead of the system's.
    python=$("$python" -c 'import os, sys
own = sys.prefix == sys.base_prefix
print(sys.executable if own else os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2]))')
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python cannot make virtual environments; on Debian, Ubuntu and JetPack: apt install python3-venv"
}

choose_python

# --- the board's torch ----------------------------------------------------------------------------------------------------------

# Packages that pip must not change. A torch built against NumPy 1 cannot exchange arrays with NumPy 2, so NumPy keeps its major version; if
# the system has no NumPy, every torch works with NumPy 1.
write_constraints() { # FILE
    "$torch_python" - >"$1" <<'EOF'
from importlib.metadata import PackageNotFoundError, version

for name in ("torch", "torchvision"):
    print(f"{name}=={version(name)}")
try:
    numpy_major = version("numpy").split(".")[0]
except PackageNotFoundError:
    numpy_major = "1"
if numpy_major == "1":
    print("numpy<2")
EOF
}

# The torch of this release of Jetson Linux, as savbench/board/jetpacks.tsv has it: sets `jetpack`, `torch_packages`, `torch_index`,
# `download_mib` and `disk_mib`.
torch_of_jetpack() {
    local major l4t columns
    major=$(sed -nE 's/^# R([0-9]+) \(release\).*/\1/p' "$fs/etc/nv_tegra_release" 2>/dev/null | head -n 1)
    while IFS=$'\t' read -r l4t jetpack columns; do
        [[ $l4t == "$major" ]] || continue
        IFS=$'\t' read -r _ _ torch_packages torch_index download_mib disk_mib <<<"$columns"
        return 0
    done < <(grep -v '^#' "$root/savbench/board/jetpacks.tsv")
    return 1
}

torch_cost() {
    echo "about $download_mib MiB to download, $disk_mib MiB on the disk"
}

# Which Python's torch the environment uses: its own from an earlier --with-torch, the system's, or one to install now.
torch_python=$python installs_torch=no
if [[ $torch_from == system ]]; then
    if [[ -f $own_torch ]] && venv_works && torch_serves "$venv_python"; then
        torch_python=$venv_python
    elif ! torch_serves "$python"; then
        known=no
        if torch_of_jetpack; then known=yes; fi
        if [[ $with_torch == yes ]]; then
            [[ $known == yes ]] || die "--with-torch: which torch this system needs is not known here (/etc/nv_tegra_release says it of a Jetson)" \
                "install the torch and torchvision made for it from https://docs.nvidia.com/deeplearning/frameworks/install-pytorch-jetson-platform/"
            torch_python=$venv_python installs_torch=yes
        elif ! torch_facts "$python" >/dev/null; then
            lines=("the torch of $python cannot be imported (see above), and JetPack brings none"
                "install the torch and torchvision made for this JetPack, NVIDIA's or the Jetson AI Lab's, then run this again")
            if [[ $known == yes ]]; then
                lines[1]="to install the one for JetPack $jetpack into $venv ($(torch_cost)): scripts/setup.sh --with-torch"
                lines+=("it runs: pip install --no-deps --index-url $torch_index $torch_packages")
            fi
            die "${lines[@]}" "to install the registry's torch instead: --torch registry"
        fi
    fi
elif [[ $with_torch == yes ]]; then
    say "--with-torch is for a Jetson; here pip installs torch with the other requirements"
fi

# --- disk -----------------------------------------------------------------------------------------------------------------------

existing_parent() { # PATH
    local path=$1
    until [[ -d $path ]]; do path=$(dirname -- "$path"); done
    echo "$path"
}

need_space() { # MIB FOLDER WHAT
    local free_mib
    free_mib=$(($(stat -f -c '%a * %S' -- "$2") / 1048576))
    ((free_mib >= $1)) || die "$3 needs $1 MiB free, $2 has $free_mib" \
        "free some space, put the environment elsewhere with --venv DIR, or set TMPDIR to a folder on a larger disk" \
        "to continue anyway: SETUP_MIN_FREE_MIB=0"
}

check_space() {
    local venv_mib temp_mib=500 venv_folder temp_folder
    venv_mib=1500
    if [[ $torch_from == registry && $(torch_release "$venv_python") == none ]]; then
        # torch with CUDA: packed and unpacked.
        venv_mib=7000 temp_mib=3500
    elif [[ $installs_torch == yes ]]; then
        venv_mib=$((venv_mib + disk_mib)) temp_mib=$((temp_mib + download_mib))
    fi
    venv_folder=$(existing_parent "$venv") temp_folder=${TMPDIR:-/tmp}
    if [[ ${SETUP_MIN_FREE_MIB-} ]]; then
        need_space "$SETUP_MIN_FREE_MIB" "$venv_folder" "the environment"
    elif [[ $(stat -c %d -- "$venv_folder") == "$(stat -c %d -- "$temp_folder")" ]]; then
        need_space "$((venv_mib + temp_mib))" "$venv_folder" "the environment with its downloads"
    else
        need_space "$venv_mib" "$venv_folder" "the environment"
        need_space "$temp_mib" "$temp_folder" "the downloads for the environment"
    fi
}

check_space

# --- environment ----------------------------------------------------------------------------------------------------------------

make_venv() {
    local options=(--clear)
    if [[ $torch_from == system ]]; then options+=(--system-site-packages); fi
    if [[ -e $venv && ! -f $venv/pyvenv.cfg && -n $(ls -A -- "$venv") ]]; then
        die "$venv exists and is not a virtual environment; name another folder with --venv"
    fi
    say "making $venv with $("$python" --version) ($python)"
    "$python" -m venv "${options[@]}" -- "$venv" || die "could not make a virtual environment in $venv"
}

if venv_works; then
    sees_system=no
    if grep -qi '^include-system-site-packages *= *true' "$venv/pyvenv.cfg"; then sees_system=yes; fi
    wants_system=no
    if [[ $torch_from == system ]]; then wants_system=yes; fi
    [[ $sees_system == "$wants_system" ]] ||
        die "$venv was made for another --torch than $torch_from; remove it and run this again: rm -r '$venv'"
    is_new_enough "$venv_python" || die "$venv has $("$venv_python" --version), which is too old; remove it and run this again: rm -r '$venv'"
else
    make_venv
fi
rm -f -- "$stamp" "$log"

# --- packages -------------------------------------------------------------------------------------------------------------------

# pip's messages for a registry that cannot be reached, and for a package that none of its sources has.
readonly no_registry='NewConnectionError|ConnectTimeout|ReadTimeout|name resolution|Name or service not known|Network is unreachable'
readonly no_package='ProxyError|No matching distribution found'

explain_failure() { # WHAT
    if grep -qs 'No space left on device' "$log"; then
        die "the disk is full: installing $1 failed" \
            "free some space, set TMPDIR to a folder on a larger disk, or disable pip's cache with PIP_NO_CACHE_DIR=1 (log: $log)"
    fi
    if ! grep -qs "conflicting dependencies" "$log" && grep -qsE "$no_registry|$no_package" "$log"; then
        die "installing $1 failed: this machine is offline, or pip's registry does not have it (log: $log)" \
            "without a network: run scripts/offline_bundle.sh on a machine that has one (see its --help), copy its folder here, and" \
            "run: scripts/setup.sh --offline DIR"
    fi
    if [[ $torch_from == system ]]; then
        die "installing $1 failed, the lines above and $log say why; torch must stay as named after 'keeping' above"
    fi
    die "installing $1 failed, the lines above and $log say why"
}

pip_install() { # WHAT PIP_ARGUMENT...
    local what=$1
    shift
    say "installing $what"
    "$venv_python" -m pip install --log "$log" "$@" || explain_failure "$what"
}

# Two calls, so that everything but torch comes from the registry that all other packages come from.
install_torch() {
    local packages
    read -ra packages <<<"$torch_packages"
    say "installing torch for JetPack $jetpack into $venv: $(torch_cost)"
    "$venv_python" -m pip install --log "$log" --no-deps --index-url "$torch_index" "${packages[@]}" ||
        die "pip did not get $torch_packages from $torch_index (log: $log)" \
            "its wheels are for the Python of JetPack $jetpack, here it is $("$venv_python" --version): if that differs, remove $venv and give --python" \
            "an index may also be out of reach or have dropped a release; another torch for this JetPack, installed by hand, serves as well"
    pip_install "what torch needs" "${packages[@]}"
    touch -- "$own_torch"
    torch_facts "$venv_python" >/dev/null ||
        die "the torch for JetPack $jetpack is installed and cannot be imported (see above)" \
            "a missing libcudss.so or libcusparseLt.so is no part of JetPack 6: install it from https://developer.nvidia.com/cudss-downloads or" \
            "https://developer.nvidia.com/cusparselt-downloads (Linux, aarch64-jetson, Ubuntu 22.04, deb), then run this again" \
            "any other missing library: sudo apt install nvidia-jetpack"
}

work=$(mktemp -d)
readonly work
trap 'rm -rf -- "$work"' EXIT
constraints=()
facts_before=""
if [[ $torch_from == system ]]; then
    if [[ $installs_torch == yes ]]; then install_torch; fi
    facts_before=$(torch_facts "$torch_python") || die "the torch of $torch_python cannot be imported (see above)"
    write_constraints "$work/constraints.txt" 2>/dev/null ||
        die "$torch_python has torch, but torch or torchvision is not installed as a package that pip knows" \
            "install the torchvision built for this torch, from the same source; a registry's would install another torch" \
            "or let scripts/setup.sh --with-torch install both for this JetPack into the environment"
    constraints=(--constraint "$work/constraints.txt")
    say "keeping $facts_before"
fi

# Whether an OpenCV is there that serves and is not the one of the requirements: JetPack's, or the user's own opencv-python. A second one
# beside it would be loaded in its place or, in the same folder, overwrite it.
other_opencv_serves() {
    (cd / && "$venv_python" - 2>/dev/null) <<'EOF'
import sys
from importlib.metadata import distributions

import cv2

headless = any((found.metadata["Name"] or "").lower() == "opencv-python-headless" for found in distributions())
sys.exit(headless or not hasattr(cv2, "DISOpticalFlow_create"))
EOF
}

# transformers serves EdgeTAM without a checkout, SAM 3 and --implementation transformers.
install_transformers() {
    if [[ $dev == no ]] && has_edgetam; then
        say "EdgeTAM runs from its checkout in ./EdgeTAM: transformers is left out (sam3 needs it: pip install -r requirements-transformers.txt)"
        return
    fi
    say "installing transformers"
    "$venv_python" -m pip install --log "$log" ${constraints[@]+"${constraints[@]}"} --requirement "$root/requirements-transformers.txt" ||
        say "WARNING: transformers could not be installed; all else works, and edgetam needs its checkout: scripts/get_edgetam.sh"
}

# Whether an ONNX Runtime is there that is not the one of the requirements, such as onnxruntime-gpu: both are one module.
other_onnxruntime() {
    (cd / && "$venv_python" - 2>/dev/null) <<'EOF'
import sys
from importlib.metadata import distributions

names = {(found.metadata["Name"] or "").lower().replace("_", "-") for found in distributions()}
sys.exit(not any(name.startswith("onnxruntime-") for name in names))
EOF
}

# For --runtime onnx. On JetPack 6 the index that has torch also has the ONNX Runtime that computes on the GPU.
install_onnx() {
    local failed="WARNING: ONNX Runtime could not be installed; all else works, and --runtime onnx needs it: docs/runtimes.md"
    cp -- "$root/requirements-onnx.txt" "$work/onnx.txt"
    if other_onnxruntime; then
        sed -i '/^onnxruntime/d' "$work/onnx.txt"
    elif [[ $torch_from == system ]] && torch_of_jetpack && [[ $torch_index == *jetson-ai-lab* ]] && grep -q '^onnxruntime' "$work/onnx.txt"; then
        say "installing onnxruntime-gpu for JetPack $jetpack"
        # what it needs comes from the registry that all others come from
        "$venv_python" -m pip install --log "$log" --no-deps --index-url "$torch_index" onnxruntime-gpu || {
            say "$failed"
            return
        }
        sed -i 's/^onnxruntime.*/onnxruntime-gpu/' "$work/onnx.txt"
    fi
    say "installing what --runtime onnx needs"
    "$venv_python" -m pip install --log "$log" ${constraints[@]+"${constraints[@]}"} --requirement "$work/onnx.txt" || say "$failed"
}

install_online() {
    # Older releases of pip also work, but download whole packages to find matching versions.
    "$venv_python" -m pip install --quiet --log "$log" "pip>=23.1" || say "continuing with $("$venv_python" -m pip --version)"
    requirements=(--requirement "$root/requirements.txt")
    if other_opencv_serves; then
        say "keeping $(cd / && "$venv_python" -c 'import cv2; print(f"OpenCV {cv2.__version__} in {cv2.__file__}")')"
        grep -v '^opencv-' "$root/requirements.txt" >"$work/requirements.txt"
        requirements=(--requirement "$work/requirements.txt")
    fi
    if [[ $minimal == no ]]; then
        local part
        for part in report edgetam cutie; do requirements+=(--requirement "$root/requirements-$part.txt"); done
    fi
    if [[ $dev == yes ]]; then requirements+=(--requirement "$root/requirements-dev.txt"); fi
    if [[ $ray == yes ]]; then requirements+=(--requirement "$root/requirements-ray.txt"); fi
    pip_install "requirements" ${constraints[@]+"${constraints[@]}"} "${requirements[@]}"

    if [[ ${requirements[1]} == "$work/requirements.txt" ]] && ! (cd / && "$venv_python" -c 'import cv2'); then
        # It was built for another NumPy than the one that is there now.
        pip_install "OpenCV" ${constraints[@]+"${constraints[@]}"} "$(grep '^opencv-' "$root/requirements.txt")"
    fi
    if [[ $minimal == no ]]; then
        install_transformers
        install_onnx
    fi

    # A checkout that the user installed is called SAM-2 and provides the same package.
    if "$venv_python" -c 'from importlib.metadata import version; version("SAM-2")' 2>/dev/null; then
        say "keeping the installed SAM-2 checkout instead of the sam2 package"
    else
        SAM2_BUILD_CUDA=0 pip_install "sam2" --no-deps --no-build-isolation --require-hashes --requirement "$root/requirements-sam2.txt"
    fi
}

# The folder has all packages on its list, which leaves out those that the machine has, so pip resolves nothing.
install_offline() {
    (cd -- "$offline" && sha256sum --check --quiet --strict SHA256SUMS) || die "$offline is damaged (see above); copy it again"
    cp -- "$offline/requirements.txt" "$work/offline.txt"
    # one module: the kit's, for the CPU, would take the place of the board's
    if other_onnxruntime; then sed -i '/^onnxruntime[^-]/d' "$work/offline.txt"; fi
    pip_install "requirements from $offline" --no-deps --requirement "$work/offline.txt"
    "$venv_python" -m pip check || say "NOTE: the lines above name packages that are missing or in another version; doctor reports the consequences"
}

if [[ $offline ]]; then install_offline; else install_online; fi

# --- check ----------------------------------------------------------------------------------------------------------------------

facts_after=$(torch_facts "$venv_python") || die "torch was installed but cannot be imported (see above)"
if [[ $torch_from == system && $facts_after != "$facts_before" ]]; then
    die "TORCH HAS CHANGED. A package installed another torch; do not use this environment." \
        "before: $facts_before" "after:  $facts_after" \
        "the system's own torch is unchanged; keep $log to see which package installed the other, then remove the environment: rm -r '$venv'"
fi
(cd / && "$venv_python" -c 'import numpy, torch
assert torch.from_numpy(numpy.arange(3)).numpy().tolist() == [0, 1, 2]') ||
    die "torch and NumPy do not work together in $venv (see above): probably torch was built against NumPy 1 and NumPy 2 is installed"
(cd / && "$venv_python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("sam2") is None)') ||
    die "sam2 was installed but cannot be found by $venv_python"

echo "$(fingerprint) $dev $ray $minimal $offline" >"$stamp"
say "ready: $("$venv_python" --version), $facts_after"
if [[ $torch_from == system && $facts_after != *"GPU usable: True"* ]]; then
    say "WARNING: this torch cannot use the board's GPU; models would run on the CPU"
    say "    check with the command groups that this user is in the group video; in place of a torch that is not for this JetPack,"
    say "    scripts/setup.sh --with-torch installs the one that is into the environment"
fi

# Weights and data may be added later, so doctor's result does not decide this script's exit status.
if [[ -f $root/jetson_benchmark.py ]]; then
    "$venv_python" "$root/jetson_benchmark.py" doctor || say "the lines marked 'failure' name the commands that fix them; setup itself is done"
fi
