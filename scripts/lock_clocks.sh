#!/usr/bin/env bash
# Locks a Jetson board's clocks so that measurements can be repeated, and restores them. Run with --help for the usage.
# The earlier state is saved before anything is changed and kept until it is restored, so that locking twice, or again in another power
# mode, still restores the first state. A reboot restores clocks and fan but not the power mode, so of a state saved before a reboot only
# the power mode is restored.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

usage() {
    cat <<'EOF'
usage: sudo scripts/lock_clocks.sh [--mode MODE] [--fan]
       sudo scripts/lock_clocks.sh --restore
       scripts/lock_clocks.sh --status | --list

Locks the CPU, GPU and memory clocks of a Jetson board at the maximum of its power mode (jetson_clocks).

  --mode MODE   first switch to this power mode (nvpmodel): its number, its name as --list shows it (MAXN_SUPER, MODE_15W or 15W), or max for
                the board's fastest; refused if the switch needs a reboot
  --fan         run the fan at full speed
  --restore     restore the power mode, clocks and fan from before the first locking
  --list        show the board's power modes, the one it is in, and those that it probably has to reboot for; needs no root
  --status      show the power mode, clocks, fan and whether there is a state to restore; needs no root
  -h, --help    show this

Environment: LOCK_CLOCKS_STATE is the folder of the saved state (default /var/lib/lock_clocks); LOCK_CLOCKS_ROOT is a prefix of /sys, /proc
and /etc, for tests.
Exit status: 0 done, 1 not done (the last line says why), 2 wrong usage.
EOF
}

say() {
    printf 'lock_clocks: %s\n' "$*"
}

die() { # LINE...
    printf 'lock_clocks: %s\n' "$@" >&2
    exit 1
}

die_usage() {
    printf 'lock_clocks: %s\n' "$1" >&2
    usage >&2
    exit 2
}

# --- arguments ------------------------------------------------------------------------------------------------------------------

readonly original=("$@")
action=lock wanted_mode="" fan=no
while (($#)); do
    case $1 in
        --mode)
            [[ ${2-} ]] || die_usage "--mode needs a value"
            wanted_mode=$2
            shift 2
            ;;
        --fan)
            fan=yes
            shift
            ;;
        --restore | --status | --list)
            action=${1#--}
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die_usage "unknown argument $1" ;;
    esac
done
[[ $action == lock || (-z $wanted_mode && $fan == no) ]] || die_usage "--$action takes neither --mode nor --fan; leave them out"

readonly fs=${LOCK_CLOCKS_ROOT-} state=${LOCK_CLOCKS_STATE-/var/lib/lock_clocks}
readonly stored_clocks="$state/clocks" stored_facts="$state/facts"

# --- the board ------------------------------------------------------------------------------------------------------------------

[[ -e $fs/etc/nv_tegra_release ]] || grep -qs tegra "$fs/proc/device-tree/compatible" ||
    die "this is not a Jetson; on a desktop GPU lock the clocks with: sudo nvidia-smi --lock-gpu-clocks=MHZ"
for tool in nvpmodel jetson_clocks; do
    command -v "$tool" >/dev/null || die "$tool was not found; it comes with JetPack and is not in containers: run this on the board itself"
done

needs_root() {
    [[ $(id -u) == 0 ]] || die "only root may change clocks: sudo '$root/scripts/lock_clocks.sh'${original[*]:+ ${original[*]}}"
}

# nvpmodel -q ends with the number of the mode, after warnings and the name.
power_mode() {
    local answer number
    answer=$(nvpmodel -q 2>/dev/null </dev/null) || die "nvpmodel -q failed; see: sudo nvpmodel -q"
    number=${answer##*$'\n'}
    [[ $number =~ ^[0-9]+$ ]] || die "nvpmodel does not report the board's power mode: $answer"
    echo "$number"
}

# Lines of `NUMBER NAME`.
known_modes() {
    sed -nE 's/.*POWER_MODEL +ID=([0-9]+) +NAME=([^ >]+).*/\1 \2/p' "$fs/etc/nvpmodel.conf" 2>/dev/null || true
}

name_of_mode() { # NUMBER
    local number name
    while read -r number name; do
        if [[ $number == "$1" ]]; then
            echo "$name (mode $1)"
            return
        fi
    done < <(known_modes)
    echo "mode $1"
}

# The board's fastest mode: MAXN_SUPER, else MAXN, else that of the most watts.
fastest_mode() {
    local number name watts best="" most=-1
    while read -r number name; do
        watts=$(grep -oE '[0-9]+' <<<"$name" | head -n 1) || watts=0
        case ${name^^} in
            MAXN_SUPER) watts=1000000 ;;
            MAXN*) watts=100000 ;;
        esac
        if ((watts > most)); then best=$number most=$watts; fi
    done < <(known_modes)
    [[ $best ]] || die "--mode max: $fs/etc/nvpmodel.conf names no power mode; give a number, see sudo nvpmodel -p --verbose"
    echo "$best"
}

