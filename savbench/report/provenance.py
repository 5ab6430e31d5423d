"""What the figures depend on: circumstances, failures, warnings, and the commands that made them."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from savbench.report.arms import numbers, texts
from savbench.results import selfcheck
from savbench.results.foreign import UNKNOWN
from savbench.results.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from savbench.report.arms import Arm
    from savbench.report.runs import Run
    from savbench.results.foreign import Results

MOST_NAMES = 5
MOST_LINES = 12
_FIGURE = re.compile(r"(-?[\d.]+)(\D+)")
"""A figure and its unit, as in a row's validity: `0.7 CPUs`, `31% of the GPU`."""
_PER_RUN = {
    "device_name": "device", "nvpmodel": "power mode", "jetson_clocks": "clocks locked", "split": "split", "max_frames": "frames of a clip",
    "frame_stride": "frame stride", "warmup_frames": "warm-up frames", "seed": "seed", "implementation": "implementations",
    "hole_filling": "hole filling", "torch_version": "torch", "power_source": "power read from", "power_of": "power is that of",
    "benchmark_version": "benchmark",
}  # fmt: skip


@dataclass(frozen=True)
class Provenance:
    """
    Attributes:
        subtitle: name and value of what a reader asks first: board, device, power mode, split, objects, dates, version, selfcheck.
        warnings: reasons not to trust or compare figures, most important first.
        notes: about the files, and what was adjusted.
        failures: one row per distinct failure; None if nothing failed.
        circumstances: label of each run and its facts.
        commands: purpose and text of each command.
    """

    subtitle: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    failures: Grid | None
    circumstances: tuple[tuple[str, Grid], ...]
    commands: tuple[tuple[str, str], ...]


def provenance(results: Results, arms: Sequence[Arm], runs: Sequence[Run], report_command: Sequence[str]) -> Provenance:
    """Collect circumstances, failures, warnings and commands."""
    rows = results.rows
    return Provenance(
        subtitle=tuple(_subtitle(rows, runs)),
        warnings=tuple(_warnings(rows, arms)),
        notes=(*results.notes, *(note for run in runs for note in run.notes), *_adjustments(rows)),
        failures=_failures(rows, arms),
        circumstances=tuple((run.label, _facts(run, rows[rows["file"] == run.label])) for run in runs),
        commands=tuple(_commands(runs, report_command)),
    )


def why_no_power(rows: pd.DataFrame) -> str:
    """Return the reason that the rows give for missing power, else how to record it."""
    said = _distinct(rows, "power_note")
    if said:
        return f"The rows say why: {'; '.join(said[:2])}."
    if _distinct(rows, "power_source") == ["none"]:
        return "--power found no source: jetson-stats, INA3221 monitors or NVML have to answer; doctor says what is missing."
    return "--power auto, which is the default, records it where jetson-stats, INA3221 monitors or NVML answer."


