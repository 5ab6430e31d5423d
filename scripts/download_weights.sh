#!/usr/bin/env bash
# Downloads the trained weights that the benchmark loads. Run with --help for the usage.
# Files, sizes and sha256 sums are in weights.tsv beside this script. A download goes to FILE.part, is resumed from there after a broken
# connection or a restart, and gets its final name only if its size and sha256 are correct: a file with its final name is always complete.
# Where the table has - for both, nobody is known to publish them: such a file must at least be a closed archive, as torch.save writes.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
readonly here table="$here/weights.tsv"
# A download that breaks off is retried while each try makes progress, up to max_tries.
readonly max_tries=50 max_tries_without_progress=3

usage() {
    cat <<'EOF'
usage: scripts/download_weights.sh [--dir DIR] [--base-url-sam2 URL] [--base-url-edgetam URL]
                                   [--base-url-efficienttam URL] [--base-url-sam1 URL] [--base-url-cutie URL] [MODEL...]

Downloads trained weights: sam2_tiny, sam2_small, sam2_base, sam2_large (SAM 2.1), edgetam, efficienttam_ti and efficienttam_s with their
variants _1, _2 and _512x512, sam1_base, sam1_large and sam1_huge (SAM v1), cutie; all of them (6.3 GiB) unless models are named. sam3 is
given only to who has accepted its licence: named, it is told how to get it.
Tells the licence of weights whose use is restricted.
Resumes incomplete files, skips complete ones, and tries every file even if one fails.

  --dir DIR                    folder for the files (default: checkpoints in the repository)
  --base-url-sam2 URL          fetch the SAM 2.1 files from URL/FILE, for example a mirror
  --base-url-edgetam URL       the same for EdgeTAM
  --base-url-efficienttam URL  the same for EfficientTAM
  --base-url-sam1 URL          the same for SAM v1
  --base-url-cutie URL         the same for Cutie
  -h, --help                   show this

Exit status: 0 all files are complete, 1 at least one could not be downloaded, 2 wrong usage, 3 files are missing only because their servers
could not be reached.
EOF
}

die_usage() {
    printf 'download_weights: %s\n' "$1" >&2
    usage >&2
    exit 2
}

# --- arguments ------------------------------------------------------------------------------------------------------------------

directory="$here/../checkpoints"
declare -A base_url=(
    [sam2]=https://dl.fbaipublicfiles.com/segment_anything_2/092824
    [edgetam]=https://github.com/facebookresearch/EdgeTAM/raw/main/checkpoints
    [efficienttam]=https://huggingface.co/yunyangx/efficient-track-anything/resolve/main
    [sam1]=https://dl.fbaipublicfiles.com/segment_anything
    [cutie]=https://github.com/hkchengrex/Cutie/releases/download/v1.0
)
wanted=()
while (($#)); do
    case $1 in
        --dir | --base-url-sam2 | --base-url-edgetam | --base-url-efficienttam | --base-url-sam1 | --base-url-cutie)
            [[ ${2-} ]] || die_usage "$1 needs a value"
            case $1 in
                --dir) directory=$2 ;;
                *) base_url[${1#--base-url-}]=${2%/} ;;
            esac
            shift 2
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*) die_usage "unknown option $1" ;;
        *)
            wanted+=("$1")
            shift
            ;;
    esac
done