number_of_mode() { # NUMBER, NAME or max
    local number name names=""
    if [[ ${1^^} == MAX ]]; then
        fastest_mode
        return
    fi
    while read -r number name; do
        if [[ $1 == "$number" || ${1^^} == "${name^^}" || MODE_${1^^} == "${name^^}" ]]; then
            echo "$number"
            return
        fi
        names+="${names:+, }$number $name"
    done < <(known_modes)
    # Without the table, the number is accepted, and the mode is checked after the switch.
    if [[ -z $names && $1 =~ ^[0-9]+$ ]]; then
        echo "$1"
        return
    fi
    die "there is no power mode $1; use one of: ${names:-unknown, see sudo nvpmodel -p --verbose}${names:+, or max}"
}

# What nvpmodel cannot change while the board runs: the cores that are on, and the parts of the GPU that have power.
fixed_parts() { # NUMBER
    awk -v id="$1" '
        /< *POWER_MODEL / { inside = ($0 ~ "ID=" id "[ >]") }
        inside && /^(CPU_ONLINE|[A-Z]*_POWER_GATING) / { print $1, $2, $3 }' "$fs/etc/nvpmodel.conf" 2>/dev/null | sort
}

probably_reboots() { # NUMBER
    [[ $(fixed_parts "$1") != "$(fixed_parts "$(power_mode)")" ]]
}

# Prints the names that clocks of a Jetson's GPU have in /sys/class/devfreq, between blanks.
gpu_clock_names() {
    local clocks names=" "
    while IFS=$'\t' read -r _ _ _ clocks; do names+="${clocks//,/ } "; done < <(grep -v '^#' "$root/savbench/board/chips.tsv")
    echo "$names"
}

# Prints the clocks whose lower limit is below the upper one, one per line; returns 1 if the kernel shows no GPU clock.
loose_clocks() {
    local low high folder names gpu_seen=no
    names=" $(gpu_clock_names) "
    for folder in "$fs"/sys/devices/system/cpu/cpufreq/policy*; do
        [[ -r $folder/scaling_min_freq ]] || continue
        low=$(<"$folder/scaling_min_freq") high=$(<"$folder/scaling_max_freq")
        if [[ $low != "$high" ]]; then echo "${folder##*/} $((low / 1000)) to $((high / 1000)) MHz"; fi
    done
    for folder in "$fs"/sys/class/devfreq/*; do
        # What follows the last dot: 17000000.gpu on an Orin, gpu-gpc-0 on a Thor.
        [[ $names == *" ${folder##*[/.]} "* && -r $folder/min_freq ]] || continue
        gpu_seen=yes
        low=$(<"$folder/min_freq") high=$(<"$folder/max_freq")
        if [[ $low != "$high" ]]; then echo "${folder##*/} $((low / 1000000)) to $((high / 1000000)) MHz"; fi
    done
    [[ $gpu_seen == yes ]]
}

fan_files() {
    local file
    for file in "$fs"/sys/devices/platform/pwm-fan*/hwmon/hwmon*/pwm[0-9]; do
        if [[ -e $file ]]; then echo "$file"; fi
    done
}

fan_control() {
    systemctl is-active nvfancontrol 2>/dev/null || true
}

boot_id() {
    cat -- "$fs/proc/sys/kernel/random/boot_id" 2>/dev/null || echo unknown
}

# --- saved state ----------------------------------------------------------------------------------------------------------------

fact() { # NAME
    sed -n "s/^$1=//p" "$stored_facts"
}

# Saves the state of the board unless one is saved already. Of a state from before a reboot, the power mode is kept, which a reboot does not
# reset, and the rest is saved again.
remember() {
    local mode file
    mode=$(power_mode)
    if [[ -f $stored_facts ]]; then
        if [[ $(fact boot) == "$(boot_id)" ]]; then return; fi
        mode=$(fact mode)
    fi
    mkdir -p -- "$state"
    # jetson_clocks asks before it overwrites a file.
    rm -f -- "$stored_clocks.new"
    jetson_clocks --store "$stored_clocks.new" </dev/null >/dev/null || die "jetson_clocks --store failed; nothing was changed"
    [[ -s $stored_clocks.new ]] || die "jetson_clocks --store wrote nothing; nothing was changed"
    {
        echo "boot=$(boot_id)"
        echo "mode=$mode"
        echo "fan_control=$(fan_control)"
        while read -r file; do echo "fan=$(<"$file") $file"; done < <(fan_files)
    } >"$stored_facts.new"
    # The facts last: without them, an incomplete state counts as none.
    mv -- "$stored_clocks.new" "$stored_clocks"
    mv -- "$stored_facts.new" "$stored_facts"
}

