"""Every command of README and docs is executed, on a generated split with tiny settings, or is listed here with the reason why not.

`/data/sav_val` is the generated split. `sam2_nano` and the baselines stand for models whose weights must be downloaded, and runs are cut to
one object of a few frames.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_docs import PAGES, commands
from video_files import write_video

from savbench.data.demo.split import generate_demo_split
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow

ROOT = Path(__file__).parents[1]
BENCHMARK = (".venv/bin/python", "jetson_benchmark.py")
STANDS_FOR = {
    **{
        f"sam2_{size}_{prompt}": f"sam2_nano_{prompt}"
        for size in ("tiny", "small", "base", "large")
        for prompt in ("points", "bbox", "mask")
    },
    "edgetam_points": "sam2_nano_bbox",
    "edgetam_mask": "flow_mask",
}
TINY = ("--limit_videos", "1", "--limit_objects", "1", "--max_frames", "9", "--warmup_frames", "0", "--device", "cpu", "--power", "none")
NOT_HERE = {
    r"make (demo|test|setup)": "installs packages from the network; tests/scripts/test_scripts_setup.py runs setup with a stand-in for pip",
    r"scripts/(download_weights|get_edgetam|get_sam2)\.sh.*": "downloads; tests/scripts serve the files from this machine",
    r"scripts/(offline_bundle|setup)\.sh.*": "downloads or installs; tests/scripts/test_scripts_offline.py does so from a folder",
    r"\./update_sam2_optional_cuda\.sh.*": "compiles CUDA code and installs it; tests/scripts/test_scripts_update.py builds a stand-in",
    r"sudo .*": "root on a Jetson; tests/scripts/test_board_scripts.py runs it on an emulated board",
    r"scripts/gpu_acceptance\.sh.*": "needs a GPU; tests/scripts/test_gpu_acceptance.py runs its steps with a stand-in",
    r"scripts/sweep\.sh.*": "many runs; tests/scripts/test_sweep.py runs it on a few frames",
    r".*jetson_benchmark\.py.* --executor ray.*": "a cluster; tests/supervise/test_ray_cluster.py starts one where Ray is installed",
    r".* --power csv:.*": "a meter that writes meanwhile; tests/board/test_power_meter.py stands for one",
    r".* -m savbench\.board\.power\.calibrate .*": "a run beside a meter; tests/board/test_power_calibrate.py has its readings",
    r".*jetson_benchmark\.py selfcheck.*": "minutes; tests/selfcheck runs it end to end",
    r".*jetson_benchmark\.py check-model template": "a model that the page adds; tests/integration/test_add_a_model.py executes the page",
    r".* --models template_mask.*": "as above",
    r".* --runtime .*": "an export of 20 s; tests/test_runtimes.py runs it with graphs that the tests share",
    r".*jetson_benchmark\.py export .*": "as above",
    r".*pip install -r requirements-onnx\.txt": "installs packages from the network; scripts/setup.sh does",
    r".* -m benchmarks\.\w+.*": "minutes, and writes into the documents; the tests of benchmarks run parts of it",
}
IS_NO_COMMAND = r"(sav_val/|arm |sam2_tiny_points |edgetam_points |plan: |to know |disk: |\d).*"
"""Trees of folders and what a command prints, in blocks of their own or below it."""


def shell_commands() -> list[tuple[str, str]]:
    """Page and command, once each, without a leading prompt."""
    found = [(page.name, " ".join(words).removeprefix("$ ")) for page in PAGES for words in commands(page)]
    return list(dict.fromkeys((page, line) for page, line in found if not re.fullmatch(IS_NO_COMMAND, line)))


def reason_not_to_run(line: str) -> str | None:
    return next((reason for pattern, reason in NOT_HERE.items() if re.fullmatch(pattern, line)), None)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a split, and with the runs that commands read."""
    pytest.importorskip("sam2", reason="needs sam2")
    folder = tmp_path_factory.mktemp("desk")
    generate_demo_split(folder / "sav_val", videos=1, frames=24, height=96, width=128)
    (folder / "sav_val" / "sav_demo.txt").rename(folder / "sav_val" / "sav_val.txt")
    arms = ("--models", "sam2_nano_mask", "--autocast_dtype", "float32,bfloat16")
    benchmark(folder, "--split_dir", "sav_val", *arms, *TINY, "--out_dir", "results/sweep")
    benchmark(folder, "--split_dir", "sav_val", "--models", "static_mask", *TINY, "--out_dir", "results/before")
    for name in ("results/after", "results/demo", "results/nano", "results/agx", "shard1", "shard2", "shard3", "shard4"):
        shutil.copytree(folder / "results" / "before", folder / name)
    shutil.copytree(folder / "results" / "sweep", folder / "results" / "run")
    benchmark(folder, "seal", "results/before", "-o", "orin-nano.zip")
    benchmark(folder, "seal", "results/sweep", "-o", "agx.zip")
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "walk.mp4", 12)
    mask_hw = np.zeros((48, 64), np.uint8)
    mask_hw[8:24, :8] = 255
    Image.fromarray(mask_hw).save(folder / "walk_1.png")
    (folder / "prompts.json").write_text('{"walk.mp4": {"1": {"mask": "walk_1.png"}}}')
    (folder / "board.toml").write_text('split_dir = "sav_val"\nautocast_dtype = "float32"\n')
    return folder


