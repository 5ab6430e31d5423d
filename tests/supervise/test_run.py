"""The process model end to end: real worker processes that fail in every way, killed supervisors, interrupts."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripted_worker
from scripted_run import WORKER_COMMAND, config, make_split
from scripted_run import command as command_of
from tiny_split import TinySplit

from runners import RUNNERS
from savbench.arguments.declared import ConfigError
from savbench.board import cgroup
from savbench.plan.protocols import PROTOCOL_VERSION
from savbench.plan.settings import RunConfig
from savbench.results import selfcheck
from savbench.results.csv_rows import header_line, read_rows, row_line
from savbench.results.delivery import ModelFacts
from savbench.results.environment import cpu_name
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import RunFolderError
from savbench.supervise import ledger, local_executor, outcome, worker_process
from savbench.supervise import run as runs
from savbench.supervise.progress import Progress

WORKER = Path(scripted_worker.__file__)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", WORKER_COMMAND)


def run(settings: RunConfig) -> tuple[int, dict[str, SummaryRow], str]:
    said = io.StringIO()
    status = runs.run(settings, ["jetson_benchmark.py"], Progress(said, said))
    assert settings.out_dir is not None
    rows = read_rows(SummaryRow, settings.out_dir / "summary.csv")
    assert len({row.key for row in rows}) == len(rows)
    return status, {row.video: row for row in rows}, said.getvalue()


@pytest.mark.parametrize("inside", ["JPEGImages_24fps", "Annotations_6fps/a", "link/a/run"])
def test_results_among_the_frames_or_masks_of_a_split_are_refused(tmp_path: Path, inside: str) -> None:
    split = make_split(tmp_path, ["a"])
    (split / "link").symlink_to("Annotations_6fps")
    before = sorted(split.rglob("*"))
    with pytest.raises(ConfigError, match=r"--out_dir .*: is inside .*; give a folder outside the split"):
        run(config(split, split / inside))
    assert sorted(split.rglob("*")) == before


def test_everything_is_measured_and_scored(tmp_path: Path) -> None:
    status, rows, said = run(config(make_split(tmp_path, ["a", "b"]), tmp_path / "run"))
    assert status == 0
    assert list(rows) == ["a", "b"]
    row = rows["a"]
    # Of annotated frames 0, 4 and 8 the middle one counts; the square has moved by one of its 8 columns.
    assert row.J == 7 / 9
    assert (row.status, row.frames, row.frames_scored, row.prompt_frame, row.warmup_frames) == ("ok", 8, 1, 0, 2)
    assert row.latency_ms is not None
    assert row.fps == pytest.approx(1e3 / row.latency_ms)
    assert row.JandF == pytest.approx(((row.J or 0) + (row.F or 0)) / 2)
    assert row.autocast_dtype == row.attention == row.weights == "none"
    frames = read_rows(FrameRow, tmp_path / "run" / "frames.csv")
    assert [(f.video, f.frame) for f in frames] == [(v, i) for v in "ab" for i in range(1, 9)]
    assert np.mean([f.latency_ms for f in frames if f.video == "a"]) == pytest.approx(row.latency_ms)
    assert [f.J for f in frames if f.video == "a" and f.J is not None] == [row.J]
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["run_id"] == row.run_id
    assert environment["invocations"][0]["argv"] == ["jetson_benchmark.py"]
    assert "2 of 2 rows" in said
    assert "0.778" in said


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("raise", "error", "ZeroDivisionError: a fault of the model with a second line"),
        ("refuse", "error", "the model cannot do this; do something else"),
        ("oom", "oom", "MemoryError"),
        ("nvmap", "oom", "NvMapMemAlloc"),
        ("kill", "killed", "SIGKILL"),
        ("segv", "killed", "SIGSEGV"),
        ("leave", "error", "ended before it finished its job"),
        ("nan", "error", "NaN or infinite output on 1 of 9 frames"),
        ("transpose", "error", "shape (1, 32, 24), not bool (1, 24, 32)"),
    ],
)
def test_a_fault_costs_its_object_and_the_run_goes_on(tmp_path: Path, fault: str, status: str, reason: str) -> None:
    exit_status, rows, said = run(config(make_split(tmp_path, ["before", fault, "after"]), tmp_path / "run"))
    assert exit_status == 1
    assert list(rows) == ["before", fault, "after"]
    assert (rows["before"].status, rows["after"].status) == ("ok", "ok")
    row = rows[fault]
    assert row.status == status
    assert reason in row.error
    assert (row.J, row.F, row.JandF, row.fps, row.latency_ms, row.cpu_peak_rss_MiB) == (None,) * 6
    assert row.implementation == "scripted"
    assert f"{fault}/000  {status}" in said


def test_a_hang_is_ended_and_its_stack_is_in_the_log(tmp_path: Path) -> None:
    # the limit also holds for the worker's start and for the clip after: it leaves a busy machine time for both
    _, rows, _ = run(config(make_split(tmp_path, ["hang", "after"]), tmp_path / "run", timeout_s=6.0))
    assert (rows["hang"].status, rows["after"].status) == ("timeout", "ok")
    assert "--timeout" in rows["hang"].error
    (log,) = (tmp_path / "run" / "logs").glob("scripted*.log")
    assert "_do" in log.read_text()


def test_a_death_is_an_out_of_memory_kill_where_the_kernel_counted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(100))
    monkeypatch.setattr(cgroup, "oom_kill_count", lambda root: next(counts))
    _, rows, _ = run(config(make_split(tmp_path, ["kill"]), tmp_path / "run"))
    assert rows["kill"].status == "oom"
    assert rows["kill"].error == "the kernel killed the worker, out of memory; close other programs"


@pytest.mark.parametrize(("fault", "status"), [("runner_error", "error"), ("kill", "killed")])
def test_a_model_that_cannot_be_built_is_said_once_per_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, status: str
) -> None:
    monkeypatch.setenv("SCRIPTED_BUILD_FAULT", fault)
    exit_status, rows, _ = run(config(make_split(tmp_path, ["a", "b"]), tmp_path / "run"))
    assert exit_status == 1
    assert {row.status for row in rows.values()} == {status}
    assert all(row.error.startswith("the model could not be built: ") for row in rows.values())


def test_one_kill_while_the_model_is_built_costs_that_attempt_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_BUILD_FAULT", f"kill_once={tmp_path / 'mark'}")
    exit_status, rows, said = run(config(make_split(tmp_path, ["a", "b"]), tmp_path / "run"))
    assert (exit_status, [row.status for row in rows.values()]) == (0, ["ok", "ok"])
    assert "while building the model, the worker was killed (SIGKILL)" in said
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(("fault", "builds"), [("kill", outcome.SAME_FAILURE_LIMIT), ("runner_error", 1)])
def test_a_model_that_is_killed_is_built_so_often_and_one_that_refuses_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, builds: int
) -> None:
    started = []

    class CountedWorker(worker_process.WorkerProcess):
        def __init__(self, *args: Any) -> None:
            started.append(1)
            super().__init__(*args)

    monkeypatch.setattr(local_executor, "WorkerProcess", CountedWorker)
    monkeypatch.setenv("SCRIPTED_BUILD_FAULT", fault)
    run(config(make_split(tmp_path, ["a", "b"]), tmp_path / "run"))
    assert len(started) == builds


def test_an_arm_that_dies_alike_again_and_again_is_given_up(tmp_path: Path) -> None:
    videos = ["raise_1", "raise_2", "raise_3", "raise_4", "never_run"]
    _, rows, _ = run(config(make_split(tmp_path, videos), tmp_path / "run"))
    assert [rows[name].status for name in videos] == ["error", "error", "error", "skipped", "skipped"]
    assert "ZeroDivisionError" in rows["never_run"].error


def test_deaths_with_work_done_between_them_do_not_give_up(tmp_path: Path) -> None:
    videos = ["raise_1", "a", "raise_2", "b", "raise_3", "c", "raise_4", "d"]
    _, rows, _ = run(config(make_split(tmp_path, videos), tmp_path / "run"))
    assert [rows[name].status for name in videos] == ["error", "ok"] * 4


def test_defects_of_the_split_become_rows(tmp_path: Path) -> None:
    split = TinySplit(make_split(tmp_path, ["good", "noframes", "truncated", "empty", "late"]))
    for path in split.frames_dir("noframes").iterdir():
        path.unlink()
    damaged = split.frame("truncated", 5)
    damaged.write_bytes(damaged.read_bytes()[:200])
    for index in (0, 4, 8):
        split.mask("empty", "000", index).write_bytes(split.mask("late", "000", index).read_bytes())
    blank = np.zeros((24, 32), np.uint8)
    from PIL import Image

    for index in (0, 4, 8):
        Image.fromarray(blank).save(split.mask("empty", "000", index))
    for index in (0, 4):
        Image.fromarray(blank).save(split.mask("late", "000", index))
    status, rows, _ = run(config(split.root, tmp_path / "run"))
    assert status == 1
    assert {name: row.status for name, row in rows.items()} == {
        "good": "ok", "noframes": "error", "truncated": "error", "empty": "error", "late": "skipped",
    }  # fmt: skip
    assert str(split.frames_dir("noframes")) in rows["noframes"].error
    assert rows["noframes"].object == ""
    assert str(damaged) in rows["truncated"].error
    assert rows["good"].F is not None


def test_warnings_are_counted_and_told_apart_by_their_first_line(tmp_path: Path) -> None:
    _, rows, _ = run(config(make_split(tmp_path, ["warn", "quiet"]), tmp_path / "run", warmup_frames=4))
    # twice on the frame of the warm-up and twice on that of the timed run
    assert (rows["warn"].warnings, rows["warn"].warning_lines) == (4, "UserWarning: first line")
    assert (rows["quiet"].warnings, rows["quiet"].warning_lines) == (0, "")


def test_the_same_command_runs_what_is_missing_and_nothing_twice(tmp_path: Path) -> None:
    split_dir = make_split(tmp_path, ["a", "raise", "b"])
    run(config(split_dir, tmp_path / "run", limit_videos=1))
    _, first, _ = run(config(split_dir, tmp_path / "run", limit_videos=2))
    _, second, said = run(config(split_dir, tmp_path / "run"))
    assert {name: row.started_at for name, row in first.items()}.items() <= {n: r.started_at for n, r in second.items()}.items()
    assert first["a"].latency_ms == second["a"].latency_ms
    assert list(second) == ["a", "raise", "b"]
    assert "which has 2 rows" in said
    before = (tmp_path / "run" / "summary.csv").read_bytes()
    status, _, _ = run(config(split_dir, tmp_path / "run"))
    assert status == 1
    assert (tmp_path / "run" / "summary.csv").read_bytes() == before


def test_failed_objects_run_again_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split_dir = make_split(tmp_path, ["a", "b"])
    monkeypatch.setenv("SCRIPTED_BUILD_FAULT", "runner_error")
    assert run(config(split_dir, tmp_path / "run"))[0] == 1
    monkeypatch.delenv("SCRIPTED_BUILD_FAULT")
    assert run(config(split_dir, tmp_path / "run"))[0] == 1
    status, rows, _ = run(config(split_dir, tmp_path / "run", retry_failed=True))
    assert status == 0
    assert {row.status for row in rows.values()} == {"ok"}


def test_a_stride_holds_masks_and_still_scores_every_annotated_frame(tmp_path: Path) -> None:
    split_dir = make_split(tmp_path, ["a"])
    _, rows, _ = run(config(split_dir, tmp_path / "run", frame_stride=3))
    assert (rows["a"].frames, rows["a"].frames_scored, rows["a"].J) == (2, 1, 7 / 9)
    assert [f.frame for f in read_rows(FrameRow, tmp_path / "run" / "frames.csv")] == [3, 6]


def test_missing_weights_end_before_anything_is_made(tmp_path: Path) -> None:
    settings = config(make_split(tmp_path, ["a"]), tmp_path / "run", models=("sam2_tiny_points",), weights_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"sam2\.1_hiera_tiny\.pt.*download_weights\.sh sam2_tiny.*--random_weights"):
        run(settings)
    assert not (tmp_path / "run").exists()


class Command:
    """The supervisor in a process of its own."""

    def __init__(self, split_dir: Path, out_dir: Path) -> None:
        self.out_dir = out_dir
        self._mark = f"STARTED_BY_TEST={out_dir}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            command_of(split_dir, out_dir), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, name: value}
        )

    def wait_for_rows(self, count: int) -> None:
        for _ in range(600):
            summary = self.out_dir / "summary.csv"
            if summary.exists() and summary.read_bytes().count(b"\n") > count:
                return
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            time.sleep(0.05)
        raise AssertionError(f"no {count} rows within 30 s")

    def workers(self) -> list[int]:
        """Worker processes of this run, whoever is their parent by now; other tests have workers too."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                except OSError:
                    continue
                if str(WORKER).encode() in command and b"--events" in command and self._mark.encode() in environment.split(b"\0"):
                    found.append(int(folder.name))
        return found


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    command = Command(make_split(tmp_path, [f"slow_{i}" for i in range(8)]), tmp_path / "run")
    yield command
    command.process.kill()
    command.process.communicate()


