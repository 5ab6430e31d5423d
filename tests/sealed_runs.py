"""A small run that is really made, sealed, and changed as a cheater or a bad disk would."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jetson_benchmark import main
from savbench.results.csv_rows import header_line, read_rows, row_line
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow
from savbench.seal.archive import write_archive
from savbench.seal.checks import opened
from savbench.seal.manifest import SealedRun, facts_of

Members = dict[str, bytes]


def run_benchmark(split: Path, out_dir: Path, *more: str) -> None:
    arguments = ["--split_dir", str(split), "--models", "static_mask", "--power", "none", "--warmup_frames", "0"]
    assert main([*arguments, "--out_dir", str(out_dir), *more]) == 0


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(source: Path, target: Path, change: Callable[[Members], None], *, mends_sums: bool = False) -> Path:
    """A copy with changed members.

    Args:
        mends_sums: write the manifest anew too, with sums and facts of the changed members, as a cheater would.
    """
    members = members_of(source)
    change(members)
    if not mends_sums:
        with zipfile.ZipFile(target, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return target
    manifest = json.loads(members.pop("manifest.json"))
    del manifest["files"]
    folder = target.with_suffix(".folder")
    for name, data in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    manifest["facts"] = facts_of(SealedRun.read(folder))
    write_archive(target, manifest, members)
    return target


def with_rows(members: Members, change: Callable[[SummaryRow], Any], tmp_path: Path) -> None:
    """Change every row of summary.csv."""
    path = tmp_path / "rows.csv"
    path.write_bytes(members["summary.csv"])
    rows = read_rows(SummaryRow, path)
    for row in rows:
        change(row)
    members["summary.csv"] = (header_line(SummaryRow) + "".join(map(row_line, rows))).encode()


def with_frames(members: Members, change: Callable[[FrameRow], Any], tmp_path: Path) -> None:
    path = tmp_path / "frames.csv"
    path.write_bytes(members["frames.csv"])
    frames = read_rows(FrameRow, path)
    for frame in frames:
        change(frame)
    members["frames.csv"] = (header_line(FrameRow) + "".join(map(row_line, frames))).encode()


def with_environment(members: Members, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    about = json.loads(members["environment.json"])
    change(about["invocations"])
    members["environment.json"] = json.dumps(about).encode()


def verdicts(path: Path, split_dir: Path | None = None) -> dict[str, str]:
    with opened(path, split_dir) as checked:
        return {check.name: check.verdict for check in checked.checks}


def said(path: Path, name: str, split_dir: Path | None = None) -> str:
    with opened(path, split_dir) as checked:
        return " | ".join(next(check.said for check in checked.checks if check.name == name))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cells(text: bytes) -> list[Mapping[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode())))
