# shellcheck shell=bash
# What a script says. Sourced by scripts that have set `program` to their name and have a function `usage`.

warnings=()

say() { # LINE...
    printf '%s\n' "${@/#/${program:?}: }"
}

# Kept as well, for the end of a long run.
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
