"""Many sealed runs in one table: a group per board, power mode and clips, a line per arm, what is doubtful marked and not hidden."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from savbench.data.csv_file import InputError
from savbench.report.arms import Arm, find_arms, unusual_settings
from savbench.report.charts import notes_of
from savbench.results.beside import FRAME_TEXT, FrameLatencies, read_table
from savbench.results.figures import kinds_of_frames
from savbench.results.foreign import UNKNOWN, Results, load_results
from savbench.results.grid import Grid
from savbench.results.run_folder import FRAMES, SUMMARY
from savbench.seal.archive import AUDIT, SealError
from savbench.seal.checks import Checked, opened
from savbench.seal.manifest import differences, some

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_LATENCY = "latency_ms"
_UNTOLD = ("", UNKNOWN, "none")
LESS, OTHER_DATA, FAILED = "§", "¶", "✗"
"""Marks of arms whose scores are over fewer objects than those of others in the group, over other data, and of an archive that fails."""


@dataclass(frozen=True)
class Entry:
    """One arm of one archive.

    Attributes:
        arm: its figures, over its own objects.
        objects: (video, object) that have figures.
        check: verdict of the archive, with the names of the checks behind it.
        group: board, power mode, and what the clips are.
    """

    arm: Arm
    file: str
    seal: str
    run_id: str
    submitter: str
    measured: str
    verdict: str
    check: str
    protocol_version: str
    benchmark: str
    split: Mapping[str, Any]
    objects: frozenset[tuple[str, str]]
    group: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Entries that may stand beside each other, best first: incomplete ones after complete, failed ones last."""

    title: str
    entries: tuple[Entry, ...]
    objects: int
    marks: Mapping[int, str]
    """Marks by position among `entries`."""
    notes: tuple[str, ...]

    def arms(self) -> list[Arm]:
        """Arms for a chart: of archives that do not fail, each under a name of its own."""
        shown = [entry for entry in self.entries if entry.verdict != "fail"]
        labels = [entry.arm.label for entry in shown]
        named = [
            f"{label} ({entry.submitter or entry.file})" if labels.count(label) > 1 else label
            for label, entry in zip(labels, shown, strict=True)
        ]
        unique = [f"{name} #{index + 1}" if named.count(name) > 1 else name for index, name in enumerate(named)]
        return [replace(entry.arm, number=index, label=name) for index, (name, entry) in enumerate(zip(unique, shown, strict=True))]


@dataclass
class Leaderboard:
    """
    Attributes:
        left_out: archives that are in no table, and why.
        notes: about duplicates.
        failing: archives of which a check failed, with those that cannot be read.
    """

    groups: list[Group] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)


def merge(paths: Sequence[Path], *, force: bool) -> Leaderboard:
    """Check every archive, and put their arms into groups.

    Args:
        force: accept several versions of the protocol, each in groups of its own.

    Raises:
        SealError: an archive cannot be opened, none can be read, or they are of several versions.
    """
    board = Leaderboard()
    read: dict[str, _Read] = {}
    for path in paths:
        try:
            with opened(path) as checked:
                if checked.verdict == "fail":
                    board.failing.append(path.name)
                if checked.run is None:
                    said = (text for check in checked.checks if check.verdict == "fail" for text in check.said)
                    board.left_out.append(f"{path.name}: {'; '.join(said)}")
                    continue
                _add(read, _read(checked), board)
        except OSError as error:
            raise SealError(f"{error.filename or path}: {error.strerror or error}; give archives that `seal` wrote") from error
    entries = [entry for one in read.values() for entry in one.entries]
    if not entries:
        raise SealError(f"no archive has figures: {'; '.join(board.left_out) or 'no object is ok'}; see `check FILE`")
    _require_one_version(entries, force)
    groups: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.group].append(entry)
    board.groups = [_group(group, of_group) for group, of_group in sorted(groups.items())]
    return board


@dataclass(frozen=True)
class _Read:
    file: str
    run_id: str
    rows_sha256: str
    rows: int
    has_audit: bool
    entries: tuple[Entry, ...]


