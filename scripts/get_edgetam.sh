#!/usr/bin/env bash
# Clones the official EdgeTAM at the commit that the benchmark was tested with. Run with --help for the usage.
#
# Where the benchmark finds it, it runs the official EdgeTAM instead of the one of transformers. Its weights come with it.
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

Clones EdgeTAM at a pinned commit. Leaves a clone that is there already as it is.

  --dir DIR   where it goes (default: EdgeTAM in the repository)
  --url URL   clone from here, for example a mirror or a copy on a disk (default: https://github.com/facebookresearch/EdgeTAM)
  -h, --help  show this

Exit status: 0 it is there, 1 it is not (the last lines say why), 2 wrong usage.
EOF
}

get_checkout "https://github.com/facebookresearch/EdgeTAM" "$commit" "$root/EdgeTAM" "$@"
