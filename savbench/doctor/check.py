"""What one line of the report is, and what the checks know of the machine and the invocation."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from savbench.results.environment import CHECKOUT, ROOT, board

State = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Check:
    """One line: something a run depends on, and the one command that mends it."""

    topic: str
    name: str
    state: State
    """`failure`: a run, or a part of it that was set up, could not work. `warning`: it would run, but hardly as it is meant to."""
    detail: str
    remedy: str = ""
    """Command, or flag of the benchmark; empty where nothing is to be mended or no command can."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same for programs; JSON types."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """What is examined."""

    split_dir: Path | None = None
    weights_dirs: tuple[Path, ...] = ()
    edgetam_dir: Path | None = None
    sam2_dir: Path | None = None
    root: Path = ROOT
    """The file system to look at."""
    checkout: Path = CHECKOUT
    """The benchmark's own folder."""

    @property
    def is_jetson(self) -> bool:
        """Told as scripts/setup.sh does."""
        if (self.root / "etc/nv_tegra_release").exists():
            return True
        try:
            return b"tegra" in (self.root / "proc/device-tree/compatible").read_bytes()
        except OSError:
            return False

    @property
    def l4t(self) -> str | None:
        """Release of Jetson Linux, for example `36.4.3`; JetPack 6 is 36, JetPack 5 is 35."""
        described = board(self.root)
        return None if described is None else described["l4t"]

    @property
    def nvidia_gpu(self) -> str | None:
        """How the machine shows that it has an NVIDIA GPU, whether or not torch can use it."""
        if self.is_jetson:
            return "a Jetson's own"
        for trace in ("proc/driver/nvidia/version", "dev/nvidia0", "dev/nvidiactl"):
            if (self.root / trace).exists():
                return f"/{trace}"
        return None


def python_command() -> str:
    """This interpreter as the user would type it."""
    return short_path(Path(sys.executable))


def pip(*arguments: str) -> str:
    """A pip command for this interpreter; the arguments as a shell takes them."""
    return f"{python_command()} -m pip {' '.join(arguments)}"


def made_environment(checkout: Path) -> Path | None:
    """The interpreter of the environment that scripts/setup.sh made, where this one is another."""
    made = checkout / ".venv"
    is_other = (made / "bin" / "python").exists() and Path(sys.prefix).resolve() != made.resolve()
    return made / "bin" / "python" if is_other else None


def set_up_again(checkout: Path) -> str:
    """What brings a package that is missing: to use the environment that has it, or to make that."""
    made = made_environment(checkout)
    if made is not None:
        return f"{short_path(made)} jetson_benchmark.py doctor"
    # The script does nothing while its stamp says that nothing has changed.
    stamp = Path(sys.prefix) / ".setup-stamp"
    script = short_path(checkout / "scripts" / "setup.sh")
    return f"rm -f {short_path(stamp)} && {script}" if stamp.exists() else script


def short_path(path: Path) -> str:
    """The path as a shell takes it: relative where it lies below the current folder."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except (ValueError, FileNotFoundError):  # it lies elsewhere; or the current folder is gone
        return shlex.quote(str(path))


def may_use(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)
