"""Sealing: what is in the archive, that it is the same again, and what is taken out or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sealed_fixture import Sealed
from sealed_runs import digest, members_of

from jetson_benchmark import main
from savbench.results.run_lock import RunLock
from savbench.seal.private import Scrubber, absolute_paths

KNOWN = ["manifest.json", "summary.csv", "frames.csv", "config.toml", "environment.json", "run.json"]


def test_the_archive_holds_the_run_with_hashes_and_facts(sealed: Sealed) -> None:
    members = members_of(sealed.archive)
    assert sorted(name for name in members if not name.startswith("masks/")) == sorted(KNOWN)
    assert sum(name.startswith("masks/") for name in members) == 3 * 2 * 4
    manifest = json.loads(members["manifest.json"])
    assert manifest["files"].keys() == members.keys() - {"manifest.json"}
    assert manifest["facts"]["statuses"] == {"ok": 6}
    assert manifest["facts"]["complete"] is True
    assert manifest["submitter"] == "Jane Doe, jane@example.org"
    assert len(manifest["sealed_by"]["code_sha256"]) == 64
    assert manifest["split"]["listed"] == 3
    assert {name: sorted(video["objects"]) for name, video in manifest["split"]["videos"].items()} == {
        video: ["000", "001"] for video in ("alpha", "beta", "gamma")
    }


def test_the_same_run_gives_the_same_bytes(sealed: Sealed, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    assert main(["seal", str(sealed.run), "-o", str(again), "--submitter", "Jane Doe, jane@example.org"]) == 0
    assert digest(again) == digest(sealed.archive)
    assert main(["seal", str(sealed.run), "-o", str(again), "--submitter", "somebody else"]) == 0
    assert digest(again) != digest(sealed.archive)


def test_no_path_of_the_machine_is_in_it(sealed: Sealed) -> None:
    folder = str(sealed.run.parent)
    for name, data in members_of(sealed.archive).items():
        if not name.endswith(".png"):
            assert folder not in data.decode(), name
            assert "jane doe" not in data.decode(), name
    environment = json.loads(members_of(sealed.archive)["environment.json"])
    assert environment["invocations"][0]["arguments"]["split_dir"] == "<split_dir>"
    # and the original is as it was
    assert folder in (sealed.run / "environment.json").read_text()


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("/data/sav val/JPEGImages_24fps/a/00000.jpg: unreadable", "<split_dir>/JPEGImages_24fps/a/00000.jpg: unreadable"),
        ("see /opt/conda/lib/python3.10/site.py:12", "see <path>/site.py:12"),
        ('File "/media/jane/x.py", line 3', 'File "<path>/x.py", line 3'),
        ("file:/home/jane/x", "file:<path>/x"),
        ("https://example.org/a/b and 1/2 and n/a and a/b/c", "https://example.org/a/b and 1/2 and n/a and a/b/c"),
        ("/proc/vmstat and /sys/devices/x", "/proc/vmstat and /sys/devices/x"),
        ("on orin-3, not orin-31", "on node1, not orin-31"),
    ],
)
def test_private_texts(text: str, scrubbed: str) -> None:
    scrubber = Scrubber(Path("/srv/runs/one"), [{"arguments": {"split_dir": "/data/sav val", "models": ["static_mask"]}}], ["orin-3", ""])
    assert scrubber.scrub(text) == scrubbed
    assert not absolute_paths(scrubbed)


def test_an_unfinished_run_is_sealed_as_such(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(sealed.run, tmp_path / "run")
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**about, "complete": False}))
    assert main(["seal", str(run), "-o", str(tmp_path / "a.zip")]) == 0
    assert "the run was not finished: 6 rows" in capsys.readouterr().out


def test_what_is_no_sound_run_is_refused(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(sealed.run, tmp_path / "run")
    target = ["-o", str(tmp_path / "a.zip")]
    summary = (run / "summary.csv").read_text()
    cases: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: (run / "summary.csv").write_text(summary.splitlines(True)[0]),
            "has no row, there is nothing to seal",
        ),
        (lambda: (run / "summary.csv").write_text(summary.replace(",ok,", ",fine,", 1)), "its files disagree, so nobody could check them"),
        (lambda: (run / "summary.csv").unlink(), "has no summary.csv; give the folder of a run"),
    ]
    for spoil, message in cases:
        spoil()
        assert main(["seal", str(run), *target]) == 2
        assert message in capsys.readouterr().err
    assert main(["seal", str(tmp_path / "nowhere"), *target]) == 2
    assert not (tmp_path / "a.zip").exists()
    # where the split is not as named, an explicit --split_dir is refused and a missing one told
    assert main(["seal", str(sealed.run), *target, "--split_dir", str(tmp_path)]) == 2


def test_a_run_that_is_going_on_is_refused(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = RunLock(sealed.run)
    lock.acquire()
    try:
        assert main(["seal", str(sealed.run), "-o", str(tmp_path / "a.zip")]) == 2
    finally:
        lock.release()
    assert "a run is writing here; seal it when it has ended" in capsys.readouterr().err


def test_without_the_split_the_archive_says_so(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(sealed.run, tmp_path / "run")
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**about, "split_dir": str(tmp_path / "gone")}))
    assert main(["seal", str(run), "-o", str(tmp_path / "a.zip")]) == 0
    shown = capsys.readouterr()
    assert "the split is not hashed" in shown.err
    assert "warn  split       the split was not at hand when it was sealed" in shown.out
