"""Every benchmark of the benchmark's own parts runs to its end and prints a table."""

from __future__ import annotations

import importlib
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import run_all

NEEDS_NO_TORCH = ["append", "harness", "metrics", "planning", "scoring", "startup"]
QUICK_WITH_TORCH = ["attention", "families", "pauses", "relative_position", "resize", "sessions", "stages"]


def quick_run(name: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    """Cells of the rows of the table that a quick run prints."""
    module = importlib.import_module(f"benchmarks.bench_{name}")
    assert module.main(["--quick", *arguments]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    head, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert all(re.fullmatch(r"-+:?", cell) for cell in rule)
    assert rows
    assert all(len(row) == len(head) for row in rows)
    return rows


@pytest.mark.parametrize("name", NEEDS_NO_TORCH)
def test_a_quick_run_prints_a_table(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    quick_run(name, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", QUICK_WITH_TORCH)
def test_a_quick_run_with_torch_prints_a_table(name: str, one_torch_thread: None, capsys: pytest.CaptureFixture[str]) -> None:
    if name in ("families", "pauses", "sessions", "stages"):
        pytest.importorskip("sam2", reason="needs sam2")
    quick_run(name, capsys)


@pytest.mark.slow
def test_a_quick_run_of_graphs_prints_a_table(exported_dir: Path, one_torch_thread: None, capsys: pytest.CaptureFixture[str]) -> None:
    quick_run("runtimes", capsys, "--exported_dir", str(exported_dir))


def test_families_are_measured_once_and_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    families = importlib.import_module("benchmarks.bench_families")
    assert list(families.arms(["edgetam", "sam3", "cutie"], [512, 520])) == [
        ("edgetam", 512),
        ("sam3", 504),
        ("sam3", 518),
        ("cutie", 512),
        ("cutie", 512),
    ]
    asked: list[tuple[str, int]] = []

    def run(model: str, imgsz: int) -> dict[str, object]:
        asked.append((model, imgsz))
        if model == "sam3":
            return {"model": model, "imgsz": imgsz, "error": "no such package"}
        facts = {
            "implementation": "x 1.0",
            "parameters": 2_000_000,
            "peak_rss_mib": 700.0,
            "remembered_mib": 0.5,
            "machine": "a board, load 3.2",
        }
        return {"model": model, "imgsz": imgsz, "stages_ms": {"image_encoder": 30.0, "other": 2.0}, **facts}

    monkeypatch.setattr(families, "run", run)
    arguments = ["--imgsz", "512", "--cache", str(tmp_path / "cache.jsonl"), "-o", str(tmp_path / "page.md"), "--models"]
    assert families.main([*arguments, "cutie"]) == 0
    assert families.main([*arguments, "cutie,sam3"]) == 1
    assert families.main([*arguments, "cutie,sam3,edgetam", "--cached"]) == 0
    assert asked == [("cutie", 512), ("sam3", 504)]
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| cutie | x 1.0 | 512 | 2.0 | 32 | 30 |  |  |  |  |  | 2 | 700 | 0.50 |" in page
    assert "a board, beside other programs (load 3 to 3)." in page
    assert "- not run yet: sam3 at 504, edgetam at 512" in page
    assert "- no such package: sam3 at 504" in capsys.readouterr().out


def test_every_benchmark_of_the_folder_is_among_all() -> None:
    folder = Path(run_all.__file__).parent
    assert {path.name for path in folder.glob("bench_*.py")} == {benchmark.script for benchmark in run_all.BENCHMARKS}


def test_what_is_run_is_written_with_its_command_and_a_failure_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "RESULTS.md"
    missing = run_all.Benchmark("No such", "bench_missing.py", "Fails.", needs_torch=False)
    monkeypatch.setattr(run_all, "BENCHMARKS", (*run_all.BENCHMARKS, missing))
    assert run_all.main(["--quick", "--only", "append,missing", "-o", str(out)]) == 1
    written = out.read_text(encoding="utf-8")
    assert "A quick run: the numbers mean nothing." in written
    assert "`.venv/bin/python benchmarks/bench_append.py --quick`\n\n" in written
    assert "`.venv/bin/python benchmarks/bench_missing.py --quick` failed with exit status 2: " in written
    assert written.index("## Writing results") < written.index("## No such")


def test_calls_take_turns_and_their_ratio_is_taken_within_a_round() -> None:
    common = importlib.import_module("benchmarks.common")
    order: list[str] = []
    load = iter([1.0, 1.0, 10.0, 10.0, 1.0, 1.0])

    def call(name: str, ms: float) -> float:
        order.append(name)
        return ms * next(load)

    samples = common.take_turns({"slow": lambda: call("slow", 3.0), "fast": lambda: call("fast", 2.0)}, 3)
    assert order == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert common.ratio(samples, "slow", "fast") == 1.5


@pytest.mark.parametrize("model", ["sam2_nano", "edgetam"])
def test_upstream_s_own_loop_computes_what_ours_does(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_torch_thread: None
) -> None:
    for package in ("sam2", "timm", "transformers"):
        pytest.importorskip(package, reason=f"needs {package}")
    torch = pytest.importorskip("torch", reason="needs torch")
    gpu_acceptance = importlib.import_module("benchmarks.gpu_acceptance")
    recorded = importlib.import_module("savbench.selfcheck.recorded")
    recorded.write_split(recorded.load(), tmp_path, {"clip": gpu_acceptance.SCALE})
    pair = gpu_acceptance.Pair(model, tmp_path / "JPEGImages_24fps" / "clip", "cpu", 256, "float32", 6)
    tracked: list[np.ndarray] = []
    kind = type(pair.runner)
    original = kind.track

    def track(*arguments: object) -> object:
        tracked.append(original(*arguments))
        return tracked[-1]

    monkeypatch.setattr(kind, "track", track)
    assert {name: len(samples) for name, samples in pair.ours().items()} == {"latency": 2, "model": 2}
    assert {name: len(samples) for name, samples in pair.upstreams().items()} == {"step": 2, "masks": 2}
    with torch.inference_mode():
        theirs = [(logits_n1hw[0, 0] > 0).numpy() for logits_n1hw in itertools.islice(pair.loop(), 6)]
    # transformers keeps memories in float32 where ours are rounded
    assert np.mean([ours_nhw[0] == mask_hw for ours_nhw, mask_hw in zip(tracked, theirs[1:], strict=True)]) > 0.999
    assert any(mask_hw.any() for mask_hw in theirs)


def test_the_acceptance_names_what_takes_longer_than_upstream() -> None:
    pytest.importorskip("torch", reason="needs torch")
    gpu_acceptance = importlib.import_module("benchmarks.gpu_acceptance")
    found = [
        {"model": "sam2_tiny", "model_to_step": 1.02, "latency_to_masks": 1.2},
        {"model": "edgetam", "model_to_step": 1.04, "latency_to_masks": 1.05},
        {"model": "sam2_large", "error": "OutOfMemoryError"},
    ]
    assert list(gpu_acceptance.beyond_limits(found)) == [
        "sam2_tiny: latency_to_masks is 1.200, above 1.10",
        "edgetam: model_to_step is 1.040, above 1.03",
    ]