def finish_and_check(tmp_path: Path) -> None:
    status, rows, _ = run(config(tmp_path / "split", tmp_path / "run"))
    assert status == 0
    assert sorted(rows) == [f"slow_{i}" for i in range(8)]
    frames = read_rows(FrameRow, tmp_path / "run" / "frames.csv")
    assert len(frames) == len({(f.video, f.frame) for f in frames}) == 8 * 8


@pytest.mark.parametrize("rows_before", [1, 3, 4])
def test_a_killed_supervisor_takes_its_worker_along_and_loses_no_row(tmp_path: Path, command: Command, rows_before: int) -> None:
    command.wait_for_rows(rows_before)
    command.process.send_signal(signal.SIGKILL)
    command.process.wait()
    for _ in range(100):
        if not command.workers():
            break
        time.sleep(0.05)
    assert command.workers() == []
    finish_and_check(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_cleanly_with_what_is_done(tmp_path: Path, command: Command, number: signal.Signals) -> None:
    command.wait_for_rows(2)
    os.kill(command.process.pid, number)
    output, _ = command.process.communicate(timeout=30)
    assert command.process.returncode == 130
    assert "run the same command again to continue" in output
    assert "scripted_mask" in output
    assert command.workers() == []
    with (tmp_path / "run" / "summary.csv").open(newline="") as file:
        assert {row["status"] for row in csv.DictReader(file)} == {"ok"}
    finish_and_check(tmp_path)


def test_the_closing_lines_say_whether_a_selfcheck_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "PATH", tmp_path / "selfcheck.json")
    split, out, said = make_split(tmp_path, ["a"]), tmp_path / "run", io.StringIO()
    runs.run(config(split, out), [], Progress(said, said))
    assert "selfcheck" not in said.getvalue()  # the scripted model does without torch
    measured_on(out, torch_version="2.6.0", device_name="Orin")
    runs.run(config(split, out), [], Progress(said, said))
    assert "no selfcheck with this torch on this machine: run jetson_benchmark.py selfcheck" in said.getvalue()
    selfcheck.remember(selfcheck.SelfCheck(True, "2026-11-28T08:00:00+00:00", cpu_name(), "Orin", "2.6.0", "", quick=False))
    runs.run(config(split, out), [], Progress(said, said))
    assert "selfcheck passed on 2026-11-28 with this torch and device" in said.getvalue()
    invocations = json.loads((out / "environment.json").read_text())["invocations"]
    assert [len(one["selfchecks"]) for one in invocations] == [0, 0, 1]


