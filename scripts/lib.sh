# shellcheck shell=bash
# Messages of scripts. Sourced by scripts that set `program` to their name and define a function `usage`.

warnings=()

say() { # LINE...
    printf '%s\n' "${@/#/${program:?}: }"
}

# Also stored, to be repeated at the end of a long run.
warn() { # LINE...
    printf '%s: WARNING: %s\n' "$program" "$1" >&2
    warnings+=("$1")
    shift
    if (($#)); then printf '%s\n' "${@/#/$program:     }" >&2; fi
}

die() { # LINE...
    printf '%s\n' "${@/#/$program: }" >&2
    exit 1
}

die_usage() { # LINE
    printf '%s: %s\n' "$program" "$1" >&2
    usage >&2
    exit 2
}
