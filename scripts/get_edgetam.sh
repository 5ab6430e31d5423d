#!/usr/bin/env bash
# Gets the official EdgeTAM at the commit that the benchmark was tested with. Run with --help for the usage.
# If the benchmark finds it, it runs it instead of transformers' EdgeTAM. A clone includes the weights.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root program=get_edgetam commit=9cc44bfe9e16cc374242917b91283c718410ea87 # 2025-04-30
# What --pypi installs instead of cloning.
readonly wheel="$root/requirements-edgetam-sources.txt"
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/lib_git.sh
source "$root/scripts/lib_git.sh"
# shellcheck source=scripts/lib_wheel.sh
source "$root/scripts/lib_wheel.sh"

usage() {
    cat <<'END'
usage: scripts/get_edgetam.sh [--dir DIR] [--url URL | --pypi]

Clones EdgeTAM at a pinned commit, or takes the same sources from PyPI. Does not change an existing folder. Licence: Apache-2.0.

  --dir DIR   its folder (default: EdgeTAM in the repository)
  --url URL   source of the clone, for example a mirror or a copy on a disk (default: https://github.com/facebookresearch/EdgeTAM)
  --pypi      needs no git: install the package edgetam-dimos, whose hash is pinned, into the folder, and nothing beside it
  -h, --help  show this

Exit status: 0 the folder is ready, 1 it is not (the last lines say why), 2 wrong usage.
END
}

get_checkout "https://github.com/facebookresearch/EdgeTAM" "$commit" "$root/EdgeTAM" "$@"