def benchmark(folder: Path, *arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
    """Run the benchmark in a folder. Returns what it printed."""
    words = [sys.executable, str(ROOT / "jetson_benchmark.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=folder, env=environment, timeout=600)
    assert done.returncode in allowed, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_a_command_that_is_not_run_has_a_reason_and_every_reason_a_command() -> None:
    lines = [line for _, line in shell_commands()]
    for line in lines:
        runs = line.startswith((" ".join(BENCHMARK), "cat "))
        assert runs or reason_not_to_run(line), f"{line}: say in {Path(__file__).name} how it is run here, or why not"
    used = {pattern for pattern in NOT_HERE if any(re.fullmatch(pattern, line) for line in lines)}
    assert set(NOT_HERE) - used <= {r"\./update_sam2_optional_cuda\.sh.*"}  # in the text of README.md, not in a block


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "line"),
    [(page, line) for page, line in shell_commands() if reason_not_to_run(line) is None],
    ids=lambda value: str(value)[-60:],
)
def test_a_command_of_the_documents_runs(desk: Path, page: str, line: str, tmp_path: Path) -> None:
    line = line.replace("/data/", "").replace("~/", "").replace("--split_dir demo_split", "--split_dir sav_val")
    line = re.sub(rf"\b({'|'.join(STANDS_FOR)})\b", lambda named: STANDS_FOR[named[0]], line)
    line = line.replace("results/choice", "results/sweep") if " compare " in line else line
    if not line.startswith(" ".join(BENCHMARK)):
        subprocess.run(["bash", "-euc", line], check=True, cwd=desk, timeout=60)
        assert (desk / line.split(" > ")[1]).stat().st_size
        return
    arguments = line.split()[len(BENCHMARK) :]
    is_run = arguments[0] == "run" or arguments[0].startswith("-")
    if arguments == ["--help"] or not is_run:
        if "--audit" in arguments:  # where something else runs meanwhile it may say no: not in the archive that others read
            arguments[arguments.index("-o") + 1] = str(tmp_path / "audited.zip")
        # 1: of the doctor on a machine without the weights of all models, of an audit
        said = benchmark(desk, *arguments, allowed=(0, 1) if arguments[0] == "doctor" or "--audit" in arguments else (0,))
        assert said
        if "-o" in arguments:
            assert (desk / arguments[arguments.index("-o") + 1]).stat().st_size
        return
    said = benchmark(desk, *arguments, *TINY, "--out_dir", str(tmp_path / "run"))
    if "--plan" in arguments:
        assert "frames" in said
        return
    rows = read_rows(SummaryRow, tmp_path / "run" / "summary.csv")
    assert rows
    assert {row.status for row in rows} == {"ok"}