def _add(read: dict[str, _Read], new: _Read, board: Leaderboard) -> None:
    """Add an archive unless it holds a run that is there; of two states of a run, the one with more rows or an audit counts."""
    same = next((key for key, one in read.items() if one.run_id == new.run_id), None)
    if same is None:
        read[new.file] = new
        return
    old = read[same]
    if old.rows_sha256 == new.rows_sha256 or old.rows != new.rows:
        kept, dropped = (new, old) if (new.rows, new.has_audit) > (old.rows, old.has_audit) else (old, new)
        what = "is the same run as" if old.rows_sha256 == new.rows_sha256 else "is an earlier state of the run in"
        board.notes.append(f"{dropped.file} {what} {kept.file}; counted once")
        del read[same]
        read[kept.file] = kept
        return
    board.notes.append(f"{old.file} and {new.file} state the same run, with different rows: one of them was changed")
    read[new.file] = new


def _read(checked: Checked) -> _Read:
    results = load_results([checked.folder])
    file = checked.path.name
    results.rows["file"] = file
    frames = read_table(checked.folder, FRAMES, FRAME_TEXT, (_LATENCY,), [])
    facts, run = checked.manifest.get("facts"), checked.run
    run_id = str(run.about.get("run_id")) if run else ""
    dates = sorted({row.started_at[:10] for row in run.rows if row.started_at}) if run else []
    worst = [check.name for check in checked.checks if check.verdict == checked.verdict]
    split = checked.manifest.get("split")
    about: dict[str, Any] = {
        "file": file, "seal": checked.seal, "run_id": run_id, "submitter": checked.submitter,
        "measured": " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "",
        "verdict": checked.verdict, "check": "pass" if checked.verdict == "pass" else f"{checked.verdict}: {', '.join(worst)}",
        "split": split["videos"] if isinstance(split, dict) and isinstance(split.get("videos"), dict) else {},
    }  # fmt: skip
    entries = tuple(_entry(arm, part, about) for arm, part in _arms(results.rows, file, frames))
    files = checked.manifest["files"]
    rows = facts.get("rows") if isinstance(facts, dict) else 0
    return _Read(file, run_id, str(files.get(SUMMARY)), rows if isinstance(rows, int) else 0, AUDIT in files, entries)


def _arms(rows: pd.DataFrame, file: str, frames: pd.DataFrame) -> Iterator[tuple[Arm, pd.DataFrame]]:
    """Every arm that has figures, over its own objects: others of its run do not narrow what it is about."""
    for _, part in rows.groupby("arm_id", sort=False):
        own = part.reset_index(drop=True)
        try:
            found = find_arms(Results(own, [file]), frame_latencies=FrameLatencies(own, {file: frames}))
        except InputError:  # rows there twice, which `check` tells
            continue
        yield from ((arm, own.iloc[arm.rows]) for arm in found if len(arm.scored))


def _entry(arm: Arm, rows: pd.DataFrame, about: Mapping[str, Any]) -> Entry:
    ok = rows[rows["failure"] == ""]

    def told(name: str) -> str:
        values = dict.fromkeys(str(value) for value in ok[name] if str(value) not in _UNTOLD) if name in ok else {}
        return " and ".join(values)

    cut = [
        f"{told(name)} {what}"
        for name, what in (("max_frames", "frames"), ("frame_stride", "frames a step"))
        if told(name) not in ("", "all", "1")
    ]
    version = told("protocol_version")
    learned = arm.settings.get("device_name", "")
    named = [arm.label, *(text for text in unusual_settings(arm) if text not in arm.label)]
    return Entry(
        arm=replace(arm, label=" ".join(named)),
        protocol_version=version,
        benchmark=told("benchmark_version"),
        objects=frozenset(zip(ok["video"], ok["object"], strict=True)),
        group=(learned, told("nvpmodel"), told("split"), ", ".join(cut), version),
        **about,
    )


def _require_one_version(entries: Sequence[Entry], force: bool) -> None:
    files: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        if entry.file not in files[entry.protocol_version]:
            files[entry.protocol_version].append(entry.file)
    if len(files) > 1 and not force:
        told = "; ".join(f"version {version or 'untold'}: {some(names)}" for version, names in sorted(files.items()))
        raise SealError(
            f"refused: timing or scoring changed between these archives ({told}); merge those of one version, or give --force to show "
            "each version in tables of its own"
        )