# ---- a run that goes on elsewhere


def measured_on(path: Path, **system: Any) -> None:
    """Have the rows of a run say that they were measured on another system."""
    rows = read_rows(SummaryRow, path / "summary.csv")
    lines = [row_line(dataclasses.replace(row, **system)) for row in rows]
    (path / "summary.csv").write_text(header_line(SummaryRow) + "".join(lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("torch_version", "2.5.0a0+nv24.08"),
        ("benchmark_version", "0123456789ab"),
        ("implementation", "sam2 checkout (commit 0)"),
        ("device", "cuda:0"),
        ("device_name", "Orin"),
        ("weights", "0" * 64),
        ("nvpmodel", "15W > MODE_30W"),
    ],
)
def test_an_arm_does_not_go_on_upon_another_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, before: str) -> None:
    facts = {"torch_version": "2.6.0"}
    monkeypatch.setattr(ledger, "ModelFacts", lambda **told: ModelFacts(**{**told, **facts}))
    monkeypatch.setattr(ledger, "power_mode", lambda: {"name": "MAXN", "id": 0})
    split, out = make_split(tmp_path, ["a", "b"]), tmp_path / "run"
    run(config(split, out, limit_videos=1))
    measured_on(out, torch_version="2.6.0", nvpmodel="MAXN")
    measured_on(out, **{name: before})
    kept = (out / "summary.csv").read_bytes()
    told = before.rpartition(" > ")[2].removeprefix("MODE_")
    with pytest.raises(RunFolderError, match=rf"another system: {name} was {re.escape(told)} and is .*--out_dir.*--accept_changes"):
        run(config(split, out))
    assert (out / "summary.csv").read_bytes() == kept


