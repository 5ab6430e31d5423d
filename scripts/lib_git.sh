# shellcheck shell=bash
# Finding, cloning and updating upstream's checkouts. Sourced by scripts that define say, warn and die, and `package` if its folder is not sam2.

# In a git hook, variables would direct git to the hook's repository. Also disables git's questions, which nobody can answer.
isolate_git() {
    local name
    # Continues if git is missing; later steps report that. Settings in variables (a proxy, safe.directory) are the user's and are kept.
    for name in $(git rev-parse --local-env-vars 2>/dev/null); do
        if [[ $name != GIT_CONFIG* ]]; then unset "$name"; fi
    done
    export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND=${GIT_SSH_COMMAND:-ssh -o BatchMode=yes -o ConnectTimeout=10}
}

# git over the network: a transfer slower than 1 kB/s for 30 s counts as broken.
network_git() { # ARGUMENT...
    git -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=30 "$@"
}

real_path() { # DIR
    (cd -- "$1" && pwd -P)
}

# Prints why DIR is not a checkout that can be built; prints nothing if it is one. In an archive unpacked inside another project's checkout,
# or in the package folder of this name inside EdgeTAM, git would work on the outer repository.
checkout_fault() { # DIR
    local top
    if [[ ! -d $1 ]]; then
        echo "there is no such folder"
    elif [[ ! -f $1/setup.py || ! -d $1/${package:-sam2} ]]; then
        if [[ ${package-} ]]; then
            echo "it has no setup.py and folder $package"
        else
            echo "it has no setup.py and folder sam2, unlike the checkouts of SAM 2 and EdgeTAM"
        fi
    elif ! top=$(git -C "$1" rev-parse --show-toplevel 2>&1); then
        echo "it is not a git checkout (git: ${top##*$'\n'})"
    elif [[ $(real_path "$top") != "$(real_path "$1")" ]]; then
        echo "it is inside another repository, $top"
    elif ! git -C "$1" rev-parse --quiet --verify HEAD >/dev/null; then
        echo "it has no commit"
    fi
}

# --- updating -------------------------------------------------------------------------------------------------------------------

commit_at() { # DIR
    git -C "$1" rev-parse --short=12 HEAD
}

branch_of() { # DIR: prints nothing on a detached HEAD
    git -C "$1" symbolic-ref --quiet --short HEAD || true
}

upstream_of() { # DIR: the remote branch that the branch follows; nothing if there is none
    git -C "$1" rev-parse --abbrev-ref --symbolic-full-name '@{upstream}' 2>/dev/null || true
}

local_changes() { # DIR: changed files that git tracks, one per line
    git -C "$1" status --porcelain --untracked-files=no
}

# Prints what update_checkout will do, without the network.
describe_update() { # DIR
    local branch upstream changes
    branch=$(branch_of "$1") upstream=$(upstream_of "$1") changes=$(local_changes "$1")
    if [[ -z $branch ]]; then
        echo "nothing: HEAD is detached and stays at $(commit_at "$1")"
    elif [[ -z $upstream ]]; then
        echo "nothing: branch $branch follows no remote branch"
    elif [[ $changes ]]; then
        echo "fetch, fast-forward $branch to $upstream; local changes to $(wc -l <<<"$changes") file(s) are stashed and restored"
    else
        echo "fetch, fast-forward $branch to $upstream"
    fi
}

# Location of local changes while they are not in the working tree: "DIR<tab>COMMIT" of the stash.
pending_stash=""

report_pending_stash() {
    if [[ $pending_stash ]]; then
        warn "INTERRUPTED: local changes of ${pending_stash%$'\t'*} are in its stash ${pending_stash#*$'\t'}" \
            "to get them back: git -C '${pending_stash%$'\t'*}' stash apply --index ${pending_stash#*$'\t'}"
    fi
}

# Fetches and fast-forwards the branch of a checkout. Local changes are always kept. A failed update is only a warning, because the existing
# checkout can still be built. Ends the script only if a merge, rebase or stash is in progress.
update_checkout() { # DIR LOG
    local dir=$1 log=$2 branch upstream said ahead behind
    branch=$(branch_of "$dir") upstream=$(upstream_of "$dir")
    if [[ -z $branch || -z $upstream ]]; then
        say "update: $(describe_update "$dir")"
        return
    fi
    if [[ $(git -C "$dir" ls-files --unmerged) ]]; then
        die "$dir has conflicts from a merge, rebase or stash in progress" "finish or abort it first, or skip the update with --no-pull"
    fi
    if ! said=$(network_git -C "$dir" fetch --quiet -- "$(git -C "$dir" config "branch.$branch.remote")" 2>&1); then
        printf '%s\n' "$said" >>"$log"
        warn "could not fetch (git: ${said##*$'
        '}); continuing with the local $branch at $(commit_at "$dir")"
        return
    fi
    read -r ahead behind < <(git -C "$dir" rev-list --left-right --count "HEAD...$upstream")
    if ((behind == 0)); then
        say "update: $branch is up to date with $upstream, at $(commit_at "$dir")"
    elif ((ahead)); then
        warn "$branch and $upstream have diverged ($ahead commit(s) here, $behind there): cannot fast-forward, left at $(commit_at "$dir")"
    else
        fast_forward "$dir" "$branch" "$upstream" "$log"
    fi
}

