#!/usr/bin/env bash
# Clones the official EfficientTAM at the commit that the benchmark was tested with. Run with --help for the usage.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root program=get_efficienttam commit=abcd061ebd3cc6e7527d152d75b890126aaa53f6 # 2025-01-05
readonly package=efficient_track_anything
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/lib_git.sh
source "$root/scripts/lib_git.sh"

usage() {
    cat <<'END'
usage: scripts/get_efficienttam.sh [--dir DIR] [--url URL]

Clones EfficientTAM at a pinned commit. Does not change an existing clone. Licence: Apache-2.0, code and weights.
The weights come with scripts/download_weights.sh.

  --dir DIR   folder of the clone (default: EfficientTAM in the repository)
  --url URL   source of the clone, for example a mirror or a copy on a disk (default: https://github.com/yformer/EfficientTAM)
  -h, --help  show this

Exit status: 0 the clone is ready, 1 it is not (the last lines say why), 2 wrong usage.
END
}

get_checkout "https://github.com/yformer/EfficientTAM" "$commit" "$root/EfficientTAM" "$@"
