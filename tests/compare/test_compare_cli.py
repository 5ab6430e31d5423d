from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from compare_files import LEGACY_WITH_PROXY, row, rows, write, write_legacy

import jetson_benchmark

ROOT = Path(__file__).parents[2]


def compare(*arguments: object) -> int:
    return jetson_benchmark.main(["compare", *map(str, arguments)])


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "before.csv", rows(8)), write(tmp_path / "after.csv", rows(8, latency_ms=30.0))


def test_a_comparison_is_printed(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(*runs) == 0
    out = capsys.readouterr().out
    assert "after against baseline before: 16 objects of 8 videos" in out
    assert "worse" in out


def test_exit_status_of_conditions(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(*runs, "--fail_if", "JandF<-0.005", "--fail_if", "latency_p90_ms>2") == 0
    capsys.readouterr()
    assert compare(*runs, "--fail_if", "JandF<-0.005", "--fail_if", "latency_p90_ms>1.10") == 1
    captured = capsys.readouterr()
    assert "fail_if latency_p90_ms>1.10 holds: after against before" in captured.err
    assert "after against baseline before" in captured.out
    assert compare(*runs, "--baseline", "after", "--fail_if", "latency_p90_ms>1.10") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "colour"], "--by colour: no such column"),
        (["--by", ","], "--by '': the list is empty; name at least one"),
        (["--baseline", "x"], "no such arm"),
        (["--fail_if", "x>1"], "x is not compared"),
        (["--resamples", "10"], "--resamples 10: use 1000 to 1000000; an interval from fewer is noise"),
        (["--seed", "-1"], "--seed -1: use 0 to 4294967295"),
    ],
)
def test_bad_arguments(runs: tuple[Path, Path], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(*runs, *arguments) == 2
    assert message in capsys.readouterr().err


def test_bad_files_get_a_line_and_no_traceback(runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.csv"
    for data, where in ((b"", ":1:"), (b"\x89PNG\0\0", ":1:"), (b"video,object,model\nv,0\nw,0,m\n", ":2:")):
        bad.write_bytes(data)
        assert compare(runs[0], bad) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"jetson_benchmark compare: {bad}{where}")
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert compare(tmp_path / "gone") == 2
    assert compare(tmp_path) == 2


def test_refused_and_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write(tmp_path / "small.csv", rows(8, imgsz=512)), write(tmp_path / "large.csv", rows(8))
    assert compare(*paths) == 2
    assert "refused: small and large differ in what is not compared (input size: 512 and 1024)" in capsys.readouterr().err
    assert compare(*paths, "--force") == 0
    assert capsys.readouterr().out.splitlines()[1] == "FORCED: small and large differ in input size: 512 and 1024"
    assert compare(*paths, "--by", "imgsz") == 0


@pytest.mark.parametrize("name", ["markdown", "csv", "json", "latex"])
def test_other_formats(runs: tuple[Path, Path], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(*runs, "--format", name) == 0
    out = capsys.readouterr().out
    if name == "json":
        assert json.loads(out)["blocks"]
    assert len(out.splitlines()) > (5 if name == "markdown" else 14)


def test_csv_keeps_its_notes_on_the_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = {"video": "v0", "object": "0", "model": "sam2_tiny_mask", "imgsz": 1024, "J": 0.5, "latency_ms": 20}
    paths = write(tmp_path / "new.csv", [row()]), write_legacy(tmp_path / "old.csv", LEGACY_WITH_PROXY, [cells])
    assert compare(*paths, "--format", "csv") == 0
    captured = capsys.readouterr()
    assert "whole-clip" in captured.err
    assert "whole-clip" not in captured.out


def test_without_valid_times_the_scores_are_shown_and_the_status_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An Orin whose clocks were not locked."""
    unlocked = "clocks not locked (sudo scripts/lock_clocks.sh)"
    path = write(tmp_path / "orin.csv", rows(3, validity=unlocked) + rows(3, model="edgetam", validity=unlocked))
    for arguments in ([path], [path, path], [path, "--fail_if", "JandF<-0.5"]):
        assert compare(*arguments) == 2
        captured = capsys.readouterr()
        assert "0.4250" in captured.out
        assert "--force" in captured.err
        assert "scripts/lock_clocks.sh" in captured.err
        assert compare(*arguments, "--force") == 0
        assert "FPS" in capsys.readouterr().out


def test_a_busy_machine_still_compares_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    busy, busier = "background load (3.0 CPUs)", "background load (4.0 CPUs)"
    trained = write(tmp_path / "a.csv", rows(3, validity=busy) + rows(3, model="edgetam", validity=busier))
    assert compare(trained) == 0
    captured = capsys.readouterr()
    assert "no times to compare, only J, F and J&F" in captured.err
    assert "times not compared: 6 objects invalid (background load (3.0 to 4.0 CPUs)) in both" in captured.out
    archive = tmp_path / "sealed.zip"
    archive.write_bytes(b"PK\x03\x04 as every archive begins")
    assert compare(archive) == 2
    assert "jetson_benchmark.py merge" in capsys.readouterr().err
    untrained = write(
        tmp_path / "b.csv", rows(3, validity=busy, weights="random") + rows(3, model="edgetam", validity=busy, weights="random")
    )
    assert compare(untrained) == 2


def test_names_that_a_spreadsheet_a_terminal_or_a_page_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [r for name in ("=1+1", "@SUM(A1)", "\x1b[31m<img src=x onerror=alert(1)>") for r in rows(2, device_name=name)]
    path = write(tmp_path / "a.csv", listed)
    for name in ("table", "markdown", "csv", "latex", "json"):
        assert compare(path, "--by", "device_name", "--format", name) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
        if name == "markdown":
            assert "<img" not in out
        if name == "csv":
            arms = {line["arm"] for line in csv.DictReader(io.StringIO(out))}
            assert {"'=1+1", "'@SUM(A1)"} < arms


def test_neither_torch_nor_help_is_waited_for(runs: tuple[Path, Path]) -> None:
    code = """
import sys, jetson_benchmark
try:
    jetson_benchmark.main(["--help"])
except SystemExit:
    pass
assert "pandas" not in sys.modules and "torch" not in sys.modules, "main --help"
assert jetson_benchmark.main(["compare", *sys.argv[1:]]) == 0
assert "torch" not in sys.modules, "compare"
"""
    subprocess.run([sys.executable, "-c", code, *map(str, runs)], cwd=ROOT, check=True, capture_output=True)


def test_latex_without_its_package_names_the_file_that_has_it(runs: tuple[Path, Path]) -> None:
    code = "import sys; sys.modules['jinja2'] = None; import jetson_benchmark; sys.exit(jetson_benchmark.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "compare", *map(str, runs), "--format", "latex"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--format latex needs the Python package jinja2: run scripts/setup.sh (requirements-report.txt)" in done.stderr
    assert "Traceback" not in done.stderr


def test_totals_of_other_rails_and_calibration_factors_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Energies of jtop's sum on AGX Orin, of a meter, or of a calibrated monitor are not those of the plain total."""
    total = "VDD_CPU_CV + VDD_GPU_SOC + VIN_SYS_5V0"
    before = write(tmp_path / "a.csv", rows(2, power_of=f"VDDQ_VDD2_1V8AO + {total}", power_scale=1.0, power_mean_w=10.0))
    after = write(tmp_path / "b.csv", rows(2, power_of=total, power_scale=1.1, power_mean_w=10.0))
    assert compare(before, after) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "differ too: power_of VDDQ_VDD2_1V8AO + " in told
    assert f"-> {total}; power_scale 1 -> 1.1" in told
