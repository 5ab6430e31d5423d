"""What a run does where its disk takes no more: it ends, and the same command goes on when there is space."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import scripted_worker
from scripted_run import WORKER_COMMAND, make_split
from scripted_run import run_rows as run

from runners import RUNNERS
from savbench.results.run_folder import RunFolderError
from savbench.supervise import finisher_process, worker_process

FULL_DISK_FINISHER = """\
import errno, os, sys
sys.path.insert(0, {root!r})
from savbench.finish import finisher

def full(out_dir, *_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out_dir / "masks" / "00004.png"))

finisher.{name} = full
sys.exit(finisher.main())
"""


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", WORKER_COMMAND)


@pytest.mark.parametrize(("flag", "value", "name"), [("save_masks", True, "save_masks"), ("save_overlays", "all", "save_overlay")])
def test_a_full_disk_under_masks_or_overlays_ends_the_run_and_costs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, value: object, name: str
) -> None:
    if flag == "save_overlays":
        pytest.importorskip("av", reason="needs PyAV")
    split_dir = make_split(tmp_path, ["a", "b"])
    script = tmp_path / "finisher.py"
    script.write_text(FULL_DISK_FINISHER.format(root=str(Path(__file__).parents[2]), name=name))
    with monkeypatch.context() as patched:
        patched.setattr(finisher_process, "FINISHER_COMMAND", (sys.executable, str(script)))
        with pytest.raises(RunFolderError, match=r"00004\.png: No space left on device; free some space and give the same command again"):
            run(split_dir, tmp_path / "run", **{flag: value})
    assert (tmp_path / "run" / "summary.csv").read_text().count("\n") == 1
    status, rows = run(split_dir, tmp_path / "run", **{flag: value})
    assert (status, [row.status for row in rows]) == (0, ["ok", "ok"])


def test_masks_that_cannot_be_handed_on_end_the_run(tmp_path: Path) -> None:
    split_dir = make_split(tmp_path, ["a"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".spool").write_text("in the way")
    with pytest.raises(RunFolderError, match=r"\.spool: File exists; fix that and give the same command again"):
        run(split_dir, tmp_path / "run")
    (tmp_path / "run" / ".spool").unlink()
    status, rows = run(split_dir, tmp_path / "run")
    assert (status, [row.status for row in rows]) == (0, ["ok"])


def test_masks_on_their_way_are_gone_when_the_run_ends_also_those_of_a_killed_one(tmp_path: Path) -> None:
    spool = tmp_path / "run" / ".spool"
    spool.mkdir(parents=True)
    (spool / "left.masks").write_bytes(b"of a run that was killed")
    status, _ = run(make_split(tmp_path, ["a", "nan"]), tmp_path / "run")
    assert status == 1
    assert not spool.exists()