def test_an_arm_does_not_go_on_under_another_version_of_the_protocol(tmp_path: Path) -> None:
    split, out = make_split(tmp_path, ["a", "b"]), tmp_path / "run"
    _, rows, _ = run(config(split, out, limit_videos=1))
    assert rows["a"].protocol_version == PROTOCOL_VERSION
    measured_on(out, protocol_version=PROTOCOL_VERSION + 1)
    with pytest.raises(RunFolderError, match=rf"protocol_version was {PROTOCOL_VERSION + 1} and is {PROTOCOL_VERSION}; .*--accept_changes"):
        run(config(split, out))
    # rows from before there were versions tell none
    measured_on(out, protocol_version=None)
    assert run(config(split, out))[0] == 0


def test_accepted_changes_split_the_arm_and_mark_its_rows(tmp_path: Path) -> None:
    split, out = make_split(tmp_path, ["a", "b", "c"]), tmp_path / "run"
    run(config(split, out, limit_videos=1))
    measured_on(out, device_name="Orin")
    status, rows, said = run(config(split, out, limit_videos=2, accept_changes=True))
    assert status == 0
    assert rows["b"].arm_id.partition("~")[0] == rows["a"].arm_id != rows["b"].arm_id
    assert (rows["a"].accepted_changes, rows["b"].accepted_changes) == ("", f"device_name was Orin and is {rows['b'].device_name}")
    assert f"device_name was Orin and is {rows['b'].device_name}: new rows are recorded as the separate arm" in said
    assert "2 of 2 rows" in said
    assert f"scripted_mask (changed, ~{rows['b'].arm_id.partition('~')[2]})" in said

    status, rows, said = run(config(split, out, accept_changes=True))
    assert (status, rows["c"].arm_id) == (0, rows["b"].arm_id)
    assert "3 of 3 rows" in said
    # everything has its row, so that nothing is measured and nothing mixed
    assert run(config(split, out))[0] == 0


def test_what_is_shown_of_a_failure_is_one_line_that_no_terminal_obeys() -> None:
    said = io.StringIO()
    progress = Progress(said, said)
    progress.begin("arm", 1, [])
    progress.end_object(SummaryRow(video="a", object="000", status="error", error="\x1b[31mfirst\x1b[0m\n  second"))
    assert said.getvalue().endswith("[1/1] arm  a/000  error: first second\n")
