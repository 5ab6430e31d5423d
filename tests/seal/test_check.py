"""Checking: every way to change an archive is found, and what is missing or doubtful is said."""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sealed_fixture import Sealed
from sealed_runs import Members, members_of, rewritten, said, verdicts, with_environment, with_frames, with_rows

from jetson_benchmark import main
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow
from savbench.seal import leaderboard
from savbench.seal.checks import opened
from savbench.seal.table import render_checks


def test_an_untouched_archive_fails_nothing(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(sealed.archive)]) == 0
    found = verdicts(sealed.archive)
    assert "fail" not in found.values()
    sound = ("archive", "manifest", "rows", "wall time", "coverage", "sittings", "weights", "private")
    assert {found[name] for name in sound} == {"pass"}
    assert {found[name] for name in ("split", "masks", "audit", "selfcheck")} == {"skip"}
    assert "submitted by Jane Doe" in capsys.readouterr().out


def test_with_the_split_its_hashes_and_the_masks_are_compared(sealed: Sealed) -> None:
    found = verdicts(sealed.archive, sealed.split)
    assert (found["split"], found["masks"], found["rows"]) == ("pass", "pass", "pass")


def test_as_json(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(sealed.archive), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "warn"
    assert len(told["seal"]) == 16
    assert {check["name"]: check["verdict"] for check in told["checks"]}["rows"] == "pass"


def test_the_table_fits_a_terminal(sealed: Sealed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["check", str(sealed.archive)])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@dataclass(frozen=True)
class Tampering:
    """A change of the members, the check that finds it, and whether a cheater who makes the sums anew is found too."""

    change: Callable[[Members, Path], Any]
    name: str
    says: str
    is_found_with_new_sums: bool = True


def _edit(name: str, old: str, new: str) -> Callable[[Members, Path], None]:
    def change(members: Members, _: Path) -> None:
        text = members[name].decode()
        assert old in text
        members[name] = text.replace(old, new, 1).encode()

    return change


def _rows(change: Callable[[SummaryRow], Any]) -> Callable[[Members, Path], None]:
    return lambda members, tmp_path: with_rows(members, change, tmp_path)


def _better(row: SummaryRow) -> None:
    row.J, row.F, row.JandF = 0.99, 0.99, 0.99


def _slower_than_the_clock(frame: FrameRow) -> None:
    frame.latency_ms = 60_000.0
    frame.parts_ms = {}


def _one_row_less(members: Members, _: Path) -> None:
    header, first, *lines = members["summary.csv"].decode().splitlines(True)
    members["summary.csv"] = "".join([header, *lines]).encode()
    assert first


def _manifest(members: Members, _: Path) -> None:
    manifest = json.loads(members["manifest.json"])
    manifest["facts"]["statuses"] = {"ok": 293}
    members["manifest.json"] = json.dumps(manifest).encode()


TAMPERINGS = {
    "better scores": Tampering(_rows(_better), "rows", "does not agree with the"),
    "better mean": Tampering(_rows(lambda row: setattr(row, "JandF", 0.99)), "rows", "is not (J + F) / 2"),
    "faster": Tampering(_rows(lambda row: setattr(row, "latency_ms", 0.001)), "rows", "latency_ms"),
    "another run's rows": Tampering(_rows(lambda row: setattr(row, "run_id", "other")), "rows", "run_id other"),
    "a row less": Tampering(_one_row_less, "rows", "frames of 1 objects without a row"),
    "frames": Tampering(lambda m, p: with_frames(m, lambda frame: setattr(frame, "latency_ms", 0.001), p), "rows", "frames.csv gives"),
    "time that has not passed": Tampering(
        lambda m, p: with_rows(m, lambda row: setattr(row, "started_at", "yesterday"), p), "wall time", "is no time"
    ),
    "another protocol": Tampering(_rows(lambda row: setattr(row, "protocol_version", 7)), "manifest", "7"),
    "an edited manifest": Tampering(_manifest, "manifest", "statuses is stated as {'ok': 293}", is_found_with_new_sums=False),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_change_breaks_the_sums_and_is_found_without_them(sealed: Sealed, tmp_path: Path, name: str) -> None:
    tampering = TAMPERINGS[name]
    naive = rewritten(sealed.archive, tmp_path / "naive.zip", lambda members: tampering.change(members, tmp_path))
    if name != "an edited manifest":
        assert "is not what was sealed" in said(naive, "archive")
    assert tampering.says in said(naive, tampering.name)
    assert main(["check", str(naive)]) == 1
    if tampering.is_found_with_new_sums:
        path = rewritten(sealed.archive, tmp_path / "new.zip", lambda members: tampering.change(members, tmp_path), mends_sums=True)
        assert verdicts(path)["archive"] == "pass"
        assert tampering.says in said(path, tampering.name)


def test_times_longer_than_the_run_took_are_found(sealed: Sealed, tmp_path: Path) -> None:
    """Consistent rows and frames, of which each alone is possible."""

    def change(members: Members) -> None:
        with_frames(members, _slower_than_the_clock, tmp_path)

        def slow(row: SummaryRow) -> None:
            for name in (
                "latency_ms",
                "latency_min_ms",
                "latency_p50_ms",
                "latency_p90_ms",
                "latency_p95_ms",
                "latency_p99_ms",
                "latency_max_ms",
            ):
                setattr(row, name, 60_000.0)
            row.fps, row.parts_ms = 1 / 60, {}
            row.latency_intervals = dict.fromkeys(row.latency_intervals, 60000.0)

        with_rows(members, slow, tmp_path)
        starts = iter(range(10))
        with_rows(members, lambda row: setattr(row, "started_at", f"2026-11-28T08:00:{3 * next(starts):02d}+00:00"), tmp_path)

    path = rewritten(sealed.archive, tmp_path / "slow.zip", change, mends_sums=True)
    found = verdicts(path)
    assert (found["rows"], found["wall time"]) == ("pass", "fail")


def test_a_swapped_mask_is_found_where_the_data_are(sealed: Sealed, tmp_path: Path) -> None:
    def change(members: Members) -> None:
        name = next(name for name in sorted(members) if name.endswith("alpha/000/00004.png"))
        path = tmp_path / "mask.png"
        Image.fromarray(np.full((24, 32), 255, np.uint8)).save(path)
        members[name] = path.read_bytes()

    naive = rewritten(sealed.archive, tmp_path / "naive.zip", change)
    assert verdicts(naive)["archive"] == "fail"
    path = rewritten(sealed.archive, tmp_path / "new.zip", change, mends_sums=True)
    assert verdicts(path)["rows"] == "pass"
    assert "its masks give" in said(path, "rows", sealed.split)


def test_other_data_under_the_same_names_are_found(sealed: Sealed, tmp_path: Path) -> None:
    split = shutil.copytree(sealed.split, tmp_path / "sav_tiny")
    shutil.copy(split / "JPEGImages_24fps/beta/00001.jpg", split / "JPEGImages_24fps/beta/00002.jpg")
    Image.fromarray(np.full((24, 32), 255, np.uint8)).save(split / "Annotations_6fps/gamma/001/00008.png")
    told = said(sealed.archive, "split", split)
    assert told == "beta: other frames (13 and 13) | gamma: other masks of object 001"
    assert verdicts(sealed.archive, tmp_path)["split"] == "fail"


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/passwd", "masks/../../evil.png", "masks/a/../b.png", "notes.txt", "masks\\a\\b\\c.png"]
)
def test_a_name_that_no_run_has_is_not_unpacked(sealed: Sealed, tmp_path: Path, name: str) -> None:
    path = _zip(tmp_path / "a.zip", members_of(sealed.archive) | {name: b"x"})
    assert "no name that a sealed run has" in said(path, "archive")
    assert not (tmp_path / "evil.txt").exists()


def test_missing_twice_and_too_large(sealed: Sealed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = members_of(sealed.archive)
    without = {name: data for name, data in members.items() if name != "environment.json"}
    assert "environment.json: is missing" in said(_zip(tmp_path / "missing.zip", without), "archive")
    less = {name: data for name, data in members.items() if name != "frames.csv"}
    assert "frames.csv: is in the manifest, not in the archive" in said(_zip(tmp_path / "less.zip", less), "archive")
    more = members | {"audit.json": b"{}"}
    assert "audit.json: is in the archive, not in the manifest" in said(_zip(tmp_path / "more.zip", more), "archive")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(_zip(tmp_path / "twice.zip", members), "a") as archive:
        archive.writestr("summary.csv", b"")
    assert "summary.csv: is there 2 times" in said(tmp_path / "twice.zip", "archive")
    monkeypatch.setattr("savbench.seal.archive.TEXT_BYTES", 1000)
    assert "would unpack to" in said(sealed.archive, "archive")


def test_a_bomb_that_lies_about_its_size_is_cut_off(sealed: Sealed, tmp_path: Path) -> None:
    """The entry says 10 bytes, and a hundred million zeros follow."""
    members = members_of(sealed.archive) | {"frames.csv": bytes(100_000_000)}
    path = _zip(tmp_path / "bomb.zip", members)
    data = path.read_bytes()
    size = struct.pack("<L", 100_000_000)
    assert data.count(size) >= 2
    path.write_bytes(data.replace(size, struct.pack("<L", 10)))
    found = said(path, "archive")
    assert "not a whole archive" in found or "frames.csv: is not what was sealed" in found


def test_files_that_are_no_archives(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.zip").write_text("hello")
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "cut.zip").write_bytes(sealed.archive.read_bytes()[:-200])
    (tmp_path / "padded.zip").write_bytes(b"#!/bin/sh\n" + sealed.archive.read_bytes())
    for name in ("text", "empty", "cut", "padded"):
        assert main(["check", str(tmp_path / f"{name}.zip")]) == 1
        assert "fail  archive" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "gone.zip")]) == 2
    assert "No such file or directory; give an archive that `seal` wrote" in capsys.readouterr().err
    assert main(["check", str(tmp_path)]) == 2


