"""The command: what becomes of its children, what it prints and remembers."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

import jetson_benchmark
from savbench.results import selfcheck
from savbench.selfcheck import cli

CHILD = (sys.executable, str(Path(__file__).with_name("selfcheck_child.py")))


@pytest.fixture
def remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command remembers; children are the stand-in."""
    path = tmp_path / "results" / "selfcheck.json"
    monkeypatch.setattr(cli, "CHILD_COMMAND", CHILD)
    monkeypatch.setattr(selfcheck, "PATH", path)
    return path


def test_all_well(remembered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "GROUPS", ("passes",))
    assert jetson_benchmark.main(["selfcheck", "--json", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    assert "ok              passes: first: as it should be" in said
    assert "1 ok, 0 failed, 0 not applicable on a processor, torch 2.8.0" in said
    [entry] = selfcheck.recall(remembered)
    assert (entry.passed, entry.device_name, entry.torch, entry.quick, entry.failed) == (True, "a processor", "2.8.0", False, ())
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["counts"] == {"ok": 1, "failed": 0, "not applicable": 0}
    assert found["checks"][0]["figures"] == {"J": 1.0}


def test_a_failure_says_what_it_means_and_what_to_do(
    remembered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "GROUPS", ("fails", "passes"))
    assert jetson_benchmark.main(["selfcheck", "--quick"]) == 1
    said = capsys.readouterr().out
    assert "failed          fails: first: J 0.5\n                means: it is wrong\n                do: mend it\n" in said
    [entry] = selfcheck.recall(remembered)
    assert (entry.passed, entry.quick, entry.failed) == (False, True, ("fails: first",))


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize(("group", "how"), [("crashes", "SIGSEGV"), ("leaves", "exit status 3"), ("hangs", "no sign of progress")])
def test_a_child_that_ends_badly_is_a_failure_and_the_next_runs(
    group: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report = cli.Report()
    outcomes = list(cli.examine(report, "cpu", quick=False, groups=(group, "passes"), timeout_s=3.0))
    assert [one.check for one in outcomes if one.status == "failed"] == [f"{group}: could not be checked"]
    failed = next(one for one in outcomes if one.status == "failed")
    assert how in failed.said
    assert failed.meaning
    assert failed.remedy
    assert outcomes[-1].check == "passes: first"
    assert not list(tmp_path.glob("selfcheck-*")), "a killed child leaves nothing behind"
    if group == "crashes":
        assert "its last words" in capsys.readouterr().err


def test_a_device_that_is_not_there(remembered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "GROUPS", ("refuses", "passes"))
    assert jetson_benchmark.main(["selfcheck", "--device", "cuda:7"]) == 2
    assert "this machine has 1 GPU(s)" in capsys.readouterr().err
    assert not remembered.exists()


@pytest.mark.parametrize("argv", [["--device", "gpu"], ["--json", "/dev/null/x.json"], ["--fast"]])
def test_bad_arguments(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["selfcheck", *argv]) == 2
    assert capsys.readouterr().err.startswith("jetson_benchmark selfcheck: ")


@pytest.mark.slow
def test_quick_on_the_cpu_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sam2", reason="needs sam2")
    monkeypatch.setattr(selfcheck, "PATH", tmp_path / "selfcheck.json")
    # what others on this machine do to clocks and samplers is not this test's
    monkeypatch.setattr(cli, "GROUPS", tuple(group for group in cli.GROUPS if group != "clocks"))
    assert jetson_benchmark.main(["selfcheck", "--quick", "--device", "cpu", "--json", str(tmp_path / "found.json")]) == 0, (
        capsys.readouterr().out
    )
    checks = {one["check"]: one for one in json.loads((tmp_path / "found.json").read_text())["checks"]}
    assert checks["masks: float32 against recorded ones"]["status"] == "ok"
    assert checks["attention: math under float32"]["figures"]["kernels"].startswith("math:")
    assert checks["trouble: memory runs out and the run goes on"]["figures"]["status"] == {"hog": "oom", "next": "ok"}
    assert [one.passed for one in selfcheck.recall(tmp_path / "selfcheck.json")] == [True]
