#!/usr/bin/env bash
# Clones the official EdgeTAM at the commit that the benchmark was tested with. Run with --help for the usage.
# If the benchmark finds this clone, it runs it instead of transformers' EdgeTAM. The weights are included.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root program=get_edgetam commit=9cc44bfe9e16cc374242917b91283c718410ea87 # 2025-04-30
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/lib_git.sh
source "$root/scripts/lib_git.sh"

usage() {
    cat <<'EOF'
usage: scripts/get_edgetam.sh [--dir DIR] [--url URL]

Clones EdgeTAM at a pinned commit. Does not change an existing clone.

  --dir DIR   folder of the clone (default: EdgeTAM in the repository)
  --url URL   source of the clone, for example a mirror or a copy on a disk (default: https://github.com/facebookresearch/EdgeTAM)
  -h, --help  show this

Exit status: 0 the clone is ready, 1 it is not (the last lines say why), 2 wrong usage.
EOF
}

get_checkout "https://github.com/facebookresearch/EdgeTAM" "$commit" "$root/EdgeTAM" "$@"