@pytest.mark.parametrize("content", ["null", "[]", "{}", '{"files": []}', '{"files": {}, "schema": 99}', "[" * 100_000, "{"])
def test_a_manifest_that_is_something_else(sealed: Sealed, tmp_path: Path, content: str) -> None:
    path = _zip(tmp_path / "a.zip", members_of(sealed.archive) | {"manifest.json": content.encode()})
    assert verdicts(path) == {"archive": "fail"}


@pytest.mark.parametrize("content", ["", "null", '{"invocations": 3}', '{"invocations": [1]}', '{"invocations": []}'])
def test_an_environment_that_is_something_else(sealed: Sealed, tmp_path: Path, content: str) -> None:
    path = rewritten(sealed.archive, tmp_path / "a.zip", lambda m: m.update({"environment.json": content.encode()}))
    assert "fail" in verdicts(path).values()
    assert main(["check", str(path)]) == 1


def test_an_archive_of_another_version_is_read(sealed: Sealed, tmp_path: Path) -> None:
    """A column less than here, one that nobody knows, and a detail of a cell that nobody knows."""

    def of_another_time(members: Members) -> None:
        text = members["summary.csv"].decode()
        header, *rows = csv.reader(io.StringIO(text))
        gone, clip = header.index("hole_filling"), header.index("clip")
        for row in rows:
            row[clip] = json.dumps({**json.loads(row[clip]), "weather": 3})
        listed = [[*line[:gone], *line[gone + 1 :], "novelty" if number == 0 else "7"] for number, line in enumerate([header, *rows])]
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(listed)
        data = members["summary.csv"] = buffer.getvalue().encode()
        manifest = json.loads(members["manifest.json"])
        manifest["files"]["summary.csv"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        members["manifest.json"] = json.dumps(manifest).encode()

    path = rewritten(sealed.archive, tmp_path / "a.zip", of_another_time)
    found = verdicts(path)
    assert "fail" not in found.values()
    told = said(path, "rows")
    assert "summary.csv is without: hole_filling | summary.csv has what this version does not know: novelty, weather" in told


@pytest.mark.parametrize("name", ["manifest.json", "environment.json", "run.json"])
def test_json_of_any_other_form_ends_no_check(sealed: Sealed, tmp_path: Path, name: str) -> None:
    """Each value in turn becomes something else; arms of such archives can still be merged."""
    whole = json.loads(members_of(sealed.archive)[name])
    chance = random.Random(name)
    places = [way for way in _places(whole) if way[:2] != ("files", "frames.csv")]
    for way in chance.sample(places, min(12, len(places))):
        spoiled = copy.deepcopy(whole)
        inside = spoiled
        for key in way[:-1]:
            inside = inside[key]
        inside[way[-1]] = chance.choice([None, 7, "text", [], {}, [[1]], {"a": {"b": 1}}])
        path = rewritten(sealed.archive, tmp_path / "a.zip", lambda m, data=spoiled: m.update({name: json.dumps(data).encode()}))  # type: ignore[misc]
        with opened(path, sealed.split) as checked:
            assert checked.verdict in ("warn", "fail"), way
            render_checks(checked, 80)
            json.dumps(checked.to_json())
            if checked.run is not None:
                leaderboard._read(checked)


def _places(data: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Ways to all values inside, the containers among them."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [*([way] if way else []), *(place for key, inside in items for place in _places(inside, (*way, key)))]


def test_no_file_that_an_archive_names_is_opened(sealed: Sealed, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"alpha": {"1": {"mask": "x.png"}}}')

    def change(members: Members) -> None:
        about = json.loads(members["run.json"])
        about["fingerprint"]["prompts"] = str(secret)
        members["run.json"] = json.dumps(about).encode()
        with_environment(members, lambda invocations: invocations[0]["arguments"].update(prompts=str(secret)))

    secret.chmod(0)
    path = rewritten(sealed.archive, tmp_path / "a.zip", change, mends_sums=True)
    found = verdicts(path, sealed.split)
    # SA-V's layout refuses prompts from outside: had they been taken up, nothing could be compared
    assert (found["split"], found["masks"], found["rows"]) == ("pass", "pass", "pass")