fast_forward() { # DIR BRANCH UPSTREAM LOG
    local dir=$1 branch=$2 upstream=$3 log=$4 before said stash=""
    before=$(git -C "$dir" rev-parse HEAD)
    if [[ $(local_changes "$dir") ]]; then
        if ! said=$(git -C "$dir" stash push --message "local changes at ${before:0:12}, before an update to $upstream" 2>&1); then
            warn "local changes could not be stashed (git: ${said##*$'
            '}); left at ${before:0:12}"
            return
        fi
        stash=$(git -C "$dir" rev-parse refs/stash)
        pending_stash="$dir"$'\t'"$stash"
    fi
    # Without hooks: a hook may be running this script.
    if ! said=$(git -C "$dir" -c core.hooksPath=/dev/null merge --ff-only "$upstream" 2>&1); then
        printf '%s\n' "$said" | tee -a "$log" >&2
        warn "could not fast-forward $branch to $upstream (git's message is above); left at ${before:0:12}"
    fi
    if [[ $stash ]]; then put_back "$dir" "$before" "$stash" "$log"; fi
    if [[ $(git -C "$dir" rev-parse HEAD) != "$before" ]]; then
        say "update: fast-forwarded $branch from ${before:0:12} to $(commit_at "$dir")${stash:+, with the local changes restored}"
    fi
}

# Applies a stash to the working tree and drops it. If it conflicts with the fast-forward, the checkout returns to COMMIT with the local
# changes as they were, and the stash is kept.
put_back() { # DIR COMMIT STASH LOG
    local dir=$1 commit=$2 stash=$3 log=$4
    if apply_stash "$dir" "$stash" "$log"; then
        pending_stash=""
        if [[ $(git -C "$dir" rev-parse refs/stash) == "$stash" ]]; then git -C "$dir" stash drop --quiet; fi
        return
    fi
    # Nothing is lost: the stash has all changes.
    git -C "$dir" reset --quiet --hard "$commit"
    apply_stash "$dir" "$stash" "$log" || return 0 # report_pending_stash says where the changes are
    pending_stash=""
    warn "local changes conflict with upstream's: not updated, $dir is at ${commit:0:12} with the local changes" \
        "they are also in stash@{0}, ${stash:0:12}; to update, commit or undo them and run this again"
}

# Restores staged changes as staged; git refuses that if the staged part alone no longer applies.
apply_stash() { # DIR STASH LOG
    git -C "$1" stash apply --index "$2" >>"$3" 2>&1 && return
    git -C "$1" reset --quiet --hard
    git -C "$1" stash apply "$2" >>"$3" 2>&1
}

# --- cloning --------------------------------------------------------------------------------------------------------------------

clone_part="" # a clone in progress, removed if it is interrupted

# Clones URL into DIR at COMMIT. An interrupted clone leaves nothing. HEAD is detached, so that the checkout stays at the pinned commit.
clone_pinned() { # URL COMMIT DIR
    local url=$1 pinned=$2 dir=$3 said fault
    if [[ -d $dir && $(ls -A -- "$dir") ]]; then
        fault=$(checkout_fault "$dir")
        if [[ $fault ]]; then die "$dir is in the way: $fault" "remove it, or name another folder with --dir"; fi
        if [[ $(git -C "$dir" rev-parse HEAD) == "$pinned" ]]; then
            say "$dir exists already, at ${pinned:0:12}"
            return
        fi
        die "$dir is at $(commit_at "$dir"), not at ${pinned:0:12}, which this benchmark was tested with; it was not changed" \
            "to change it: git -C '$dir' fetch && git -C '$dir' checkout --detach $pinned"
    fi
    command -v git >/dev/null || die "git was not found; install it with the system's package manager: sudo apt install git" \
        ${wheel:+"or take the same sources from PyPI: $0 --pypi"}
    mkdir -p -- "$(dirname -- "$dir")" || die "cannot make the folder of $dir; name another with --dir"
    say "cloning $url"
    clone_part=$dir.part
    rm -rf -- "$clone_part"
    trap 'rm -rf -- "$clone_part"' EXIT
    if ! said=$(network_git clone --quiet --no-checkout -- "$url" "$clone_part" 2>&1); then
        die "could not clone $url (git: ${said##*$'\n'})" \
            "without a network: run git clone --mirror $url on a machine that has one, copy the folder here, and name it with --url /path/to/it" \
            ${wheel:+"where PyPI can be reached: $0 --pypi"}
    fi
    if ! said=$(git -C "$clone_part" checkout --quiet --detach "$pinned" 2>&1); then
        die "$url has no commit $pinned (git: ${said##*$'\n'}); update the copy or name another with --url"
    fi
    if [[ -d $dir ]]; then rmdir -- "$dir"; fi
    mv -- "$clone_part" "$dir"
    trap - EXIT
    say "$dir is ready, at ${pinned:0:12}"
}

# The main function of a script that gets one repository. If the script sets `wheel`, a requirements file, --pypi installs that instead.
get_checkout() { # URL COMMIT DIR ARGUMENT...
    local url=$1 pinned=$2 dir=$3 given_url=no pypi=no
    shift 3
    while (($#)); do
        case $1 in
            --dir | --url)
                [[ ${2-} ]] || die_usage "$1 needs a value"
                case $1 in
                    --dir) dir=$2 ;;
                    --url) url=$2 given_url=yes ;;
                esac
                shift 2
                ;;
            --pypi)
                [[ ${wheel-} ]] || die_usage "unknown argument $1"
                pypi=yes
                shift
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) die_usage "unknown argument $1" ;;
        esac
    done
    if [[ $pypi == yes ]]; then
        [[ $given_url == no ]] || die_usage "--pypi clones nothing; leave out --url"
        install_apart "$wheel" "$dir"
    else
        isolate_git
        clone_pinned "$url" "$pinned" "$dir"
    fi
}