switch_mode() { # NUMBER
    local said
    # Some modes need a reboot, which nvpmodel offers; answer no.
    said=$(nvpmodel -m "$1" 2>&1 <<<"no") || true
    [[ $(power_mode) == "$1" ]] && return
    if [[ $said == *[Rr]eboot* ]]; then
        die "the board has to reboot to go to $(name_of_mode "$1"): run 'sudo nvpmodel -m $1', confirm, and then this again"
    fi
    die "the board did not go to $(name_of_mode "$1"); nvpmodel said: ${said:-nothing}"
}

restore_clocks() {
    jetson_clocks --restore "$stored_clocks" </dev/null >/dev/null || die "jetson_clocks --restore failed; a reboot brings the clocks back"
}

# --- actions --------------------------------------------------------------------------------------------------------------------

lock() {
    local mode="" loose
    needs_root
    if [[ $wanted_mode ]]; then mode=$(number_of_mode "$wanted_mode"); fi
    if [[ $mode && $mode != "$(power_mode)" ]] && probably_reboots "$mode"; then
        say "$(name_of_mode "$mode") has other cores or other parts of the GPU on than $(name_of_mode "$(power_mode)"): the board will probably want a" \
            "reboot, and nothing changes then"
    fi
    remember
    if [[ $mode && $mode != "$(power_mode)" ]]; then
        # Locked lower limits could be above the limits of the new mode.
        restore_clocks
        switch_mode "$mode"
    fi
    if [[ $fan == yes ]]; then
        jetson_clocks --fan </dev/null >/dev/null || die "jetson_clocks --fan failed"
    else
        jetson_clocks </dev/null >/dev/null || die "jetson_clocks failed"
    fi
    # jetson_clocks may fail and still exit with 0.
    loose=$(loose_clocks) || die "the kernel shows no GPU clock, so whether it is locked is unknown; see: sudo jetson_clocks --show"
    # Seen of gpu-gpc-0 on a Thor.
    [[ -z $loose ]] || die "jetson_clocks ran, but these clocks are not locked: ${loose//$'\n'/, }" \
        "raise their lower limits as root, for a GPU: cat /sys/class/devfreq/NAME/max_freq >/sys/class/devfreq/NAME/min_freq; a reboot undoes it"
    say "locked at the maximum of $(name_of_mode "$(power_mode)")$([[ $fan == no ]] || echo ", fan at full speed")"
    say "to restore: sudo scripts/lock_clocks.sh --restore"
}

restore() {
    local mode before file value
    needs_root
    if [[ ! -f $stored_facts ]]; then
        say "nothing to restore: this script locked nothing, or the state is restored already"
        return
    fi
    # Separate assignments: in one line, only the last command's failure would count.
    mode=$(power_mode)
    before=$(fact mode)
    if [[ $(fact boot) == "$(boot_id)" ]]; then
        restore_clocks
        if [[ $mode != "$before" ]]; then
            switch_mode "$before"
            # Switching the mode changes the limits again.
            restore_clocks
        fi
        while read -r value file; do
            if [[ -w $file ]]; then echo "$value" >"$file"; fi
        done < <(fact fan)
        # After the speed is set, since the service then regulates it again.
        if [[ $(fact fan_control) == active ]]; then
            systemctl restart nvfancontrol || die "the fan's service did not start: sudo systemctl restart nvfancontrol"
        fi
        say "restored $(name_of_mode "$before"), its clocks and the fan"
    else
        if [[ $mode != "$before" ]]; then switch_mode "$before"; fi
        say "restored $(name_of_mode "$before"); a reboot has already restored the clocks and the fan"
    fi
    rm -f -- "$stored_facts" "$stored_clocks"
}

list() {
    local now number name note
    now=$(power_mode)
    while read -r number name; do
        note=""
        if [[ $number == "$now" ]]; then
            note=" (now)"
        elif probably_reboots "$number"; then
            note=" (probably needs a reboot)"
        fi
        say "$number $name$note"
    done < <(known_modes)
}

status() {
    local loose file
    say "power mode: $(name_of_mode "$(power_mode)")"
    if ! loose=$(loose_clocks); then
        say "clocks: unknown, the kernel shows no GPU clock"
    elif [[ $loose ]]; then
        say "clocks: not locked (${loose//$'\n'/, })"
    else
        say "clocks: locked"
    fi
    while read -r file; do say "fan: $(<"$file") of 255, control $(fan_control)"; done < <(fan_files)
    if [[ -f $stored_facts ]]; then
        say "to restore: $(name_of_mode "$(fact mode)")"
    else
        say "to restore: nothing"
    fi
}

case $action in
    lock) lock ;;
    restore) restore ;;
    status) status ;;
    list) list ;;
esac
