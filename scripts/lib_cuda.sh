# shellcheck shell=bash
# Finds out whether and with what a CUDA extension of torch can be compiled. Sourced by update_sam2_optional_cuda.sh.

# The device tree of a board, and the table of chips.
readonly device_tree=${DEVICE_TREE:-/proc/device-tree}
chips=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)/savbench/board/chips.tsv
readonly chips

# Prints the toolkit of a compiler. nvcc on the PATH may be a wrapper or a link; its dry run shows the real location.
toolkit_of() { # NVCC
    local here
    here=$("$1" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ _HERE_=//p' || true)
    if [[ -x $here/nvcc ]]; then
        dirname -- "$here"
    else
        dirname -- "$(dirname -- "$(readlink -f -- "$1")")"
    fi
}

release_of() { # NVCC
    "$1" --version 2>/dev/null | sed -n 's/.*release \([0-9][0-9.]*\).*/\1/p' || true
}

# Sets `cuda_home` and `nvcc_release` to the toolkit with the same major CUDA version as torch's; torch refuses others.
# Returns 1 and sets `reason` if there is none.
choose_toolkit() { # TORCH_CUDA
    local candidates=() candidate release seen=""
    if [[ ${CUDA_HOME-} ]]; then candidates+=("$CUDA_HOME/bin/nvcc"); fi
    if candidate=$(type -P nvcc); then candidates+=("$candidate"); fi
    candidates+=(/usr/local/cuda/bin/nvcc)
    for candidate in /usr/local/cuda-*/bin/nvcc; do candidates+=("$candidate"); done
    for candidate in "${candidates[@]}"; do
        [[ -x $candidate ]] || continue
        release=$(release_of "$candidate")
        if [[ $release && ${release%%.*} == "${1%%.*}" ]]; then
            nvcc_release=$release cuda_home=$(toolkit_of "$candidate")
            return
        fi
        seen+=" $candidate (CUDA ${release:-unknown})"
    done
    if [[ $seen ]]; then
        reason="torch was built for CUDA $1, but the compilers here are of another release:$seen"
    else
        reason="the CUDA compiler nvcc was not found"
    fi
    reason+="; install the toolkit of torch's CUDA (sudo apt install cuda-toolkit-${1//./-}), or name one with CUDA_HOME"
    return 1
}

# Sets `header_path` to the folders, joined by colons, with headers that the toolkit at `cuda_home` lacks: torch's headers include those of
# CUDA's libraries, which a toolkit may lack. Returns 1 and sets `reason` if a header is in neither.
find_headers() { # HEADER_DIRS
    local header dir dirs found missing=""
    IFS=: read -r -a dirs <<<"$1"
    for header in cuda_runtime.h cublas_v2.h cusparse.h cusolverDn.h; do
        if compgen -G "$cuda_home/include/$header" >/dev/null || compgen -G "$cuda_home/targets/*/include/$header" >/dev/null; then continue; fi
        found=no
        for dir in ${dirs[@]+"${dirs[@]}"}; do
            [[ -f $dir/$header ]] || continue
            found=yes
            if [[ :$header_path: != *":$dir:"* ]]; then header_path+=${header_path:+:}$dir; fi
            break
        done
        if [[ $found == no ]]; then missing+=" $header"; fi
    done
    [[ $missing ]] || return 0
    reason="headers of CUDA's libraries are missing ($missing ) from $cuda_home; sudo apt install cuda-libraries-dev-${nvcc_release//./-}"
    return 1
}

# Prints the compute capability of a Jetson's chip, or of the GPUs that the driver reports.
detect_arch() {
    local compatible="" chip capability
    if [[ -r $device_tree/compatible ]]; then compatible=$(tr '\0' ' ' <"$device_tree/compatible"); fi
    while IFS=$'\t' read -r chip _ capability _; do
        if [[ " $compatible " == *" nvidia,$chip "* ]]; then
            echo "$capability"
            return
        fi
    done < <(grep -v '^#' "$chips")
    nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u | paste -s -d ';' - || true
}

# Decides whether and how to build sam2._C. Sets `reason` if it cannot be built, else `cuda_home`, `nvcc_release`, `header_path` and `arch`.
plan_cuda() { # TORCH_CUDA HEADER_DIRS PYTHON_INCLUDE ARCH
    local version code codes
    if [[ -z $1 ]]; then
        reason="torch was built without CUDA"
        return
    fi
    choose_toolkit "$1" && find_headers "$2" || return 0
    arch=$4
    if [[ -z $arch ]]; then arch=$(detect_arch); fi
    if [[ -z $arch ]]; then
        reason="torch sees no GPU to build for; name its architecture with --arch, for example --arch 8.7 for an Orin, 11.0 for a Thor"
        return
    fi
    codes=$("$cuda_home/bin/nvcc" --list-gpu-code 2>/dev/null || true)
    for version in ${arch//;/ }; do
        code=sm_${version%%[a-z+]*}
        # torch also accepts names, for example "Ampere".
        if [[ $codes && $version == [0-9]* && " ${codes//$'\n'/ } " != *" ${code/./} "* ]]; then
            reason="nvcc $nvcc_release cannot compile for architecture $version"
            return
        fi
    done
    if ! type -P "${CXX:-c++}" >/dev/null; then
        reason="the C++ compiler ${CXX:-c++} was not found; sudo apt install build-essential"
    elif [[ ! -f $3/Python.h ]]; then
        reason="Python's headers are missing from $3; sudo apt install python3-dev"
    fi
}
