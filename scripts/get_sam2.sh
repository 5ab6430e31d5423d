#!/usr/bin/env bash
# Clones the official SAM 2 at the commit that the benchmark was tested with. Run with --help for the usage.
# Only needed to build its CUDA extension (update_sam2_optional_cuda.sh); scripts/setup.sh installs the same sources from a package.
# The folder must not be called sam2: Python would import it as the package of that name when run beside it.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root program=get_sam2 commit=2b90b9f5ceec907a1c18123530e92e794ad901a4 # 2024-12-15, the head of its main branch since
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/lib_git.sh
source "$root/scripts/lib_git.sh"

usage() {
    cat <<'EOF'
usage: scripts/get_sam2.sh [--dir DIR] [--url URL]

Clones SAM 2 at a pinned commit. Does not change an existing clone.

  --dir DIR   folder of the clone (default: segment-anything-2 in the repository)
  --url URL   source of the clone, for example a mirror or a copy on a disk (default: https://github.com/facebookresearch/sam2)
  -h, --help  show this

Exit status: 0 the clone is ready, 1 it is not (the last lines say why), 2 wrong usage.
EOF
}

get_checkout "https://github.com/facebookresearch/sam2" "$commit" "$root/segment-anything-2" "$@"
