"""The command line as a user meets it, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_split import TinySplit

from savbench.results.csv_rows import read_rows
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow

ROOT = Path(__file__).parents[1]


def command(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jetson_benchmark.py"), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        timeout=300,
    )


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys, contextlib, jetson_benchmark\n"
        "with contextlib.suppress(SystemExit): jetson_benchmark.main(['--help'])\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'cv2', 'PIL', 'tqdm'} & set(sys.modules)))\n"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert said.splitlines()[-1] == "[]"
    assert "--autocast_dtype" in said


def test_the_supervisor_never_loads_torch(tiny_split: TinySplit, tmp_path: Path) -> None:
    script = (
        "import sys, jetson_benchmark\n"
        "jetson_benchmark.main(['--split_dir', sys.argv[1], '--models', 'static_mask', '--out_dir', sys.argv[2]])\n"
        "print('torch' in sys.modules)\n"
    )
    run = [sys.executable, "-c", script, str(tiny_split.root), str(tmp_path / "run")]
    said = subprocess.run(run, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert said.splitlines()[-1] == "False"
    assert "3 of 3 rows" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "static_mask", "--split_dir", "/nowhere"], "/nowhere: no such folder"),
        (["--models", "sam9_mask"], "?; known are sam2_nano_points"),
        (["--models", "static_mask", "--autocast_dtype", "float8"], "--autocast_dtype float8: use float32, float16 or bfloat16"),
        (["--models", "static_mask", "--imgsz", "big"], "big: give a whole number of pixels, for example 16"),
        (["--models", "static_mask", "--split_name", "other"], "--split_name can be sav_tiny"),
        (["--models", "sam2_tiny_mask", "--weights_dir", "/nowhere"], "sam2.1_hiera_tiny.pt is not in /nowhere"),
        (["--models", "static_mask", "--sam2_dir", "/nowhere"], "has no sam2 package"),
        (["--models", "static_mask", "--out_dir", "/dev/null/run"], "give a folder that can be written"),
        (["--models", ""], "--models '': the list is empty; name at least one"),
        (["--weights_dir", "/nowhere"], "fetch them with `scripts/download_weights.sh sam2_tiny sam2_small sam2_base sam2_large edgetam`"),
        (["--models", "static_mask", "--timeout", "inf"], "--timeout inf: use 0.1 to 86400 seconds"),
        (["--models", "static_mask", "--device", "gpu"], "--device gpu: use auto, cpu, cuda, or cuda:N"),
        (["--models", "static_mask", "--split_dir", "~nobody-of-that-name/x"], "there is no such home folder"),
    ],
)
def test_bad_arguments_end_with_2_and_say_what_to_give(tiny_split: TinySplit, tmp_path: Path, arguments: list[str], message: str) -> None:
    if "--split_dir" not in arguments:
        arguments = ["--split_dir", str(tiny_split.root), *arguments]
    if "--out_dir" not in arguments:
        arguments = ["--out_dir", str(tmp_path / "run"), *arguments]
    done = command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_without_models_those_run_whose_weights_are_found(tiny_split: TinySplit, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch")
    (tmp_path / "edgetam.pt").write_bytes(b"no weights at all")
    done = command(
        "--split_dir", tiny_split.root, "--autocast_dtype", "bfloat16", "--weights_dir", tmp_path, "--limit_videos", "1",
        "--limit_objects", "1", "--out_dir", tmp_path / "run",
    )  # fmt: skip
    assert done.stdout.startswith(
        "no --models: running edgetam with points; not sam2_tiny, sam2_small, sam2_base, sam2_large, whose weights"
    )
    (row,) = read_rows(SummaryRow, tmp_path / "run" / "summary.csv")
    assert (done.returncode, row.model, row.prompt, row.autocast_dtype, row.status) == (1, "edgetam", "points", "bfloat16", "error")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split_dir", "{split}", "--models", "static_mask"], "the current folder is gone"),
        (["--split_dir", "here", "--models", "static_mask"], "the current folder is gone"),
        (["compare", "run"], "the current folder is gone"),
        (["report", "run"], "No such file or directory"),
        (["validate", "run"], "no such folder"),
        (["attention", "--models", "sam2_nano"], "cannot be written"),
    ],
)
def test_a_current_folder_that_is_gone_is_one_line(tiny_split: TinySplit, tmp_path: Path, arguments: list[str], said: str) -> None:
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import jetson_benchmark\n"
        "os.mkdir(sys.argv[2]); os.chdir(sys.argv[2]); os.rmdir(sys.argv[2])\n"
        "sys.exit(jetson_benchmark.main(sys.argv[3:]))\n"
    )
    arguments = [argument.format(split=tiny_split.root) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), str(tmp_path / "gone"), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_names_that_the_locale_cannot_write_are_run_and_shown(tiny_split: TinySplit, tmp_path: Path) -> None:
    split = tiny_split.root
    for folder in ("JPEGImages_24fps", "Annotations_6fps"):
        (split / folder / "beta").rename(split / folder / "bêta \u00a0写")
    (split / "sav_tiny.txt").write_text("bêta \u00a0写\n", encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    run = tmp_path / "rün"
    assert command("--split_dir", split, "--models", "static_mask", "--out_dir", run, **plain).returncode == 0
    assert [row.video for row in read_rows(SummaryRow, run / "summary.csv")] == ["bêta \u00a0写"]
    for arguments in (
        # forced: another program may have been at work here
        ("compare", run, run, "--force"),
        ("validate", run),
        ("report", run, "--out", tmp_path / "ü.html"),
        ("report", run, "--out", tmp_path / "ü.md"),
    ):
        done = command(*arguments, **plain)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["summary.csv", "telemetry.csv", "logs", "run.json", "config.toml", "environment.json", ".lock"])
def test_what_stands_in_the_way_is_one_line_and_bad_arguments(tiny_split: TinySplit, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    arguments = ("--split_dir", tiny_split.root, "--models", "static_mask", "--limit_videos", "1", "--out_dir", run)
    if name == "logs":
        run.mkdir()
        (run / name).write_text("")
    else:
        (run / name).mkdir(parents=True)
    done = command(*arguments)
    assert done.returncode == (0 if name == "telemetry.csv" and "none" in done.stdout else 2), done.stderr
    assert "Traceback" not in done.stderr


def test_it_runs_from_any_folder_with_relative_paths(tiny_split: TinySplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("--split_dir", tiny_split.root.name, "--models", "static_mask", "--out_dir", "run", "--save_overlays", "--save_masks")
    assert done.returncode == 0, done.stderr
    rows = read_rows(SummaryRow, tmp_path / "run" / "summary.csv")
    assert [(row.video, row.object, row.prompt_frame) for row in rows] == [("alpha", "000", 0), ("alpha", "001", 4), ("beta", "000", 0)]
    assert all((tmp_path / "run" / row.overlay).stat().st_size > 0 for row in rows)
    masks = tmp_path / "run" / "masks" / rows[0].arm_id
    assert sorted(path.name for path in (masks / "alpha" / "001").iterdir()) == [f"{i:05d}.png" for i in (0, 4, 8, 12)]


def test_without_out_dir_the_same_command_goes_on_in_its_folder(
    tiny_split: TinySplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("--split_dir", tiny_split.root, "--models", "static_mask")
    assert command(*arguments).returncode == 0
    assert command(*arguments).returncode == 0
    finished = list((tmp_path / "results").iterdir())
    assert len(finished) == 2  # a finished run is not gone on with
    run = json.loads((finished[0] / "run.json").read_text())
    (finished[0] / "run.json").write_text(json.dumps({**run, "complete": False}))
    assert "continuing the run" in command(*arguments).stdout
    assert len(list((tmp_path / "results").iterdir())) == 2


def test_demo_data_makes_a_split_that_runs(tmp_path: Path) -> None:
    small = ("--videos", "1", "--frames", "24", "--height", "96", "--width", "128")
    assert command("demo-data", tmp_path / "demo", *small).returncode == 0
    done = command("--split_dir", tmp_path / "demo", "--models", "static_mask,flow_mask", "--out_dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert len(read_rows(SummaryRow, tmp_path / "run" / "summary.csv")) == 8
    assert command("demo-data", tmp_path / "demo", "--videos", "0").returncode == 2


def test_a_learned_model_end_to_end(tiny_split: TinySplit, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sam2", reason="needs the sam2 package")
    done = command(
        "--split_dir", tiny_split.root, "--models", "sam2_tiny_points", "--autocast_dtype", "float32,bfloat16",
        "--imgsz", "64", "--random_weights", "--device", "cpu", "--limit_videos", "1", "--warmup_frames", "2", "--max_frames", "9",
        "--out_dir", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + "".join(path.read_text() for path in (tmp_path / "run" / "logs").iterdir())
    rows = read_rows(SummaryRow, tmp_path / "run" / "summary.csv")
    assert [(row.prompt, row.autocast_dtype, row.object) for row in rows] == [
        ("points", dtype, name) for dtype in ("float32", "bfloat16") for name in ("000", "001")
    ]
    for row in rows:
        assert (row.status, row.imgsz, row.device, row.weights, row.attention) == ("ok", 64, "cpu", "random", "auto")
        assert row.frames == (8 if row.object == "000" else 4)
        assert row.nonfinite_frames == 0
        assert row.latency_ms is not None
        assert row.latency_ms == pytest.approx(sum(row.parts_ms.values()), rel=1e-9)
        assert (row.build_ms or 0) > 0
        assert (row.warmup_ms or 0) > 0
        assert (row.cpu_peak_rss_MiB or 0) > 100
        assert row.gpu_peak_alloc_MiB is None
        assert row.torch_version
        assert row.setup_ms == pytest.approx((row.init_ms or 0) + (row.first_frame_ms or 0))
    assert len(read_rows(FrameRow, tmp_path / "run" / "frames.csv")) == 2 * (8 + 4)
    workers = json.loads((tmp_path / "run" / "environment.json").read_text())["invocations"][0]["workers"]
    assert set(workers) == {row.arm_id for row in rows}
    assert "untrained weights" in done.stdout


@pytest.mark.parametrize(
    ("model", "imgsz", "remedy"),
    [
        ("edgetam", 640, "use 256, 512, 768 or 1024"),
        ("sam2_nano", 63, "use a multiple of 32, for example 64"),
        ("sam1_base", 100, "use a multiple of 16, for example 96"),
    ],
)
def test_a_size_that_a_model_cannot_run_is_refused_before_anything_starts(
    tiny_split: TinySplit, tmp_path: Path, model: str, imgsz: int, remedy: str
) -> None:
    out_dir = tmp_path / "run"
    arguments = ("--models", f"{model}_mask", "--imgsz", f"{imgsz}", "--random_weights", "--out_dir", out_dir)
    done = command("--split_dir", tiny_split.root, *arguments)
    assert done.returncode == 2
    assert f"{imgsz} is not a size it can run; {remedy}" in done.stderr
    assert not out_dir.exists()