declare -A file_of bytes_of sum_of source_of licence_of
models=()
while IFS=$'\t' read -r model file bytes sum source licence; do
    [[ $model && $model != \#* ]] || continue
    models+=("$model")
    file_of[$model]=$file bytes_of[$model]=$bytes sum_of[$model]=$sum source_of[$model]=$source licence_of[$model]=$licence
done <"$table"

if ((!${#wanted[@]})); then
    for model in "${models[@]}"; do
        [[ ${source_of[$model]} == gated ]] || wanted+=("$model")
    done
fi
for model in "${wanted[@]}"; do
    [[ ${file_of[$model]-} ]] || die_usage "no weights are known for '$model'; use ${models[*]}"
done

if command -v curl >/dev/null; then
    tool=curl
elif command -v wget >/dev/null; then
    tool=wget
else
    echo "download_weights: neither curl nor wget was found; install one with the system's package manager" >&2
    exit 1
fi

# --- one transfer ---------------------------------------------------------------------------------------------------------------

size_of() { # FILE
    if [[ -e $1 ]]; then stat -c %s -- "$1"; else echo 0; fi
}

in_mib() { # BYTES
    echo "$((($1 + 524288) / 1048576)) MiB"
}

# Whether the end of a zip archive closes the file.
is_archive() { # FILE
    [[ $(tail -c 22 -- "$1" | od -An -tx1 | tr -d ' \n') == 504b0506* ]]
}

is_whole() { # FILE MODEL
    if [[ ${bytes_of[$2]} == - ]]; then
        [[ -f $1 ]] && is_archive "$1"
        return
    fi
    [[ -f $1 && $(size_of "$1") == "${bytes_of[$2]}" ]] || return 1
    [[ $(sha256sum <"$1") == "${sum_of[$2]} "* ]]
}

# Continues PART from URL. Sets `outcome`: complete; unreachable (no answer from the server); refused (it answered with an error); stale
# (PART cannot be continued); broken (any other failure, worth another try). Sets `reason` to the tool's message.
transfer() { # URL PART
    local url=$1 part=$2 status=0 said code
    if [[ $tool == curl ]]; then
        local shown=--silent
        [[ -t 2 ]] && shown=--progress-bar
        # A transfer slower than 1 kB/s for 30 s counts as broken.
        said=$(curl "$shown" --fail --location --connect-timeout 10 --speed-limit 1024 --speed-time 30 --continue-at - \
            --write-out '%{http_code} %{errormsg}' --output "$part" -- "$url") || status=$?
        code=${said%% *}
        reason="curl error $status: ${said#* }"
        case $status:$code in
            0:*) outcome=complete ;;
            33:* | 22:416) outcome=stale ;;
            22:4*) outcome=refused ;;
            5:* | 6:* | 7:* | 28:000 | 56:000 | 97:000) outcome=unreachable ;;
            *) outcome=broken ;;
        esac
    else
        said=$(LC_ALL=C wget --no-verbose --tries=1 --dns-timeout=10 --connect-timeout=10 --read-timeout=30 --continue \
            --output-document="$part" -- "$url" 2>&1) || status=$?
        reason="wget error $status: ${said##*$'\n'}"
        case $status:$said in
            0:*) outcome=complete ;;
            *"Refusing to truncate"*) outcome=stale ;;
            8:*"ERROR 4"*) outcome=refused ;;
            4:*) outcome=unreachable ;;
            *) outcome=broken ;;
        esac
    fi
    # wget leaves an empty file after a failure.
    if [[ ! -s $part ]]; then rm -f -- "$part"; fi
}

# Downloads PART from URL with as many transfers as needed. Returns 0 if the server reports it complete; otherwise sets `verdict` and
# returns 1, or 3 if the server could not be reached. 0 bytes: their number is not known.
download() { # URL PART BYTES
    local url=$1 part=$2 bytes=$3 failures=0 tries had
    for ((tries = 0; tries < max_tries; tries++)); do
        had=$(size_of "$part")
        if ((had == bytes && bytes)); then return 0; fi
        if ((had > bytes && bytes)); then
            rm -f -- "$part"
            had=0
        fi
        transfer "$url" "$part"
        case $outcome in
            complete) return 0 ;;
            refused)
                verdict="FAILED: $url: $reason"
                return 1
                ;;
            stale) rm -f -- "$part" ;;
        esac
        if (($(size_of "$part") > had)); then
            failures=0
            continue
        fi
        failures=$((failures + 1))
        if [[ $outcome == unreachable ]] && ((tries == 0 || failures == max_tries_without_progress)); then
            verdict="NO NETWORK: $url: $reason"
            return 3
        fi
        ((failures < max_tries_without_progress)) || break
        sleep "$failures"
    done
    verdict="FAILED: $url: $reason; $(size_of "$part") of ${bytes/#0/unknown} bytes are kept; run this again to resume"
    return 1
}

