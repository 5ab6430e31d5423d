"""scripts/lock_clocks.sh, run for real with programs that stand for the board's."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from boards import BOARDS
from boards import Board as BoardOfTable
from desk import ROOT, program
from emulated_board import write_root

NVPMODEL_CONF = """\
< PARAM TYPE=FILE NAME=CPU_ONLINE >
# mode comments
< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=7W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=0 >
"""

# Asks before it reboots, warns before it answers, and refuses a mode whose limits lie below the locked clocks.
NVPMODEL = """\
echo "nvpmodel $*" >>"$LOG"
case $1 in
    -q) echo "NVPM WARN: fan mode is not set!"; echo "NV Power Mode: whatever"; cat "$BOARD/mode" ;;
    -m)
        if [[ $2 == "${NEEDS_REBOOT-}" ]]; then
            echo "NVPM WARN: Reboot required for changing to this power mode: $2"
            echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
            read -r answer
            [[ ${answer^^} == YES ]] && echo rebooted >>"$LOG"
            exit 1
        fi
        if [[ $(cat "$GPU/min_freq") == 900000000 ]]; then echo "NVPM ERROR: failed to write PARAM GPU"; exit 1; fi
        echo "$2" >"$BOARD/mode"
        echo 300000000 >"$GPU/min_freq"
        ;;
esac
"""

JETSON_CLOCKS = """\
echo "jetson_clocks $*" >>"$LOG"
case ${1-} in
    --store)
        if [[ -e $2 ]]; then echo "File $2 already exists. Can I overwrite it? Y/N:"; read -r _; exit 1; fi
        echo "$(cat "$GPU/min_freq") $(cat "$CPU/scaling_min_freq")" >"$2"
        ;;
    --restore) read -r gpu cpu <"$2"; echo "$gpu" >"$GPU/min_freq"; echo "$cpu" >"$CPU/scaling_min_freq" ;;
    *)
        cat "$CPU/scaling_max_freq" >"$CPU/scaling_min_freq"
        [[ ${DEAF-} ]] || cat "$GPU/max_freq" >"$GPU/min_freq"
        if [[ ${1-} == --fan ]]; then
            echo 255 >"$FAN"
            echo inactive >"$BOARD/nvfancontrol"
        fi
        ;;
esac
"""

SYSTEMCTL = """\
echo "systemctl $*" >>"$LOG"
case $1 in
    is-active) cat "$BOARD/nvfancontrol"; grep -qx active "$BOARD/nvfancontrol" ;;
    restart) echo active >"$BOARD/nvfancontrol" ;;
