"""scripts/profile_nsys.sh, run for real with a profiler that writes down how it was called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_profiles_one_object_with_ranges_into_the_run_s_folder(desk: Desk) -> None:
    done = desk.run("profile_nsys.sh", "--split_dir", "/data/my split", "--models", "sam2_tiny_points", "--out_dir", "a run")
    assert (done.returncode, done.stderr) == (0, "")
    assert (desk.work / "a run/nsys/trace.nsys-rep").read_text(encoding="utf-8") == "trace\n"
    profiled, *options, ran = desk.calls()
    assert profiled == "nsys profile"
    assert "--trace=cuda,nvtx,osrt,cudnn,cublas" in options
    assert ran == (
        "jetson_benchmark.py [1] <--split_dir></data/my split><--models><sam2_tiny_points><--out_dir><a run>"
        "<--limit_videos><1><--limit_objects><1><--max_frames><40>"
    )
    assert "do not report them" in done.stdout


def test_what_the_user_asks_for_is_not_overruled(desk: Desk) -> None:
    done = desk.run("profile_nsys.sh", "--models=flow_mask", "--limit_videos=2", "--limit_objects", "3", "--max_frames", "9")
    assert done.returncode == 0
    arguments = desk.calls()[-1]
    assert arguments.count("--limit_videos") == arguments.count("--limit_objects") == arguments.count("--max_frames") == 1
    assert "<--out_dir><results/nsys_2" in arguments
    assert len(list(desk.work.glob("results/nsys_*/nsys/trace.nsys-rep"))) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "usage:"),
        (["--split_dir", "/data"], "name the model"),
        (["--models", "flow_mask,static_mask"], "--models flow_mask,static_mask makes several arms"),
        (["--models", "flow_mask", "--autocast_dtype=float16,bfloat16"], "--autocast_dtype float16,bfloat16 makes several arms"),
    ],
)
def test_profiling_several_arms_is_refused(desk: Desk, arguments: list[str], words: str) -> None:
    done = desk.run("profile_nsys.sh", *arguments)
    assert (done.returncode, words in done.stderr) == (2, True)
    assert desk.calls() == []


def test_a_run_that_is_there_is_not_profiled(desk: Desk) -> None:
    (desk.work / "run").mkdir()
    (desk.work / "run/run.json").write_text("{}", encoding="utf-8")
    done = desk.run("profile_nsys.sh", "--models", "flow_mask", "--out_dir", "run")
    assert (done.returncode, "has a run already" in done.stderr) == (2, True)


def test_profiling_passes_the_benchmark_s_status_on_and_misses_no_trace(desk: Desk) -> None:
    assert desk.run("profile_nsys.sh", "--models", "flow_mask", "--out_dir", "a", STATUS="1").returncode == 1
    lost = desk.run("profile_nsys.sh", "--models", "flow_mask", "--out_dir", "b", NO_TRACE="1")
    assert (lost.returncode, "nsys left no b/nsys/trace.nsys-rep" in lost.stderr) == (1, True)


def test_says_what_to_install_where_the_profiler_is_missing(desk: Desk) -> None:
    (desk.folder / "bin/nsys").unlink()
    if shutil.which("nsys") or list(Path("/").glob("opt/nvidia/nsight-systems*/*/bin/nsys")) or Path("/usr/local/cuda/bin/nsys").exists():
        pytest.skip("this machine has Nsight Systems")
    done = desk.run("profile_nsys.sh", "--models", "flow_mask")
    assert (done.returncode, "sudo apt install nsight-systems-" in done.stderr) == (1, True)
    named = desk.run("profile_nsys.sh", "--models", "flow_mask", NSYS="/nowhere/nsys")
    assert (named.returncode, "NSYS=/nowhere/nsys: there is no such program" in named.stderr) == (1, True)
    assert desk.calls() == []


def test_a_missing_environment_is_named(desk: Desk) -> None:
    done = desk.run("profile_nsys.sh", "--models", "flow_mask", PYTHON="/nowhere/python")
    assert (done.returncode, "/nowhere/python was not found; run 'make setup'" in done.stderr) == (1, True)
