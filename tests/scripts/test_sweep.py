"""scripts/sweep.sh with a program that stands for the benchmark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from desk import Desk, program


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def benchmark(arguments: str, *more: str) -> str:
    return f"jetson_benchmark.py <--split_dir></my split>{arguments}" + "".join(f"<{one}>" for one in more)


def test_sweeps_the_three_dtypes_and_compares_them(desk: Desk) -> None:
    done = desk.run("sweep.sh", "dtypes", "/my split", "sam2_tiny_mask", "--limit_videos", "2", "--out_dir", "a run")
    assert (done.returncode, done.stderr) == (0, "")
    dtypes = ("--autocast_dtype", "float32,float16,bfloat16")
    assert desk.calls() == [
        benchmark("<--models><sam2_tiny_mask><--limit_videos><2>", *dtypes, "--out_dir", "a run"),
        "jetson_benchmark.py <compare><a run><--by><autocast_dtype>",
    ]


def test_measures_once_and_simulates_every_rate(desk: Desk) -> None:
    done = desk.run("sweep.sh", "fps", "/my split", "flow_mask", "--rates", "12,24", "--limit_videos", "2", "--out_dir", "a run")
    assert (done.returncode, done.stderr) == (0, "")
    models = "<--models><flow_mask><--limit_videos><2><--out_dir>"
    simulated = ("--realtime_from", "a run/measured/frames.csv")
    assert desk.calls() == [
        benchmark(models, "a run/measured"),
        benchmark(models, "a run/sweep", "--realtime", "12", *simulated),
        benchmark(models, "a run/sweep", "--realtime", "24", *simulated),
        "jetson_benchmark.py <compare><a run/sweep><--force>",
        "plot_streaming.py <a run/sweep><--out><a run/streaming.svg>",
    ]


def test_keyframes_are_measured_once_and_simulated_at_every_rate_and_the_best_is_named(desk: Desk) -> None:
    given = ("flow_mask", "--camera_fps", "15,30", "--keyframe", "1,4:hold", "--limit_videos", "2", "--out_dir", "a run")
    done = desk.run("sweep.sh", "keyframes", "/my split", *given)
    assert (done.returncode, done.stderr) == (0, "")
    models = "<--models><flow_mask><--limit_videos><2><--keyframe><1,4:hold><--out_dir>"
    simulated = ("--realtime_from", "a run/measured/frames.csv")
    assert desk.calls() == [
        benchmark(models, "a run/measured"),
        benchmark(models, "a run/sweep", "--realtime", "15", *simulated),
        benchmark(models, "a run/sweep", "--realtime", "30", *simulated),
        "jetson_benchmark.py <compare><a run/sweep><--by><keyframe><--force>",
        "best_keyframe.py <a run/sweep>",
    ]


def test_keyframes_by_default_and_live(desk: Desk) -> None:
    assert desk.run("sweep.sh", "keyframes", "/data", "--live", "--out_dir=l").returncode == 0
    run, compared, _ = desk.calls()
    assert "<--models><sam2_tiny_mask,edgetam_mask><--keyframe><1,2,3,5,2:hold,3:hold,5:hold><--out_dir><l/sweep><--realtime><30>" in run
    assert compared == "jetson_benchmark.py <compare><l/sweep><--by><keyframe>"


def test_takes_the_latencies_of_another_board_or_none(desk: Desk) -> None:
    assert desk.run("sweep.sh", "fps", "/my split", "flow_mask", "--from=orin/frames.csv", "--rates=24", "--out_dir=o").returncode == 0
    assert desk.run("sweep.sh", "fps", "/my split", "flow_mask", "--live", "--rates", "23.976", "--out_dir", "l").returncode == 0
    models = "<--models><flow_mask><--out_dir>"
    assert [call for call in desk.calls() if "--models" in call] == [
        benchmark(models, "o/sweep", "--realtime", "24", "--realtime_from", "orin/frames.csv"),
        benchmark(models, "l/sweep", "--realtime", "23.976"),
    ]
    assert "jetson_benchmark.py <compare><l/sweep>" in desk.calls()


def test_models_rates_and_a_folder_by_default(desk: Desk) -> None:
    assert desk.run("sweep.sh", "dtypes", "/data").returncode == 0
    swept, compared = desk.calls()
    assert "<--models><sam2_tiny_points,edgetam_points>" in swept
    out_dir = swept.partition("<--out_dir>")[2]
    assert out_dir.startswith("<results/dtypes_2")
    assert f"<compare>{out_dir}" in compared

    assert desk.run("sweep.sh", "fps", "/data").returncode == 0
    calls = desk.calls()[2:]
    assert [re.findall(r"<--realtime><(\d+)>", call) for call in calls[1:-2]] == [["3"], ["6"], ["12"], ["24"], ["48"]]
    assert all("<--models><sam2_tiny_mask,edgetam_mask,static_mask>" in call for call in calls[:-2])
    assert re.search(r"<--out_dir><results/fps_2[^/]*/measured>", calls[0])


NANO = """\
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_5 1
< POWER_MODEL ID=1 NAME=25W >
CPU_ONLINE CORE_5 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
CPU_ONLINE CORE_5 1
< POWER_MODEL ID=3 NAME=7W >
CPU_ONLINE CORE_5 0
< PM_CONFIG DEFAULT=0 >
"""


@pytest.fixture
def board(desk: Desk) -> dict[str, str]:
    """Variables for scripts that shall find a Jetson; its programs write down how they were called."""
    files = desk.folder / "board"
    for path, text in {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n", "etc/nvpmodel.conf": NANO, "mode": "1\n"}.items():
        (files / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).write_text(text, encoding="utf-8")
    gpu = files / "sys/class/devfreq/17000000.gpu"
    gpu.mkdir(parents=True)
    for name in ("min_freq", "max_freq"):
        (gpu / name).write_text("900000000\n", encoding="utf-8")
    mode = (
        'case $1 in\n-q) echo "NV Power Mode: x"; cat "$BOARD/mode" ;;\n'
        '-m) [[ $2 == "${REFUSED-}" ]] || echo "$2" >"$BOARD/mode"; echo "mode $2" >>"$LOG" ;;\nesac\n'
    )
    program(desk.folder / "bin/nvpmodel", mode)
    program(desk.folder / "bin/jetson_clocks", '[[ ${1-} != --store ]] || echo clocks >"$2"\n')
    program(desk.folder / "bin/systemctl", "echo inactive\n")
    program(desk.folder / "bin/id", "echo ${TEST_UID-0}\n")
    program(desk.folder / "bin/sudo", 'echo "as $2" >>"$LOG"; shift 4; exec "$@"\n')
    return {"BOARD": str(files), "LOCK_CLOCKS_ROOT": str(files), "LOCK_CLOCKS_STATE": str(desk.folder / "state")}


def test_runs_once_in_every_power_mode_and_restores_the_first(desk: Desk, board: dict[str, str]) -> None:
    done = desk.run("sweep.sh", "power", "/my split", "flow_mask", "--limit_videos", "2", "--out_dir", "a run", **board)
    assert (done.returncode, done.stderr) == (0, "")
    models = "<--models><flow_mask><--limit_videos><2>"
    assert desk.calls() == [
        "mode 0", benchmark(models, "--out_dir", "a run/15W"),
        "mode 1", benchmark(models, "--out_dir", "a run/25W"),
        "mode 2", benchmark(models, "--out_dir", "a run/MAXN_SUPER"),
        "jetson_benchmark.py <compare><a run/15W><a run/25W><a run/MAXN_SUPER><--by><nvpmodel>",
        "jetson_benchmark.py <report><a run/15W><a run/25W><a run/MAXN_SUPER><-o><a run/report.html>",
        "mode 1",
    ]  # fmt: skip
    assert "left out, because the board probably has to reboot for them: 7W" in done.stdout
    assert (desk.folder / "board/mode").read_text() == "1\n"


def test_the_models_run_as_the_user_who_gave_the_command(desk: Desk, board: dict[str, str]) -> None:
    assert desk.run("sweep.sh", "power", "/s", "flow_mask", "--modes=max", "--out_dir", "o", SUDO_USER="me", **board).returncode == 0
    calls = desk.calls()
    assert calls[0] == "mode 2"
    assert [calls[number - 1] for number, call in enumerate(calls) if call.startswith("jetson_benchmark.py")] == ["as me"] * 3


def test_a_mode_that_the_board_refuses_is_left_out_and_said(desk: Desk, board: dict[str, str]) -> None:
    done = desk.run("sweep.sh", "power", "/s", "flow_mask", "--modes", "15W,25W,9W", "--out_dir", "o", REFUSED="0", **board)
    assert (done.returncode, "power mode 15W is left out" in done.stdout, "there is no power mode 9W" in done.stderr) == (1, True, True)
    assert "jetson_benchmark.py <compare><o/25W><--by><nvpmodel>" in desk.calls()


def test_power_modes_need_a_jetson_and_root(desk: Desk, board: dict[str, str]) -> None:
    as_user = desk.run("sweep.sh", "power", "/s", **board, TEST_UID="1000")
    assert (as_user.returncode, "run this with sudo" in as_user.stderr) == (1, True)
    elsewhere = desk.run("sweep.sh", "power", "/s", LOCK_CLOCKS_ROOT=str(desk.work))
    assert (elsewhere.returncode, "this is not a Jetson" in elsewhere.stderr, desk.calls()) == (1, True, [])


@pytest.mark.parametrize(("sweep", "all_calls"), [(("dtypes", "/s"), 2), (("fps", "/s", "--rates", "24"), 4)])
@pytest.mark.parametrize("status", [1, 2, 130])
def test_failed_rows_are_a_result_and_a_run_that_did_not_happen_is_none(
    desk: Desk, sweep: tuple[str, ...], status: int, all_calls: int
) -> None:
    earlier = desk.work / "run/summary.csv"
    earlier.parent.mkdir()
    earlier.write_text("a row of an earlier start\n", encoding="utf-8")
    done = desk.run("sweep.sh", *sweep, "--out_dir", "run", STATUS=str(status))
    assert (done.returncode, len(desk.calls())) == (status, all_calls if status == 1 else 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the sweep first"),
        (["/s"], "name the sweep first"),
        (["dtypes"], "name the folder of the split"),
        (["fps"], "name the folder of the split"),
        (["dtypes", "--limit_videos", "2"], "name the folder"),
        (["dtypes", "/s", "--models", "x"], "--models is set by"),
        (["dtypes", "/s", "--autocast_dtype=float16"], "--autocast_dtype is set by"),
        (["fps", "/s", "--realtime", "24"], "--realtime is set by this script"),
        (["fps", "/s", "--rates", "24,fast"], "fast is not a number"),
        (["fps", "/s", "--rates"], "--rates needs a value"),
        (["keyframes", "/s", "--realtime", "24"], "--realtime is set by this script"),
        (["keyframes", "/s", "--camera_fps", "fast"], "--camera_fps: fast is not a number"),
        (["dtypes", "/s", "--out_dir"], "--out_dir needs a value"),
        (["fps", "/s", "--live", "--from", "f"], "give one of them"),
        (["power", "/s", "--modes"], "--modes needs a value"),
    ],
)
def test_wrong_usage_ends_with_2(desk: Desk, arguments: list[str], words: str) -> None:
    done = desk.run("sweep.sh", *arguments)
    assert (done.returncode, words in done.stderr, desk.calls()) == (2, True, [])


def test_each_sweep_passes_on_what_the_other_one_sets(desk: Desk) -> None:
    assert desk.run("sweep.sh", "dtypes", "/my split", "flow_mask", "--realtime", "24", "--out_dir", "d").returncode == 0
    assert (
        desk.run("sweep.sh", "fps", "/my split", "flow_mask", "--autocast_dtype", "float16", "--from", "f", "--rates", "3").returncode == 0
    )
    swept = [call for call in desk.calls() if "--models" in call]
    assert "<--realtime><24>" in swept[0]
    assert "<--autocast_dtype><float16>" in swept[1]


@pytest.mark.parametrize("sweep", ["dtypes", "fps"])
def test_a_sweep_that_wrote_nothing_is_not_compared(desk: Desk, sweep: str) -> None:
    program(desk.folder / "bin/python", 'echo "$@" >>"$LOG"; exit 1\n')
    done = desk.run("sweep.sh", sweep, "/data", *(["--rates", "24", "--live"] if sweep == "fps" else []))
    assert (done.returncode, len(desk.calls())) == (1, 1)


def test_a_missing_environment_is_named(desk: Desk) -> None:
    done = desk.run("sweep.sh", "dtypes", "/data", PYTHON="/nowhere/python")
    assert (done.returncode, "/nowhere/python was not found; run 'make setup'" in done.stderr) == (1, True)
