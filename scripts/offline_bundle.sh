#!/usr/bin/env bash
# Collects the packages that a machine without a network needs to run the benchmark. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root program=offline_bundle
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

usage() {
    cat <<'EOF'
usage: scripts/offline_bundle.sh --python X.Y --platform TAG --out DIR [--without LIST] [--max_mib N]

Resolves the requirements for another machine and writes their wheels into DIR, with a list of them and their checksums. Run it on a machine
with a network, copy DIR to the other machine, and run `scripts/setup.sh --offline DIR` there.

  --python X.Y     Python of the machine, for example 3.10 on JetPack 6, 3.12 on JetPack 7
  --platform TAG   its platform tag in wheels: linux_aarch64 for a Jetson, manylinux_2_28_x86_64 for a PC with glibc 2.28 or newer
  --out DIR        folder to write; must be empty or not exist
  --without LIST   packages that the machine has, comma-separated; they and packages that only they need are left out
                   (default: torch,torchvision, which a Jetson must already have)
  --max_mib N      refuse a bundle that is larger
  -h, --help       show this

Packages without a wheel are built here; a package that must be compiled for the other machine is an error.
Exit status: 0 DIR is ready, 1 it is not (the last lines say why), 2 wrong usage.
EOF
}

python_version="" platform="" out="" without="torch,torchvision" max_mib=""
while (($#)); do
    case $1 in
        --python | --platform | --out | --without | --max_mib)
            (($# > 1)) || die_usage "$1 needs a value"
            case $1 in
                --python) python_version=$2 ;;
                --platform) platform=$2 ;;
                --out) out=$2 ;;
                --without) without=$2 ;;
                --max_mib) max_mib=$2 ;;
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
[[ $python_version =~ ^3\.[0-9]+$ ]] || die_usage "--python $python_version: give the version of the machine, for example 3.10"
[[ $platform =~ ^(linux|manylinux_2_([0-9]+))_(x86_64|aarch64)$ ]] ||
    die_usage "--platform $platform: use linux_aarch64, linux_x86_64, or a tag such as manylinux_2_28_x86_64"
architecture=${BASH_REMATCH[3]} glibc=${BASH_REMATCH[2]:-35} # Ubuntu 22.04, which JetPack 6 is
[[ $out ]] || die_usage "--out is missing"
[[ ! $max_mib || $max_mib =~ ^[0-9]+$ ]] || die_usage "--max_mib $max_mib: give a whole number of MiB"
[[ ! -e $out || (-d $out && -z $(ls -A -- "$out")) ]] || die "--out $out: not empty; name a new folder"

((glibc >= 17)) || die_usage "--platform $platform: use glibc 2.17 or newer"

readonly python="$root/.venv/bin/python"
(cd / && "$python" -c 'import torch' 2>/dev/null) || die "the wheel of SAM 2 is built with the torch of .venv: run scripts/setup.sh here first"

export PIP_DISABLE_PIP_VERSION_CHECK=1
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
mkdir -p -- "$out"
out=$(cd -- "$out" && pwd)

# --- which packages ------------------------------------------------------------------------------------------------------------------

# pip resolves only for its own machine, uv for any.
say "resolving for Python $python_version on $architecture with glibc 2.$glibc"
uv=$(command -v uv "$root/.venv/bin/uv" | head -n 1)
if [[ ! $uv ]]; then
    "$python" -m pip install --quiet --target "$work/uv" uv || die "installing uv failed, see above; this machine needs a network"
    uv="$work/uv/bin/uv"
fi
tr ',' '\n' <<<"$without" >"$work/without"
index=$("$python" -m pip config get global.index-url 2>/dev/null) || index=""
"$uv" pip compile --quiet --no-header --no-annotate ${index:+--index-url "$index"} --excludes "$work/without" \
    --python-version "$python_version" --python-platform "$architecture-manylinux_2_$((glibc < 40 ? glibc : 40))" \
    --output-file "$out/requirements.txt" "$root"/requirements{,-report,-edgetam,-cutie,-transformers,-onnx}.txt ||
    die "the requirements cannot be met for Python $python_version on $architecture (see above); use another --python or --platform"
# sam2 is not in requirements.txt, since its build would install a torch; its wheel is pure Python.
grep -oE '^sam2==[^ ]+' "$root/requirements-sam2.txt" >>"$out/requirements.txt"

# --- their wheels --------------------------------------------------------------------------------------------------------------------

platforms=(--platform "linux_$architecture" --platform "manylinux2014_$architecture")
for ((minor = glibc; minor >= 17; minor--)); do platforms+=(--platform "manylinux_2_${minor}_$architecture"); done

fetch() { # REQUIREMENT
    "$python" -m pip download --quiet --no-deps --only-binary :all: --dest "$out" \
        --python-version "$python_version" --implementation cp "${platforms[@]}" -- "$1" 2>>"$work/log"
}

build() { # REQUIREMENT
    local isolation=() built
    # setup.py of sam2 imports torch even if it compiles nothing.
    if [[ $1 == sam2==* ]]; then isolation=(--no-build-isolation); fi
    rm -rf -- "$work/built"
    SAM2_BUILD_CUDA=0 "$python" -m pip wheel --quiet --no-deps ${isolation[@]+"${isolation[@]}"} --wheel-dir "$work/built" \
        -- "$1" 2>>"$work/log" || return 1
    built=$(cd -- "$work/built" && echo *.whl)
    [[ $built == *-none-any.whl ]] || die "$1 has no wheel for $platform and is not pure Python ($built); add it to --without"
    mv -- "$work/built/$built" "$out"
}

while read -r requirement; do
    name=${requirement%%==*}
    [[ $requirement != sam2==* ]] || requirement=$(grep -oE '^sam2==[^ ]+' "$root/requirements-sam2.txt")
    fetch "$requirement" || build "$requirement" || {
        tail -n 5 "$work/log" >&2
        die "$name: there is no wheel for $platform and no source that builds here; pip's last lines are above"
    }
done < <(grep -vE '^\s*(#|$)' "$out/requirements.txt")

# --- check -----------------------------------------------------------------------------------------------------------------------------

(cd -- "$out" && sha256sum -- *.whl requirements.txt >SHA256SUMS)
size_mib=$(du -sm -- "$out" | cut -f1)
if [[ $max_mib ]] && ((size_mib > max_mib)); then
    du -m -- "$out"/*.whl | sort -rn | head -n 3 >&2
    die "$out takes $size_mib MiB, above --max_mib $max_mib; the largest wheels are above: name packages that the machine has or does not need in --without"
fi
wheels=("$out"/*.whl)
say "$out: ${#wheels[@]} wheels, $size_mib MiB, without $without" \
    "copy the folder and this repository to the machine, and run there: scripts/setup.sh --offline $(basename -- "$out")"