esac
"""


@dataclass
class Board:
    """A made-up Orin Nano: its file system, its programs, and what was called."""

    folder: Path

    def __post_init__(self) -> None:
        self.files = self.folder / "the board"
        self.gpu = self.files / "sys/class/devfreq/17000000.gpu"
        self.cpu = self.files / "sys/devices/system/cpu/cpufreq/policy0"
        self.fan = self.files / "sys/devices/platform/pwm-fan/hwmon/hwmon1/pwm1"
        self.state = self.folder / "kept state"
        self.log = self.folder / "log"
        for path, text in {
            self.files / "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3",
            self.files / "etc/nvpmodel.conf": NVPMODEL_CONF,
            self.files / "proc/sys/kernel/random/boot_id": "first boot",
            self.gpu / "min_freq": "300000000",
            self.gpu / "max_freq": "900000000",
            self.files / "sys/class/devfreq/15340000.vic/min_freq": "1",
            self.files / "sys/class/devfreq/15340000.vic/max_freq": "2",
            self.cpu / "scaling_min_freq": "729600",
            self.cpu / "scaling_max_freq": "1510400",
            self.fan: "88",
            self.folder / "mode": "0",
            self.folder / "nvfancontrol": "active",
            self.log: "",
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n" if text else "", encoding="utf-8")
        for name, source in {
            "nvpmodel": NVPMODEL,
            "jetson_clocks": JETSON_CLOCKS,
            "systemctl": SYSTEMCTL,
            "id": "echo ${TEST_UID-0}\n",
        }.items():
            program(self.folder / "bin" / name, source)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "LOCK_CLOCKS_ROOT": str(self.files),
            "LOCK_CLOCKS_STATE": str(self.state),
            "BOARD": str(self.folder),
            "GPU": str(self.gpu),
            "CPU": str(self.cpu),
            "FAN": str(self.fan),
            "LOG": str(self.log),
            **variables,
        }
        return subprocess.run(
            [str(ROOT / "scripts" / "lock_clocks.sh"), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def now(self) -> tuple[str, ...]:
        """(power mode, lower limit of the GPU, of the CPU, fan, its service)."""
        paths = (self.folder / "mode", self.gpu / "min_freq", self.cpu / "scaling_min_freq", self.fan, self.folder / "nvfancontrol")
        return tuple(path.read_text(encoding="utf-8").strip() for path in paths)

    def calls(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()


BEFORE = ("0", "300000000", "729600", "88", "active")


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_locks_and_restores_what_was(board: Board) -> None:
    locked = board.run("--mode", "2", "--fan")
    assert (locked.returncode, locked.stderr) == (0, "")
    assert "locked at the maximum of MAXN_SUPER (mode 2), fan at full speed" in locked.stdout
    assert board.now() == ("2", "900000000", "1510400", "255", "inactive")

    restored = board.run("--restore")
    assert (restored.returncode, restored.stderr) == (0, "")
    assert "restored 15W (mode 0), its clocks and the fan" in restored.stdout
    assert board.now() == BEFORE
    assert list(board.state.iterdir()) == []


def test_without_options_only_the_clocks_change(board: Board) -> None:
    assert board.run().returncode == 0
    assert board.now() == ("0", "900000000", "1510400", "88", "active")
    assert "nvpmodel -m" not in "\n".join(board.calls())


def test_locking_again_in_another_mode_still_restores_the_first_state(board: Board) -> None:
    assert board.run("--mode", "2").returncode == 0
    again = board.run("--mode", "7w")
    assert (again.returncode, again.stderr) == (0, "")
    assert board.now() == ("1", "900000000", "1510400", "88", "active")
    assert board.run("--mode", "1").returncode == 0, "in the mode already"
    assert [call for call in board.calls() if call.startswith("jetson_clocks --store")] == [
        f"jetson_clocks --store {board.state}/clocks.new"
    ], "what was is written down once"

    assert board.run("--restore").returncode == 0
    assert board.now() == BEFORE


def test_after_a_reboot_only_the_power_mode_is_restored(board: Board) -> None:
    assert board.run("--mode", "2", "--fan").returncode == 0
    (board.files / "proc/sys/kernel/random/boot_id").write_text("second boot\n", encoding="utf-8")
    (board.gpu / "min_freq").write_text("111\n", encoding="utf-8")
    before = board.calls()

    done = board.run("--restore")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a reboot has already restored the clocks" in done.stdout
    assert (board.folder / "mode").read_text(encoding="utf-8") == "0\n"
    assert not any("--restore" in call for call in board.calls()[len(before) :])


def test_locking_after_a_reboot_keeps_the_mode_of_before_and_takes_the_clocks_of_now(board: Board) -> None:
    assert board.run("--mode", "2").returncode == 0
    (board.files / "proc/sys/kernel/random/boot_id").write_text("second boot\n", encoding="utf-8")
    (board.gpu / "min_freq").write_text("400000000\n", encoding="utf-8")
    (board.cpu / "scaling_min_freq").write_text("800000\n", encoding="utf-8")
    assert board.run("--mode", "2").returncode == 0

    assert board.run("--restore").returncode == 0
    assert board.now() == ("0", "400000000", "800000", *BEFORE[3:])


def test_nothing_to_restore_is_no_error(board: Board) -> None:
    done = board.run("--restore")
    assert (done.returncode, "nothing to restore" in done.stdout) == (0, True)
    assert board.now() == BEFORE


def test_status_needs_no_root_and_changes_nothing(board: Board) -> None:
    before = board.run("--status", TEST_UID="1000")
    assert before.returncode == 0
    assert before.stdout.splitlines() == [
        "lock_clocks: power mode: 15W (mode 0)",
        "lock_clocks: clocks: not locked (policy0 729 to 1510 MHz, 17000000.gpu 300 to 900 MHz)",
        "lock_clocks: fan: 88 of 255, control active",
        "lock_clocks: to restore: nothing",
    ]
    assert board.now() == BEFORE

    assert board.run("--mode", "2").returncode == 0
    after = board.run("--status", TEST_UID="1000").stdout
    assert "power mode: MAXN_SUPER (mode 2)" in after
    assert "clocks: locked" in after
    assert "to restore: 15W (mode 0)" in after


@pytest.mark.parametrize("sold", BOARDS.values(), ids=BOARDS)
def test_status_knows_the_gpu_of_every_board(board: Board, sold: BoardOfTable) -> None:
    shutil.rmtree(board.files / "sys")
    files = write_root(board.files, sold)
    for clock in sold.gpu:
        files.lock_clocks()
        assert "clocks: locked" in board.run("--status").stdout
        files.set_limits(clock.name, clock.low, clock.high)
        loose = f"{clock.name} {clock.low // 1_000_000} to {clock.high // 1_000_000} MHz"
        assert f"clocks: not locked ({loose})" in board.run("--status").stdout


def test_a_mode_that_needs_a_reboot_is_not_switched_to(board: Board) -> None:
    done = board.run("--mode", "2", NEEDS_REBOOT="2")
    assert done.returncode == 1
    assert "has to reboot to go to MAXN_SUPER (mode 2): run 'sudo nvpmodel -m 2'" in done.stderr
    assert "rebooted" not in board.calls()
    assert board.now() == BEFORE


@pytest.mark.parametrize("sold", BOARDS.values(), ids=BOARDS)
def test_modes_go_by_the_names_that_the_board_has(board: Board, sold: BoardOfTable) -> None:
    modes = "".join(f"< POWER_MODEL ID={number} NAME={name} >\n" for number, name in sold.modes.items())
    (board.files / "etc/nvpmodel.conf").write_text(modes, encoding="utf-8")
    listed = board.run("--list", TEST_UID="1000")
    assert listed.stdout.splitlines() == [
        f"lock_clocks: {number} {name}{' (now)' if number == 0 else ''}" for number, name in sold.modes.items()
    ]
    assert board.now() == BEFORE
    assert board.run("--mode", "max").returncode == 0
    assert board.now()[0] == str(sold.fastest_mode)
    for number, name in sold.modes.items():
        for said in (name, name.lower().removeprefix("mode_")):
            assert board.run("--mode", said).returncode == 0
            assert board.now()[0] == str(number)


def test_a_mode_with_other_cores_or_gpu_parts_is_said_to_need_a_reboot_before(board: Board) -> None:
    (board.files / "etc/nvpmodel.conf").write_text(
        "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_5 1\nTPC_POWER_GATING TPC_PG_MASK 0\nGPU MAX_FREQ 1\n"
        "< POWER_MODEL ID=1 NAME=7W >\nCPU_ONLINE CORE_5 0\nTPC_POWER_GATING TPC_PG_MASK 0\nGPU MAX_FREQ 2\n"
        "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\nCPU_ONLINE CORE_5 1\nTPC_POWER_GATING TPC_PG_MASK 0\nGPU MAX_FREQ -1\n"
        "< POWER_MODEL ID=10 NAME=10W >\nCPU_ONLINE CORE_5 1\nTPC_POWER_GATING TPC_PG_MASK 240\n"
        "< PM_CONFIG DEFAULT=0 >\n",
        encoding="utf-8",
    )
    reboot = " (probably needs a reboot)"
    assert board.run("--list").stdout.splitlines() == [
        "lock_clocks: 0 15W (now)", f"lock_clocks: 1 7W{reboot}", "lock_clocks: 2 MAXN_SUPER", f"lock_clocks: 10 10W{reboot}",
    ]  # fmt: skip
    done = board.run("--mode", "7W", NEEDS_REBOOT="1")
    assert done.returncode == 1
    assert "will probably want a reboot" in done.stdout
    assert "has to reboot to go to 7W (mode 1)" in done.stderr
    assert "reboot" not in board.run("--mode", "max").stdout


def test_clocks_that_stay_loose_are_an_error_and_can_be_restored(board: Board) -> None:
    done = board.run(DEAF="1")
    assert done.returncode == 1
    assert "these clocks are not locked: 17000000.gpu 300 to 900 MHz" in done.stderr
    assert "cat /sys/class/devfreq/NAME/max_freq >/sys/class/devfreq/NAME/min_freq" in done.stderr
    assert board.run("--restore").returncode == 0
    assert board.now() == BEFORE


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--mode", "9"], 1, "there is no power mode 9; use one of: 0 15W, 1 7W, 2 MAXN_SUPER, or max"),
        (["--list", "--fan"], 2, "--list takes neither --mode nor --fan"),
        (["--mode", "MAXN"], 1, "there is no power mode MAXN"),
        (["--mode"], 2, "--mode needs a value"),
        (["--restore", "--fan"], 2, "--restore takes neither --mode nor --fan"),
        (["--max"], 2, "unknown argument --max"),
    ],
)
def test_what_cannot_be_done_changes_nothing(board: Board, arguments: list[str], status: int, words: str) -> None:
    done = board.run(*arguments)
    assert (done.returncode, words in done.stderr) == (status, True)
    assert board.now() == BEFORE
    assert not board.state.exists()


def test_only_root_may_change_clocks(board: Board) -> None:
    done = board.run("--mode", "2", "--fan", TEST_UID="1000")
    assert done.returncode == 1
    assert f"sudo '{ROOT}/scripts/lock_clocks.sh' --mode 2 --fan" in done.stderr
    assert board.run("--restore", TEST_UID="1000").returncode == 1
    assert board.now() == BEFORE


def test_refuses_on_what_is_no_jetson(board: Board) -> None:
    (board.files / "etc/nv_tegra_release").unlink()
    done = board.run()
    assert (done.returncode, "this is not a Jetson" in done.stderr) == (1, True)
    assert board.calls() == []

    tree = board.files / "proc/device-tree/compatible"
    tree.parent.mkdir(parents=True)
    tree.write_bytes(b"nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")
    assert board.run().returncode == 0, "boards are also told by their device tree"


def test_says_which_program_is_missing(board: Board) -> None:
    (board.folder / "bin/nvpmodel").unlink()
    if shutil.which("nvpmodel"):
        pytest.skip("this machine has an nvpmodel of its own")
    done = board.run()
    assert (done.returncode, "nvpmodel was not found" in done.stderr) == (1, True)