def _subtitle(rows: pd.DataFrame, runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Yield what the figures were measured on; values that differ between runs or rows are joined, unknown ones are left out."""
    latest = [run.invocations[-1] for run in runs if run.invocations]
    boards = [str(_mapping(entry.get("board")).get("model") or _mapping(entry.get("system")).get("cpu") or "") for entry in latest]
    of_run = {run.label: rows[rows["file"] == run.label] for run in runs}
    checks = [selfcheck.statement(run.invocations[-1].get("selfchecks"), _systems(of_run[run.label])) for run in runs if run.invocations]
    objects = rows[["video", "object"]].astype(str).drop_duplicates()
    videos = objects["video"].nunique()
    dates = sorted({text[:10] for text in _told(rows, "started_at")})
    facts = {
        "board": boards,
        "device": [text for text in _told(rows, "device_name") if text not in boards] or _told(rows, "device"),
        "power mode": _told(rows, "nvpmodel"),
        "clocks locked": _told(rows, "jetson_clocks"),
        "split": _told(rows, "split"),
        "objects": [f"{len(objects)} of {videos} video{'' if videos == 1 else 's'}"],
        "measured": [dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"] if dates else [],
        "benchmark": [text[:12] + "+" * text.endswith("+") for text in _told(rows, "benchmark_version")],
        "selfcheck": checks,
    }
    for name, values in facts.items():
        distinct = [value for value in dict.fromkeys(values) if value]
        if distinct:
            yield name, _some(distinct)


def _warnings(rows: pd.DataFrame, arms: Sequence[Arm]) -> list[str]:
    found = []
    untrained = [arm.label for arm in arms if arm.is_random]
    if untrained:
        found.append(f"Untrained weights, J&F is meaningless: {_some(untrained)}.")
    failed = Counter(str(text) for text in rows["failure"] if text)
    if failed:
        listed = ", ".join(f"{count} {status}" for status, count in failed.most_common())
        found.append(f"Rows without figures: {sum(failed.values())} of {len(rows)} ({listed}); the reasons are under Circumstances.")
    found += _causes(text for text in rows["invalid"] if text)
    doubtful = [arm.label for arm in arms if arm.is_doubtful]
    if doubtful:
        every = "all arms" if len(doubtful) == len(arms) else _some(doubtful)
        found.append(f"Every row of {every} is marked invalid: times, power and memory are shown († behind the name) and not compared.")
    for arm in arms:
        if arm.shared:
            found.append(
                f"Rows of {arm.label} were tracked in shared sessions ({_some(arm.shared)}): their latency is not that of one object alone."
            )
        if arm.summary.reference is not None and arm.summary.reference.is_suspect:
            found.append(f"{arm.label}: {arm.summary.reference}.")
    found += _differing(arms)
    cut = sorted({text for text in texts(rows, "max_frames") if text not in (UNKNOWN, "all", "")})
    if cut:
        found.append(
            f"Clips were cut after {' and '.join(cut)} frames (--max_frames): J&F is not that of whole clips, which is what is published."
        )
    strides = sorted({text for text in texts(rows, "frame_stride") if text not in (UNKNOWN, "1", "")})
    if strides:
        found.append(f"Every {' or '.join(strides)} frames are tracked (--frame_stride), masks are held in between.")
    fallbacks = np.nansum(numbers(rows, "attention_fallbacks"))
    if fallbacks > 0:
        found.append(
            f"{fallbacks:.0f} attention calls fell back from the kernel that was asked for: "
            f"{_some(_distinct(rows, 'attention_fallback_reasons'))}."
        )
    compiling = np.nansum(numbers(rows, "timed_compilations"))
    if compiling > 0:
        found.append(f"{compiling:.0f} graphs were compiled during timed frames: the largest latencies hold compiling.")
    uncompiled = _parts(rows, "compile_fallback")
    if uncompiled:
        found.append(f"Parts that were to be compiled ran uncompiled: {_some(uncompiled)}.")
    raised = np.nansum(numbers(rows, "warnings"))
    if raised > 0:
        found.append(f"{raised:.0f} Python warnings were raised inside the models: {_some(_parts(rows, 'warning_lines'))}.")
    if any(text.endswith("+") for text in _distinct(rows, "benchmark_version")):
        found.append("The benchmark's code had changes that were not committed.")
    return found


def _causes(texts_of_rows: Iterable[str]) -> list[str]:
    """Sum up why rows are invalid, a line for each cause, with the range of its figures: `8 rows: background load 0.7 to 1.1 CPUs`.

    Args:
        texts_of_rows: `validity` of each row, such as `throttled (tj); background load (0.7 CPUs)`.
    """
    details: dict[tuple[str, str], list[str]] = {}
    for text in texts_of_rows:
        for cause in text.split("; "):
            name, _, detail = cause.removesuffix(")").partition(" (")
            figure = _FIGURE.fullmatch(detail)
            details.setdefault((name, figure[2] if figure else ""), []).append(figure[1] if figure else detail)
    lines = []
    for (name, unit), told in sorted(details.items(), key=lambda entry: -len(entry[1]))[:MOST_LINES]:
        rows = f"{len(told)} row{'' if len(told) == 1 else 's'} not valid"
        if unit:
            low, high = min(told, key=float), max(told, key=float)
            lines.append(f"{rows}: {name} {low if low == high else f'{low} to {high}'}{unit}.")
        else:
            others = _some(filter(None, told))
            lines.append(f"{rows}: {name}{f' ({others})' if others else ''}.")
    return lines


def _differing(arms: Sequence[Arm]) -> list[str]:
    """List circumstances that differ between arms and make their figures hard to compare."""
    found = []
    for name, shown in (("nvpmodel", "power mode"), ("device_name", "device"), ("torch_version", "version of torch")):
        values: dict[str, list[str]] = {}
        for arm in arms:
            told = arm.settings.get(name, UNKNOWN)
            if told not in (UNKNOWN, "none", "") and not (name == "torch_version" and arm.is_floor):
                values.setdefault(told, []).append(arm.label)
        if len(values) > 1:
            found.append(f"The {shown} differs: " + "; ".join(f"{value} for {_some(labels)}" for value, labels in values.items()) + ".")
    weights: dict[str, set[str]] = {}
    for arm in arms:
        weights.setdefault(arm.settings["model"], set()).update({arm.settings["weights"]} - {UNKNOWN})
    found += [f"{model} ran with {len(hashes)} different weights." for model, hashes in weights.items() if len(hashes) > 1]
    return found


def _adjustments(rows: pd.DataFrame) -> list[str]:
    return [f"Adjusted at run time: {text}" for text in _parts(rows, "notes")]


def _failures(rows: pd.DataFrame, arms: Sequence[Arm]) -> Grid | None:
    label_of = {int(position): arm.label for arm in arms for position in arm.rows}
    ways: dict[tuple[str, str, str], list[str]] = {}
    failed = np.flatnonzero((rows["failure"] != "").to_numpy())
    errors = texts(rows, "error")
    for position in failed:
        row = rows.iloc[position]
        key = (label_of.get(int(position), ""), str(row["failure"]), errors[position])
        ways.setdefault(key, []).append(f"{row['video']}/{row['object']}")
    if not ways:
        return None
    lines = [[label, status, str(len(names)), error, _some(names)] for (label, status, error), names in ways.items()]
    return Grid(["arm", "status", "rows", "why", "objects"], lines, left=2)


def _facts(run: Run, rows: pd.DataFrame) -> Grid:
    """List what is known about the machine, versions and settings of a run."""
    facts: list[tuple[str, str]] = [("file", str(run.summary))]
    statuses = Counter(texts(rows, "status"))
    facts.append(("rows", f"{len(rows)}: " + ", ".join(f"{count} {status}" for status, count in statuses.most_common())))
    facts += [(shown, " and ".join(values)) for name, shown in _PER_RUN.items() if (values := _told(rows, name))]
    last = run.invocations[-1] if run.invocations else {}
    board, system, packages = (_mapping(last.get(name)) for name in ("board", "system", "packages"))
    for shown, value in (
        ("board", ", ".join(f"{key} {text}" if key != "model" else str(text) for key, text in board.items() if text)),
        ("CPU", f"{system['cpu']}, {system.get('cores_usable') or system.get('cores')} cores" if system.get("cpu") else ""),
        ("memory", f"{system['ram_mib']} MiB, swap {system.get('swap_mib') or 0} MiB" if system.get("ram_mib") else ""),
        ("system", ", ".join(str(system[name]) for name in ("os", "kernel", "machine") if system.get(name))),
        ("selfcheck", selfcheck.statement(last.get("selfchecks"), _systems(rows)) if last else ""),
        ("NVIDIA driver", str(system.get("nvidia_driver") or "")),
        ("CUDA toolkit", str(system.get("cuda_toolkit") or "")),
        ("Python", str(last.get("python") or "")),
        ("packages", ", ".join(f"{name} {version}" for name, version in packages.items() if version)),
        ("started", ", ".join(str(entry.get("started_at")) for entry in run.invocations if entry.get("started_at"))),
    ):
        if value:
            facts.append((shown, value))
    for name in sorted({weights for weights in texts(rows, "weights") if len(weights) == 64}):
        models = sorted(set(rows.loc[rows["weights"] == name, "model"]))
        facts.append((f"weights of {', '.join(models)}", f"sha256 {name}"))
    return Grid(["", ""], [list(fact) for fact in facts], left=1)


def _systems(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return device and torch version of the rows that used torch."""
    pairs = zip(texts(rows, "device_name"), texts(rows, "torch_version"), strict=True)
    return [(name, version) for name, version in pairs if name not in (UNKNOWN, "") and version not in (UNKNOWN, "none", "")]


def _told(rows: pd.DataFrame, name: str) -> list[str]:
    return [text for text in _distinct(rows, name) if text not in (UNKNOWN, "none")]


def _commands(runs: Sequence[Run], report_command: Sequence[str]) -> list[tuple[str, str]]:
    commands = []
    for run in runs:
        seen = dict.fromkeys(
            shlex.join([".venv/bin/python", *map(str, argv)])
            for entry in run.invocations
            if isinstance(argv := entry.get("argv"), list) and argv
        )
        for number, command in enumerate(seen):
            commands.append((f"run {run.label}" + (f", invocation {number + 1}" if len(seen) > 1 else ""), command))
    return [*commands, ("this report", shlex.join(report_command))]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _distinct(rows: pd.DataFrame, name: str) -> list[str]:
    return [text for text in dict.fromkeys(texts(rows, name)) if text]


def _parts(rows: pd.DataFrame, name: str) -> list[str]:
    """Return the distinct texts of a column whose cells list several, separated by ` | `."""
    return list(dict.fromkeys(part for text in _distinct(rows, name) for part in text.split(" | ") if part))


def _some(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
    return ", ".join(listed[:MOST_NAMES]) + more