# Weights that Meta gives to who has accepted the licence on the model's page: nothing to fetch without an account. Sets `verdict`.
tell_gated() { # MODEL
    local folder=${file_of[$1]%/*}
    if [[ -f $directory/${file_of[$1]} ]]; then
        verdict="already there; neither its size nor its sha256 is published"
        return 0
    fi
    verdict="GATED: accept the licence on https://huggingface.co/facebook/$folder, log in with \`hf auth login\`, and run"
    verdict+=" \`hf download facebook/$folder ${file_of[$1]##*/} --local-dir $directory/$folder\`"
    return 1
}

# --- one file -------------------------------------------------------------------------------------------------------------------

declare -A is_unreachable=()

# Sets `verdict` to the text of this model's line. Returns 0 if its file is complete, 1 if it could not be downloaded, 3 if its server could
# not be reached.
fetch() { # MODEL
    local model=$1 status=0 had
    local bytes=${bytes_of[$model]} source=${source_of[$model]}
    local target="$directory/${file_of[$model]}" url="${base_url[$source]}/${file_of[$model]}"
    local part="$target.part"

    if [[ $bytes == - ]]; then
        bytes=0
        # Nothing could tell whether what an earlier start left belongs to this file.
        rm -f -- "$part"
    fi
    if is_whole "$target" "$model"; then
        verdict="already there"
        return 0
    fi
    if [[ ${is_unreachable[$source]-} ]]; then
        verdict="NO NETWORK: ${base_url[$source]} did not answer for an earlier file"
        return 3
    fi
    if (($(stat -f -c '%a * %S' -- "$directory") + $(size_of "$part") < bytes)); then
        verdict="FAILED: $(in_mib "$bytes") do not fit on the disk of $directory; free some space or give another --dir"
        return 1
    fi

    [[ -t 2 ]] || echo "fetching $url ..." >&2
    had=$(size_of "$part")
    download "$url" "$part" "$bytes" || status=$?
    if ((status == 0 && had > 0)) && ! is_whole "$part" "$model"; then
        # The part from an earlier start may have belonged to another file.
        rm -f -- "$part"
        download "$url" "$part" "$bytes" || status=$?
    fi
    if ((status == 3)); then is_unreachable[$source]=yes; fi
    if ((status)); then return "$status"; fi

    if ! is_whole "$part" "$model"; then
        verdict="FAILED: $url gave $(size_of "$part") bytes, not the $bytes bytes with the sha256 in weights.tsv; refused"
        if ((bytes == 0)); then verdict="FAILED: $url gave $(size_of "$part") bytes that are no closed archive; refused"; fi
        rm -f -- "$part"
        return 1
    fi
    verdict="fetched"
    if ((bytes == 0)); then
        verdict="fetched; its sum is published nowhere known, so that nothing proves it upstream's: sha256 $(sha256sum <"$part" | cut -d' ' -f1)"
    fi
    if [[ -e $target ]]; then
        verdict+="; another or a truncated file had this name and is kept as $target.old"
        mv -f -- "$target" "$target.old"
    fi
    if ! mv -f -- "$part" "$target"; then
        verdict="FAILED: $part is complete but could not be renamed to $target; rename it"
        return 1
    fi
}

# --- all files ------------------------------------------------------------------------------------------------------------------

if ! mkdir -p -- "$directory" || [[ ! -w $directory ]]; then
    echo "download_weights: cannot write to $directory; make it writable or give another folder with --dir" >&2
    exit 1
fi
directory=$(cd -- "$directory" && pwd)

failed=0 offline=0
for model in "${wanted[@]}"; do
    status=0
    if [[ ${source_of[$model]} == gated ]]; then
        tell_gated "$model" || status=$?
    else
        fetch "$model" || status=$?
    fi
    target="$directory/${file_of[$model]}"
    if ((status)) && [[ -e $target ]]; then
        verdict+="; $target exists, but is truncated or not upstream's ($(size_of "$target") bytes)"
    fi
    case $status in
        0) ;;
        3) offline=$((offline + 1)) ;;
        *) failed=$((failed + 1)) ;;
    esac
    size=${bytes_of[$model]}
    if [[ $size == - && -e $target ]]; then size=$(size_of "$target"); fi
    size=$([[ $size == - ]] || in_mib "$size")
    printf '%-10s  %-24s  %8s  %s\n' "$model" "${file_of[$model]}" "$size" "$verdict"
    if [[ ${licence_of[$model]} ]]; then
        printf '%-10s  licence: %s\n' "$model" "${licence_of[$model]}"
    fi
done

((failed == 0)) || exit 1
if ((offline)); then
    echo "No network: fetch the files on another machine with this script and copy them to $directory." >&2
    exit 3
fi
