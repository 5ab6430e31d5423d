#!/usr/bin/env bash
# Makes the benchmark's virtual environment and installs its requirements. Run with --help for the usage.
# On a desktop or server everything, including torch, comes from the package registry. On a Jetson the torch that matches the board's CUDA is
# # in the system Python, and no registry has it: there the environment uses the system's packages, pip must keep the installed torch,
# # torchvision and major version of NumPy, and torch is compared before and after. Needs no root.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOF'
usage: scripts/setup.sh [--dev] [--ray] [--python PYTHON] [--venv DIR] [--torch {auto,system,registry}]
                        [--offline DIR]

Makes a virtual environment and installs the benchmark's requirements into it. Ends at once if nothing has changed.

  --dev            also install packages for tests, lint and benchmarks
  --ray            also install Ray, for --executor ray: 80 MB to download, 240 MB installed
  --python PYTHON  interpreter to make the environment with (default: python3 if it is 3.10 or newer, else the newest python3.X found)
  --venv DIR       folder of the environment (default: .venv in the repository)
  --torch SOURCE   system: use the system Python's torch; registry: let pip install torch; auto (default): system on a Jetson,
                   registry elsewhere
  --offline DIR    install only from DIR, made by scripts/offline_bundle.sh for this machine; torch is then the system's, unless DIR has
                   one. Later calls without this option keep using DIR
  -h, --help       show this

Environment: SETUP_MIN_FREE_MIB overrides the free disk space required; pip's own variables (PIP_INDEX_URL, PIP_FIND_LINKS,
PIP_NO_CACHE_DIR, ...) and TMPDIR are respected.
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

dev=no ray=no python="" venv="$root/.venv" torch_from=auto offline=""
while (($#)); do
    case $1 in
        --dev | --ray)
            printf -v "${1#--}" yes
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

# --- from a folder instead of a registry ----------------------------------------------------------------------------------------

# An environment made from a folder keeps using it.
if [[ ! $offline && -f $stamp ]]; then read -r _ _ _ offline <"$stamp"; fi
if [[ $offline ]]; then
    [[ $dev == no && $ray == no ]] || die_usage "--offline has only the packages for running the benchmark; leave out --dev and --ray"
    offline=$(cd -- "$offline" 2>/dev/null && pwd) || die "--offline $offline: no such folder" \
        "copy the folder that scripts/offline_bundle.sh made for this machine, or remove $venv to set up from a registry"
    [[ -f $offline/SHA256SUMS && -f $offline/requirements.txt ]] ||
        die "--offline $offline: not made by scripts/offline_bundle.sh: SHA256SUMS or requirements.txt is missing"
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=$offline
    unset PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_CONSTRAINT
    if [[ $torch_from == auto ]] && ! compgen -G "$offline/torch-*.whl" >/dev/null; then torch_from=system; fi
fi
readonly offline

case $torch_from in
    system | registry) ;;
    auto)
        torch_from=registry
        if [[ -e /etc/nv_tegra_release ]] || grep -qs tegra /proc/device-tree/compatible; then torch_from=system; fi
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

# Everything that determines the environment's contents. If the system's torch was upgraded, the board is set up again.
fingerprint() {
    {
        cat -- "$root/scripts/setup.sh" "$root"/requirements*.txt
        echo "$venv $torch_from $("$venv_python" --version)"
        if [[ $torch_from == system ]]; then torch_release "$venv_python"; fi
        if [[ $offline ]]; then cat -- "$offline/SHA256SUMS"; fi
    } | sha256sum | cut -d' ' -f1
}

venv_works() {
    [[ -x $venv_python ]] && "$venv_python" -c 'import pip' 2>/dev/null
}

# Installed extras stay wanted, so that asking for one extra and then another does not remove the first.
is_set_up() {
    [[ -f $stamp ]] && venv_works || return 1
    local known_fingerprint known_dev known_ray
    read -r known_fingerprint known_dev known_ray _ <"$stamp"
    [[ $known_fingerprint == "$(fingerprint)" ]] || return 1
    if [[ $known_dev == yes ]]; then dev=yes; fi
    if [[ $known_ray == yes ]]; then ray=yes; fi
    [[ "$dev $ray" == "$known_dev $known_ray" ]]
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

# Run from the root folder, so that a checkout in the current folder (for example sam2/) is not taken for an installed package.
torch_facts() { # PYTHON
    (cd / && "$1" -c 'import torch
print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, GPU usable: {torch.cuda.is_available()}, in {torch.__file__}")')
}

# Packages that pip must not change. A torch built against NumPy 1 cannot exchange arrays with NumPy 2, so NumPy keeps its major version; if
# # the system has no NumPy, every torch works with NumPy 1.
write_constraints() { # FILE
    "$python" - >"$1" <<'EOF'
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

constraints=()
facts_before=""
if [[ $torch_from == system ]]; then
    facts_before=$(torch_facts "$python") ||
        die "the torch of $python cannot be imported (see above)" \
            "install the torch and torchvision wheels made for this JetPack first (NVIDIA's or the Jetson AI Lab's), then run this again" \
            "to install the registry's torch instead: --torch registry"
    constraints_file=$(mktemp)
    trap 'rm -f -- "$constraints_file"' EXIT
    write_constraints "$constraints_file" 2>/dev/null ||
        die "$python has torch, but torch or torchvision is not installed as a package that pip knows" \
            "install the torchvision built for this torch, from the same source; a registry's would install another torch"
    constraints=(--constraint "$constraints_file")
    say "keeping $facts_before"
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

install_online() {
    # Older releases of pip also work, but download whole packages to find matching versions.
    "$venv_python" -m pip install --quiet --log "$log" "pip>=23.1" || say "continuing with $("$venv_python" -m pip --version)"
    requirements=(--requirement "$root/requirements.txt")
    if [[ $dev == yes ]]; then requirements+=(--requirement "$root/requirements-dev.txt"); fi
    if [[ $ray == yes ]]; then requirements+=(--requirement "$root/requirements-ray.txt"); fi
    pip_install "requirements" ${constraints[@]+"${constraints[@]}"} "${requirements[@]}"

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
    pip_install "requirements from $offline" --no-deps --requirement "$offline/requirements.txt"
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

echo "$(fingerprint) $dev $ray $offline" >"$stamp"
say "ready: $("$venv_python" --version), $facts_after"
if [[ $torch_from == system && $facts_after != *"GPU usable: True"* ]]; then
    say "WARNING: this torch cannot use the board's GPU; models would run on the CPU"
    say "    install the torch and torchvision made for this JetPack (NVIDIA's or the Jetson AI Lab's), check with the command groups"
    say "    that this user is in the group video; then run this again"
fi

# Weights and data may be added later, so doctor's result does not decide this script's exit status.
if [[ -f $root/jetson_benchmark.py ]]; then
    "$venv_python" "$root/jetson_benchmark.py" doctor || say "the lines marked 'failure' name the commands that fix them; setup itself is done"
fi
