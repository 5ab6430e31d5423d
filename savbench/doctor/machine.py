"""Checks of the machine: Python, board, memory, swap, disk, and on a Jetson power mode, clocks and the jtop service."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.board.jetsons import gpu_clocks
from savbench.board.power.jtop import INSTALL_SERVICE, JOIN_GROUP, RESTART, SOCKET, socket_problem, update
from savbench.board.power.rails import find_input_rail
from savbench.doctor.check import Check, Subject, made_environment, may_use, python_command, set_up_again, short_path
from savbench.results import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

TOPIC = "machine"

# Estimates, not measurements: the memory of a model depends on its size and input.
FEW_MEMORY_MIB, NO_MEMORY_MIB = 3072, 1024
LITTLE_DISK_MIB, NO_DISK_MIB = 2048, 100
SWAP_IN_USE_MIB = 64
OLDEST_PYTHON = (3, 10)


def check_machine(subject: Subject, out_dir: Path) -> Iterator[Check]:
    """Check the machine. `out_dir` is the folder that results would be written to."""
    yield check_python(subject)
    yield _check_board(subject)
    yield from check_memory(subject)
    yield check_disk(out_dir)
    yield check_power_mode(subject)
    yield check_clocks(subject)
    yield check_jtop(subject)


def check_python(subject: Subject) -> Check:
    version, prefix = platform.python_version(), Path(sys.prefix)
    facts: dict[str, Any] = {"version": version, "executable": sys.executable}
    if sys.version_info < OLDEST_PYTHON:
        remedy = "make setup PYTHON=python3.10"
        return Check(TOPIC, "Python", "failure", f"{version} is too old, the benchmark needs 3.10 or newer", remedy, facts)
    if made_environment(subject.checkout) is not None:
        detail = f"{version} of {prefix}, not the environment that setup made"
        return Check(TOPIC, "Python", "warning", detail, set_up_again(subject.checkout), facts)
    jetpack = subject.jetpack
    if jetpack is not None and sys.version_info[:2] != jetpack.python:
        wanted = "{}.{}".format(*jetpack.python)
        detail = f"{version}, but JetPack {jetpack.version} has {wanted}, which torch for this board is built for"
        return Check(TOPIC, "Python", "warning", detail, f"make setup PYTHON=python{wanted}", facts)
    return Check(TOPIC, "Python", "ok", f"{version} ({python_command()})", facts=facts)


def _check_board(subject: Subject) -> Check:
    system, board = environment.system(subject.root), environment.board(subject.root)
    parts = [system["os"], system["machine"]]
    if board is not None:
        jetpack = board["jetpack"] or (subject.jetpack and subject.jetpack.version)
        releases = (("L4T", board["l4t"]), ("JetPack", jetpack))
        parts = [board["model"], *(f"{name} {release}" for name, release in releases if release), *parts]
    return Check(TOPIC, "system", "ok", ", ".join(parts), facts={"system": system, "board": board})


def check_memory(subject: Subject) -> Iterator[Check]:
    sizes_mib = {
        match[1]: int(match[2]) // 1024 for match in re.finditer(r"^(\w+):\s+(\d+) kB$", _read(subject.root / "proc/meminfo"), re.MULTILINE)
    }
    if "MemAvailable" in sizes_mib:
        free, total = sizes_mib["MemAvailable"], sizes_mib.get("MemTotal", 0)
        facts = {"available_mib": free, "total_mib": total}
        summary = f"{free} of {total} MiB free"
        # On a desktop this would end the user's programs.
        remedy = "sudo systemctl isolate multi-user.target" if subject.is_jetson else "ps aux --sort=-rss | head"
        hint = "stop the desktop until the next boot" if subject.is_jetson else "end the programs that use it"
        if free < NO_MEMORY_MIB:
            yield Check(TOPIC, "memory", "failure", f"{summary}, no model fits; {hint}", remedy, facts)
        elif free < FEW_MEMORY_MIB:
            yield Check(TOPIC, "memory", "warning", f"{summary}, large models will not fit; {hint}", remedy, facts)
        else:
            yield Check(TOPIC, "memory", "ok", summary, facts=facts)
    if "SwapTotal" in sizes_mib:
        total = sizes_mib["SwapTotal"]
        used = total - sizes_mib.get("SwapFree", total)
        facts = {"used_mib": used, "total_mib": total}
        if used > SWAP_IN_USE_MIB:
            detail = f"{used} of {total} MiB in use; frames that use swap are slow; empty it first"
            yield Check(TOPIC, "swap", "warning", detail, "sudo swapoff -a && sudo swapon -a", facts)
        else:
            yield Check(TOPIC, "swap", "ok", f"{total} MiB, not in use" if total else "none", facts=facts)


def check_disk(out_dir: Path) -> Check:
    folder = out_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free // 2**20
    facts = {"folder": str(folder), "free_mib": free}
    summary = f"{free} MiB free in {short_path(folder)}"
    if not may_use(folder):
        detail = f"{short_path(folder)} cannot be written; run elsewhere, or name another folder with --out_dir"
        return Check(TOPIC, "disk", "failure", detail, f"sudo chown -R $USER {short_path(folder)}", facts)
    if free < NO_DISK_MIB:
        return Check(TOPIC, "disk", "failure", f"{summary}, too little for results", "df -h", facts)
    if free < LITTLE_DISK_MIB:
        return Check(
            TOPIC, "disk", "warning", f"{summary}, little for overlays and masks; use --out_dir to write to another disk", "df -h", facts
        )
    return Check(TOPIC, "disk", "ok", summary, facts=facts)


def check_power_mode(subject: Subject) -> Check:
    if not subject.is_jetson:
        return Check(TOPIC, "power mode", "ok", "not a Jetson")
    mode = environment.power_mode()
    if mode is None:
        detail = "nvpmodel does not answer; rows will not have the power mode"
        return Check(TOPIC, "power mode", "warning", detail, "sudo nvpmodel -q")
    modes = {
        int(number): name for number, name in re.findall(r"POWER_MODEL ID=(\d+) NAME=(\w+)", _read(subject.root / "etc/nvpmodel.conf"))
    }
    facts = {"mode": mode, "modes": modes}
    summary = f"{mode['name']} (mode {mode['id']})"
    fastest = [number for number, name in modes.items() if name.startswith("MAXN")]
    if not fastest or mode["id"] in fastest:
        return Check(TOPIC, "power mode", "ok", summary, facts=facts)
    # If a board has both, MAXN_SUPER is the faster one.
    number = max(fastest, key=lambda number: (modes[number] == "MAXN_SUPER", -number))
    detail = f"{summary} is not the board's fastest, {modes[number]} (mode {number}); fine if you want to measure this mode"
    return Check(TOPIC, "power mode", "warning", detail, f"sudo scripts/lock_clocks.sh --mode {number}", facts)


def check_clocks(subject: Subject) -> Check:
    """Check that clocks are locked: lower limits of the GPU's and every CPU's clock equal the upper ones, as jetson_clocks sets them."""
    if not subject.is_jetson:
        return Check(TOPIC, "clocks", "ok", "not a Jetson")
    clocks, gpu = environment.clocks(subject.root), gpu_clocks(subject.root)
    limits = {
        **clocks["cpu_khz"],
        **{folder.name: clocks["devices_hz"][folder.name] for folder in gpu},
    }
    loose = [name for name, limit in limits.items() if limit["min"] is None or limit["min"] != limit["max"]]
    facts = {"limits": limits, "loose": loose}
    if loose:
        detail = f"not locked ({', '.join(loose)}): results will vary with load and temperature"
        return Check(TOPIC, "clocks", "warning", detail, "sudo scripts/lock_clocks.sh", facts)
    if not gpu:
        detail = "the kernel shows no clock of the GPU; whether it is locked is unknown"
        return Check(TOPIC, "clocks", "warning", detail, "sudo jetson_clocks --show", facts)
    return Check(TOPIC, "clocks", "ok", "locked", facts=facts)


def check_jtop(subject: Subject) -> Check:
    """Check that the service of jetson-stats listens and accepts this user."""
    if not subject.is_jetson:
        return Check(TOPIC, "jtop", "ok", "not a Jetson")
    try:
        version = importlib.metadata.version("jetson-stats")
    except importlib.metadata.PackageNotFoundError:
        detail = "jetson-stats is not installed; power and temperature are read from the kernel instead"
        return Check(TOPIC, "jtop", "warning", detail, f"{update(subject.root)} && {INSTALL_SERVICE}")
    facts = {"version": version}
    problem = socket_problem(subject.root / SOCKET.relative_to("/"), subject.root)
    if problem is not None:
        what, remedy = problem
        hint = "; log in again afterwards" if remedy == JOIN_GROUP else ""
        return Check(TOPIC, "jtop", "warning", f"jetson-stats {version}: {what}{hint}", remedy, facts)
    monitor = find_input_rail(subject.root)
    if monitor is not None and version.startswith("4."):
        detail = f"jetson-stats {version} does not read the input of this board, {monitor.name}; power is read from the kernel instead"
        return Check(TOPIC, "jtop", "warning", detail, f"{update(subject.root)} && {RESTART}", facts)
    return Check(TOPIC, "jtop", "ok", f"jetson-stats {version}, service listening", facts=facts)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
