"""What is printed and to whom: readers that leave early, disks that are full, names and terminals of other encodings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compare_files import rows, write
from report_files import ArmOfRun, write_run

ROOT = Path(__file__).parents[1]
COMMANDS = (["compare", "{run}", "--by", "model"], ["validate", "{run}"], ["doctor"], ["--help"], ["compare", "--help"])


def start(arguments: list[str], run: Path, out: int, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "jetson_benchmark.py"), *(part.format(run=run) for part in arguments)]
    return subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, env={**os.environ, **environment})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("streams") / "run", [ArmOfRun(), ArmOfRun("edgetam", 0.6)])


@pytest.fixture
def no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed to whom does not depend on torch, and the doctor waits 4 s of CPU time for one that works."""
    (tmp_path / "torch.py").write_text("raise ImportError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: "_".join(arguments[:2]).replace("{run}", "run"))
def test_a_reader_that_leaves_early_changes_no_exit_status(arguments: list[str], run: Path) -> None:
    usual = start(arguments, run, subprocess.DEVNULL)
    usual.communicate()
    reading, writing = os.pipe()
    os.close(reading)
    process = start(arguments, run, writing)
    os.close(writing)
    _, said = process.communicate()
    assert (process.returncode, said.decode()) == (usual.returncode, "") or b"Traceback" not in said
    assert process.returncode == usual.returncode
    assert b"BrokenPipe" not in said


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: "_".join(arguments[:2]).replace("{run}", "run"))
def test_output_that_is_lost_is_said(arguments: list[str], run: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    process = start(arguments, run, full)
    os.close(full)
    _, said = process.communicate()
    assert process.returncode == 2
    assert said.decode().endswith("jetson_benchmark: standard output: No space left on device; what was printed is lost\n")
    assert b"Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_names_of_any_bytes_in_any_locale(environment: dict[str, str], tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xc3\xa9 \xff\xfe")
    run = write_run(Path(folder), [ArmOfRun(row={"validity": "throttled"}), ArmOfRun("edgetam", 0.6)])
    table = write(tmp_path / "b.csv", [r for name in ("\u00b5", "\u202e\x1b[31m") for r in rows(2, device_name=name)])
    for arguments in (
        ["compare", str(run), str(run), "--force"],
        ["compare", str(table), "--by", "device_name"],
        ["compare", str(run), str(run), "--force", "--format", "json"],
        ["validate", str(run)],
        ["report", str(run), "-o", str(tmp_path / "report.html")],
        ["report", str(run), "-o", str(tmp_path / "report.md")],
        ["report", str(tmp_path / "gone \udcff"), "-o", str(tmp_path / "none.html")],
    ):
        command = [sys.executable, str(ROOT / "jetson_benchmark.py"), *arguments]
        done = subprocess.run(list(map(os.fsencode, command)), capture_output=True, env={**os.environ, **environment}, check=False)
        assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
        assert done.returncode == (1 if arguments[0] == "validate" else 2 if "gone" in arguments[1] else 0), done.stderr
        assert b"\x1b" not in done.stdout
        if "json" in arguments:
            assert json.loads(done.stdout.decode("utf-8", "replace"))["blocks"]
