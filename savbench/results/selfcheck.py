"""What is remembered of self-checks, so that a run can say whether one passed: `results/selfcheck.json` of this checkout.

A self-check speaks for one machine, one device and one torch, and its newest one counts. Others are kept: a machine may have several.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from savbench.arguments.output import write_text

PATH = Path(__file__).resolve().parents[2] / "results" / "selfcheck.json"
COMMAND = "jetson_benchmark.py selfcheck"
SYSTEM = ("machine", "device_name", "torch")


@dataclass(frozen=True)
class SelfCheck:
    """One self-check that came to its end."""

    passed: bool
    when: str
    """ISO 8601, UTC."""
    machine: str
    """CPU and board, as `environment.cpu_name` gives it."""
    device_name: str
    """As in a row."""
    torch: str
    """Version, as in a row."""
    benchmark: str
    """Version of the benchmark that checked."""
    quick: bool
    failed: tuple[str, ...] = ()
    """Checks that failed."""

    def in_words(self) -> str:
        """One line, for example `selfcheck passed on 2026-11-28 with this torch and device`."""
        how = "quick selfcheck" if self.quick else "selfcheck"
        if self.passed:
            return f"{how} passed on {self.when[:10]} with this torch and device"
        return f"{how} failed on {self.when[:10]} with this torch and device: {', '.join(self.failed)}"


def remember(found: SelfCheck, path: Path | None = None) -> None:
    """Put it in place of an earlier one of the same system.

    Raises:
        OSError: the file cannot be written.
    """
    path = PATH if path is None else path
    others = [one for one in recall(path) if any(getattr(one, name) != getattr(found, name) for name in SYSTEM)]
    write_text(path, json.dumps({"selfchecks": [asdict(one) for one in [*others, found]]}, indent=2) + "\n")


def recall(path: Path | None = None) -> list[SelfCheck]:
    """All that is remembered; nothing where the file is missing or is something else."""
    try:
        return from_json(json.loads((PATH if path is None else path).read_text(encoding="utf-8"))["selfchecks"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def from_json(entries: Any) -> list[SelfCheck]:
    """Entries as the file and environment.json hold them.

    Raises:
        TypeError: they are something else.
    """
    return [SelfCheck(**{**entry, "failed": tuple(entry["failed"])}) for entry in entries]


def of_machine(machine: str, path: Path | None = None) -> list[dict[str, Any]]:
    """Self-checks of this machine, for environment.json."""
    return [{**asdict(one), "failed": list(one.failed)} for one in recall(path) if one.machine == machine]


def statement(entries: Any, systems: Iterable[tuple[str, str]]) -> str:
    """What self-checks say of the systems that rows were measured on, in one line; empty where no row used torch.

    Args:
        entries: those of the machine that measured, as environment.json holds them.
        systems: (device_name, torch_version) of rows; without torch there is nothing to check.
    """
    try:
        known: Mapping[tuple[str, str], SelfCheck] = {(one.device_name, one.torch): one for one in from_json(entries)}
    except (TypeError, KeyError):
        known = {}
    wanted = sorted({system for system in systems if system[1]})
    missing = f"no selfcheck with this torch on this machine: run {COMMAND}"
    said = [known[system].in_words() if system in known else missing for system in wanted]
    if len(wanted) < 2:
        return "".join(said)
    return "; ".join(f"{name}, torch {version}: {text}" for (name, version), text in zip(wanted, said, strict=True))
