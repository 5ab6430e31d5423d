"""What the benchmark knows of Jetson boards: chips with their GPUs, and JetPack releases. The data are in chips.tsv and jetpacks.tsv.

Sources: jetson_stats 7.2.2 (jtop/core/jetson_variables.py and gpu.py, and its issue 885 for Thor's clocks), NVIDIA's "Your GPU Compute
Capability" and JetPack archive.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from savbench.board.power.files import read_number, read_text

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Chip:
    name: str
    """As in the device tree's `compatible`, for example `tegra234`."""
    family: str
    capability: tuple[int, int]
    """Compute capability of its GPU."""
    gpu_clocks: tuple[str, ...]


@dataclass(frozen=True)
class JetPack:
    l4t: int
    """Major release of Jetson Linux."""
    version: str
    python: tuple[int, int]
    """Version of the system's Python, which NVIDIA's wheels are for."""
    cuda: str
    torch: str
    """Pip's arguments that name torch and torchvision for this release."""
    index: str
    """Index that has them."""
    download_mib: int
    """About what they and their dependencies download."""

    @property
    def has_onnxruntime(self) -> bool:
        """Whether the index also has onnxruntime-gpu: the Jetson AI Lab's has, PyTorch's has not."""
        return "jetson-ai-lab" in self.index


@functools.cache
def chips() -> tuple[Chip, ...]:
    return tuple(Chip(name, family, _pair(capability), tuple(clocks.split(","))) for name, family, capability, clocks in _rows("chips.tsv"))


@functools.cache
def jetpacks() -> tuple[JetPack, ...]:
    return tuple(
        JetPack(int(l4t), version, _pair(python), cuda, torch, index, int(download))
        for l4t, version, python, cuda, torch, index, download, _ in _rows("jetpacks.tsv")
    )


def chip_of(root: Path = Path("/")) -> Chip | None:
    """The chip of this board, from the device tree; None on other machines, in containers without one, and for unknown chips."""
    compatible = (read_text(root / "proc/device-tree/compatible") or "").split("\0")
    return next((chip for chip in chips() if f"nvidia,{chip.name}" in compatible), None)


def jetpack_of(l4t: str | None) -> JetPack | None:
    """The JetPack of a release of Jetson Linux such as `36.4.3`; None if it is not known."""
    major = (l4t or "").partition(".")[0]
    return next((jetpack for jetpack in jetpacks() if str(jetpack.l4t) == major), None)


def gpu_clocks(root: Path = Path("/")) -> list[Path]:
    """Folders of the GPU's clocks in /sys/class/devfreq, the one that computes first; empty if the kernel shows none."""
    rank = {name: number for number, name in enumerate(name for chip in chips() for name in chip.gpu_clocks)}
    found = []
    for folder in (root / "sys/class/devfreq").glob("*"):
        names = (folder.name.rpartition(".")[2], read_text(folder / "device/of_node/name"))
        ranks = [rank[name] for name in names if name in rank]
        if ranks:
            found.append((min(ranks), folder))
    return [folder for _, folder in sorted(found)]


def loose_gpu_clock(clocks: list[Path]) -> bool | None:
    """Whether the lower limit of one of these clocks is below its upper one; None if no limits can be read."""
    limits = [(read_number(folder / "min_freq"), read_number(folder / "max_freq")) for folder in clocks]
    known = [low != high for low, high in limits if low is not None and high is not None]
    return any(known) if known else None


def _rows(name: str) -> list[list[str]]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def _pair(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)
