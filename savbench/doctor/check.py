"""A line of the report, and the machine and arguments that are checked."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from savbench.board.jetsons import JetPack, jetpack_of
from savbench.results.environment import CHECKOUT, ROOT, board

State = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Check:
    """One line: something that a run depends on, and the command that fixes it."""

    topic: str
    name: str
    state: State
    """`failure`: a run, or an installed part of it, cannot work. `warning`: it works, but slower, less accurate or incomplete."""
    detail: str
    remedy: str = ""
    """Command, or flag of the benchmark; empty if nothing needs fixing or no command can."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Details for programs, as JSON types."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """The machine and paths to check."""

    split_dir: Path | None = None
    weights_dirs: tuple[Path, ...] = ()
    edgetam_dir: Path | None = None
    efficienttam_dir: Path | None = None
    sam2_dir: Path | None = None
    root: Path = ROOT
    """Root of the file system to read."""
    checkout: Path = CHECKOUT
    """The benchmark's own folder."""

    @property
    def is_jetson(self) -> bool:
        """Whether the machine is a Jetson, decided as in scripts/setup.sh."""
        if (self.root / "etc/nv_tegra_release").exists():
            return True
        try:
            return b"tegra" in (self.root / "proc/device-tree/compatible").read_bytes()
        except OSError:
            return False

    @property
    def l4t(self) -> str | None:
        """Release of Jetson Linux, for example `36.4.3`."""
        described = board(self.root)
        return None if described is None else described["l4t"]

    @property
    def jetpack(self) -> JetPack | None:
        """The JetPack of this board; None on other machines and for unknown releases."""
        return jetpack_of(self.l4t) if self.is_jetson else None

    @property
    def nvidia_gpu(self) -> str | None:
        """Evidence of an NVIDIA GPU, whether or not torch can use it; None if there is none."""
        if self.is_jetson:
            return "a Jetson's own"
        for trace in ("proc/driver/nvidia/version", "dev/nvidia0", "dev/nvidiactl"):
            if (self.root / trace).exists():
                return f"/{trace}"
        return None


def python_command() -> str:
    """This interpreter, as a shell word."""
    return short_path(Path(sys.executable))


def pip(*arguments: str) -> str:
    """A pip command for this interpreter; arguments must be quoted for a shell."""
    return f"{python_command()} -m pip {' '.join(arguments)}"


def made_environment(checkout: Path) -> Path | None:
    """The interpreter of the environment that scripts/setup.sh made; None if there is none or it is the current one."""
    made = checkout / ".venv"
    is_other = (made / "bin" / "python").exists() and Path(sys.prefix).resolve() != made.resolve()
    return made / "bin" / "python" if is_other else None


def set_up_again(checkout: Path) -> str:
    """The command that provides a missing package: run in the environment that setup made, or make that environment."""
    made = made_environment(checkout)
    if made is not None:
        return f"{short_path(made)} jetson_benchmark.py doctor"
    # Without removing its stamp, the script would do nothing.
    stamp = Path(sys.prefix) / ".setup-stamp"
    script = short_path(checkout / "scripts" / "setup.sh")
    return f"rm -f {short_path(stamp)} && {script}" if stamp.exists() else script


def short_path(path: Path) -> str:
    """The path quoted for a shell, relative if it is below the current folder."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except (ValueError, FileNotFoundError):  # not below it, or the current folder is gone
        return shlex.quote(str(path))


def may_use(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)
