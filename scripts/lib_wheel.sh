# shellcheck shell=bash
# Upstream's sources from a wheel, in a folder of their own. Sourced by scripts that define say and die, and `root`.

wheel_part="" # an installation in progress, removed if it is interrupted

# Installs the one requirement of FILE, whose hash it pins, into DIR. An interrupted installation leaves nothing.
install_apart() { # FILE DIR
    local file=$1 dir=$2 python pinned name found
    pinned=$(grep -oE '^[A-Za-z0-9._-]+==[^ ]+' "$file")
    name=${pinned%%==*}
    if [[ -d $dir && $(ls -A -- "$dir") ]]; then
        found=$(cd -- "$dir" && echo "${name//-/_}"-*.dist-info)
        if [[ $found == "${name//-/_}-${pinned#*==}.dist-info" ]]; then
            say "$dir exists already, with ${pinned/==/ }"
            return
        fi
        die "$dir is in the way: it has no ${pinned/==/ }" "remove it, or name another folder with --dir"
    fi
    for python in "${root:?}/.venv/bin/python" python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then break; fi
        python=""
    done
    [[ $python ]] || die "pip was not found; run scripts/setup.sh first"
    mkdir -p -- "$(dirname -- "$dir")" || die "cannot make the folder of $dir; name another with --dir"
    say "installing $pinned into $dir"
    wheel_part=$dir.part
    rm -rf -- "$wheel_part"
    trap 'rm -rf -- "$wheel_part"' EXIT
    # Without dependencies, so that no torch is installed with it.
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary :all: --require-hashes \
        --target "$wheel_part" --requirement "$file" ||
        die "pip could not install it, see above" \
            "without a network: run pip download --no-deps -r $(basename -- "$file") on a machine that has one, copy the file here," \
            "and run this with PIP_NO_INDEX=1 PIP_FIND_LINKS=/path/to/its/folder"
    if [[ -d $dir ]]; then rmdir -- "$dir"; fi
    mv -- "$wheel_part" "$dir"
    trap - EXIT
    say "$dir is ready, with ${pinned/==/ }"
}