def _group(group: tuple[str, ...], entries: Sequence[Entry]) -> Group:
    device, mode, split, cut, version = group
    union = frozenset[tuple[str, str]]().union(*(entry.objects for entry in entries))
    ordered = sorted(entries, key=lambda e: (e.verdict == "fail", e.objects != union, -(e.arm.JandF or 0.0), e.arm.label, e.file))
    marks: dict[int, str] = {}
    notes: list[str] = []
    reference: dict[str, Any] = {}
    for index, entry in enumerate(ordered):
        if entry.objects != union:
            marks[index] = LESS
        common = entry.split.keys() & reference.keys()
        if wrong := differences({name: reference[name] for name in common}, {name: entry.split[name] for name in common}):
            marks[index] = marks.get(index, "") + OTHER_DATA
            notes.append(f"{OTHER_DATA} {entry.file} was measured on other data: {some(wrong)}.")
        reference = {**entry.split, **reference}
    if any(LESS in mark for mark in marks.values()):
        notes.insert(0, f"{LESS} scores are over fewer objects than the {len(union)} of this table, which may be the easier ones.")
    if any(entry.verdict == "fail" for entry in ordered):
        notes.append(f"{FAILED} the archive fails its check: not to be quoted.")
    notes += notes_of([entry.arm for entry in ordered], of_scores=True)
    notes += [f"{entry.arm.shown}: {kinds}." for entry in ordered if (kinds := kinds_of_frames(entry.arm.summary.figures))]
    where = ", ".join(filter(None, (device or "unknown device", mode)))
    what = ", ".join(filter(None, (split or "unknown split", f"{len(union)} objects", cut, f"protocol version {version or 'untold'}")))
    return Group(f"{where}: {what}", tuple(ordered), len(union), marks, tuple(dict.fromkeys(notes)))


HEADER = [
    "arm", "J&F", "95% interval", "p50 ms", "p90 ms", "FPS", "J/frame", "peak MiB", "objects", "check", "submitter", "measured", "seal",
]  # fmt: skip
_TEXTS = HEADER[-4:]
_DROP = ("seal", "measured", "95% interval", "objects", "J/frame", "FPS", "peak MiB", "p90 ms", "submitter")


def table_of(group: Group) -> Grid:
    """A group as a table for people, without columns that are empty."""
    rows = []
    for index, entry in enumerate(group.entries):
        arm = entry.arm
        interval = arm.intervals.get("JandF")
        rows.append(
            [
                f"{FAILED} {arm.shown}" if entry.verdict == "fail" else arm.shown,
                "" if arm.JandF is None else f"{arm.JandF:.3f}{group.marks.get(index, '')}",
                f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
                arm.told("latency_p50_ms"),
                arm.told("latency_p90_ms"),
                arm.told("fps"),
                arm.told("energy_j_per_frame"),
                f"{arm.summary.peak_MiB:.0f} {arm.summary.peak_kind}" if arm.summary.peak_MiB is not None else "",
                f"{len(entry.objects)}" if len(entry.objects) == group.objects else f"{len(entry.objects)} of {group.objects}",
                entry.check,
                entry.submitter,
                entry.measured,
                entry.seal,
            ]
        )
    kept = [index for index in range(len(HEADER)) if index == 0 or any(row[index] for row in rows)]
    header = [HEADER[index] for index in kept]
    left = sum(name in _TEXTS for name in header)
    return Grid(header, [[row[index] for index in kept] for row in rows], left=left, drop=_DROP)


def as_records(board: Leaderboard) -> list[dict[str, Any]]:
    """Every entry with its figures in full, for leaderboard.csv."""
    records = []
    for group in board.groups:
        device, mode, split, clips, version = group.entries[0].group
        for index, entry in enumerate(group.entries):
            arm, means = entry.arm, entry.arm.summary.means
            low, high = arm.intervals.get("JandF", (None, None))
            records.append({
                "board": device, "power_mode": mode, "split": split, "clips": clips, "protocol_version": version, "arm": arm.label,
                "arm_id": arm.arm_id,
                "J": means.J if means else None, "F": means.F if means else None, "JandF": arm.JandF, "JandF_low": low,
                "JandF_high": high, "latency_p50_ms": arm.figure("latency_p50_ms"), "latency_p90_ms": arm.figure("latency_p90_ms"),
                "fps": arm.figure("fps"), "energy_j_per_frame": arm.figure("energy_j_per_frame"), "fps_per_w": arm.figure("fps_per_w"),
                "peak_MiB": arm.summary.peak_MiB, "peak_of": arm.summary.peak_kind, "objects": len(entry.objects),
                "objects_of_table": group.objects, "marks": group.marks.get(index, ""), "check": entry.check, "submitter": entry.submitter,
                "measured": entry.measured, "benchmark_version": entry.benchmark, "weights": arm.settings.get("weights", ""),
                "run_id": entry.run_id, "seal": entry.seal, "file": entry.file,
            })  # fmt: skip
    return records
