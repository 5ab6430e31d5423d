"""scripts/setup.sh, run for real against hand-made packages: what a registry offers, what a board already has, and what goes wrong."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from setup_machine import Machine, torch_module

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def test_makes_an_environment_once_and_again_only_when_something_changed(machine: Machine) -> None:
    first = machine.set_up()
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"torch 2.9.0, CUDA 12.6, GPU usable: True, in {machine.venv}/" in first.stdout
    assert [machine.installed(name) for name in ("torch", "torchvision", "numpy", "sam2")] == ["2.9.0", "0.24.0", "2.4.0", "1.1.0"]

    assert machine.set_up().stdout == f"setup: {machine.venv} is up to date\n"

    machine.offer("extra", "1.0")
    machine.require("torch", "torchvision", "numpy", "extra", dev=("devtool",), ray=("ray",))
    assert machine.set_up().returncode == 0
    assert machine.installed("extra") == "1.0"

    machine.offer("devtool", "1.0")
    assert machine.set_up("--dev").returncode == 0
    assert machine.installed("devtool") == "1.0"
    assert "up to date" in machine.set_up().stdout
    assert "up to date" in machine.set_up("--dev").stdout

    machine.offer("ray", "2.40")
    assert machine.set_up("--ray").returncode == 0
    assert machine.installed("ray") == "2.40"
    assert "up to date" in machine.set_up("--dev").stdout
    assert "up to date" in machine.set_up("--dev", "--ray").stdout


def test_minimal_leaves_the_extras_out_until_they_are_asked_for(fresh_machine: Machine) -> None:
    for name in ("reporter", "encoder", "graphs", "devtool"):
        fresh_machine.offer(name, "1.0")
    fresh_machine.require("torch", "torchvision", "numpy", dev=("devtool",))
    for extra, package in (("report", "reporter"), ("edgetam", "encoder"), ("onnx", "graphs")):
        (fresh_machine.clone / f"requirements-{extra}.txt").write_text(f"{package}\n", encoding="utf-8")
    assert fresh_machine.set_up("--minimal").returncode == 0
    assert [fresh_machine.installed(name) for name in ("reporter", "encoder", "graphs", "numpy")] == [None, None, None, "2.4.0"]
    assert "up to date" in fresh_machine.set_up("--minimal").stdout

    assert fresh_machine.set_up().returncode == 0
    assert [fresh_machine.installed(name) for name in ("reporter", "encoder", "graphs")] == ["1.0", "1.0", "1.0"]
    assert "up to date" in fresh_machine.set_up("--minimal").stdout  # what is installed stays wanted
    assert "up to date" in fresh_machine.set_up().stdout


def test_an_environment_that_no_longer_runs_is_made_anew(fresh_machine: Machine) -> None:
    for python in (fresh_machine.venv / "bin").glob("python*"):
        python.unlink()
    (fresh_machine.venv / "bin" / "python").symlink_to("/nowhere/python3")
    done = fresh_machine.set_up_core()
    assert (done.returncode, "making" in done.stdout) == (0, True), done.stderr


def test_offline_says_what_to_do_and_can_be_repeated(fresh_machine: Machine) -> None:
    wheels = fresh_machine.registry.rename(fresh_machine.registry.with_name("elsewhere"))
    fresh_machine.registry.mkdir()
    done = fresh_machine.set_up()
    assert done.returncode == 1
    assert "this machine is offline" in done.stderr
    assert "scripts/setup.sh --offline DIR" in done.stderr
    assert not fresh_machine.is_ready
    assert fresh_machine.set_up_core(PIP_FIND_LINKS=wheels.as_uri()).returncode == 0


def test_a_registry_out_of_reach_is_told_as_offline(fresh_machine: Machine) -> None:
    done = fresh_machine.set_up(PIP_NO_INDEX="", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_FIND_LINKS="", PIP_RETRIES="0")
    assert (done.returncode, "this machine is offline" in done.stderr) == (1, True)


def test_asks_for_disk_before_anything_is_made(machine: Machine) -> None:
    done = machine.set_up(SETUP_MIN_FREE_MIB="999999999")
    assert done.returncode == 1
    assert "needs 999999999 MiB free" in done.stderr
    assert "TMPDIR" in done.stderr
    assert not machine.venv.exists()


def fake_python(folder: Path, refuses: str) -> Path:
    """An interpreter that says no to code with `refuses` in it, and is this one otherwise."""
    folder.mkdir(exist_ok=True)
    script = folder / "python3"
    script.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && { echo Python 3.8.18; exit 0; }\n'
        f'case "$*" in *"{refuses}"*) exit 1;; *"sys.executable if own"*) echo "$0"; exit 0;; esac\n'
        f'exec "{sys.executable}" "$@"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    return script


def test_refuses_an_old_python(machine: Machine, tmp_path: Path) -> None:
    old = fake_python(tmp_path / "old python", "version_info")
    named = machine.set_up(python=old)
    assert named.returncode == 1
    assert "needs Python 3.10 or newer, this is Python 3.8.18" in named.stderr
    # No newer one under another name: the tools that setup.sh uses, and nothing else.
    for tool in ("bash", "env", "dirname", "cat", "cut", "grep", "sha256sum", "stat", "rm", "mktemp", "ls"):
        (old.parent / tool).symlink_to(str(shutil.which(tool)))
    searched = machine.set_up(python=None, PATH=str(old.parent))
    assert searched.returncode == 1
    assert "python3 here is: Python 3.8.18" in searched.stderr
    assert not machine.venv.exists()


def test_names_the_missing_venv_module(machine: Machine, tmp_path: Path) -> None:
    done = machine.set_up(python=fake_python(tmp_path / "debian", "ensurepip"))
    assert (done.returncode, "apt install python3-venv" in done.stderr) == (1, True)


def test_leaves_a_folder_alone_that_is_no_environment(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    done = machine.set_up("--venv", str(tmp_path / "photos"))
    assert (done.returncode, "is not a virtual environment" in done.stderr) == (1, True)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--fast"], "unknown argument --fast"), (["--venv"], "--venv needs a value"), (["--torch", "mine"], "use auto, system or registry")],
)
def test_wrong_usage_ends_with_2(machine: Machine, arguments: list[str], words: str) -> None:
    done = machine.set_up(*arguments, python=None)
    assert (done.returncode, words in done.stderr) == (2, True)


def test_refuses_another_sam2_than_the_pinned_one(fresh_machine: Machine) -> None:
    fresh_machine.offer("sam2", "1.1.0", {"sam2": "surprise = True"})
    done = fresh_machine.set_up_core()
    assert done.returncode == 1
    assert "installing sam2 failed" in done.stderr
    assert "offline" not in done.stderr
    assert fresh_machine.installed("sam2") is None
    assert not fresh_machine.is_ready


def test_leaves_an_installed_sam2_checkout_in_place(fresh_machine: Machine) -> None:
    fresh_machine.offer("SAM_2", "1.0", {"sam2": ""})
    fresh_machine.require("torch", "torchvision", "numpy", "SAM-2")
    done = fresh_machine.set_up_core()
    assert (done.returncode, "keeping the installed SAM-2 checkout" in done.stdout) == (0, True), done.stderr
    assert fresh_machine.installed("sam2") is None


def test_keeps_the_board_s_torch_and_numpy_generation(board: Machine) -> None:
    # As transformers[torch] does: newer ones ask for a newer torch.
    board.offer("friend", "1.0", requires=("torch>=2.4",))
    board.offer("friend", "2.0", requires=("torch>=2.6",))
    board.offer("table", "1.0", requires=("numpy>=1.26",))
    board.require("torch>=2.5.0a0", "torchvision>=0.20.0a0", "numpy", "friend", "table")
    done = board.set_up_core("--torch", "system")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"keeping torch 2.5.0a0+nv24.08, CUDA 12.6, GPU usable: True, in {board.user_base}/" in done.stdout
    assert [board.installed(name) for name in ("torch", "torchvision", "friend", "numpy")] == [None, None, "1.0", "1.26.4"]
    assert "up to date" in board.set_up_core("--torch", "system").stdout

    board.have("torch", "2.5.0a0+nv24.8", torch_module("2.5.0a0+nv24.08") + "# rebuilt")
    shutil.rmtree(next(board.user_base.rglob("torch-*.dist-info")))
    board.have("torch", "2.8.0", torch_module("2.8.0"))
    after_upgrade = board.set_up_core("--torch", "system")
    assert (after_upgrade.returncode, "keeping torch 2.8.0" in after_upgrade.stdout) == (0, True)
    assert board.installed("friend") == "1.0"


def test_fails_rather_than_replace_the_board_s_torch(board: Machine) -> None:
    board.require("torch>=2.6", "torchvision", "numpy")
    done = board.set_up("--torch", "system")
    assert done.returncode == 1
    assert "torch must stay as named after 'keeping'" in done.stderr
    assert board.installed("torch") is None
    assert not board.is_ready


def test_fails_loudly_where_a_package_smuggled_in_its_own_torch(board: Machine) -> None:
    board.offer("greedy", "1.0", {"greedy": "", "torch": torch_module("2.9.0+cpu")})
    board.require("torch>=2.5.0a0", "torchvision>=0.20.0a0", "numpy", "greedy")
    for _ in range(2):
        done = board.set_up_core("--torch", "system")
        assert done.returncode == 1
        assert "TORCH HAS CHANGED" in done.stderr
        assert "before: torch 2.5.0a0+nv24.08" in done.stderr
        assert "after:  torch 2.9.0+cpu" in done.stderr
        assert not board.is_ready


def test_fails_where_torch_and_numpy_do_not_work_together(board: Machine) -> None:
    board.have("torch", "2.5.0a0+nv24.8", torch_module("2.5.0a0+nv24.08", takes_numpy=False))
    board.require("torch>=2.5.0a0", "torchvision>=0.20.0a0", "numpy")
    done = board.set_up_core("--torch", "system")
    assert done.returncode == 1
    assert "Numpy is not available" in done.stderr
    assert "torch and NumPy do not work together" in done.stderr
    assert not board.is_ready


def test_warns_where_the_board_s_torch_cannot_use_its_gpu(board: Machine) -> None:
    assert "WARNING" not in board.set_up_core("--torch", "system").stdout
    board.have("torch", "2.5.0", torch_module("2.5.0+cpu", gpu=False))
    shutil.rmtree(next(board.user_base.rglob("torch-2.5.0a0*.dist-info")))
    done = board.set_up_core("--torch", "system")
    assert done.returncode == 0, done.stderr
    assert "WARNING: this torch cannot use the board's GPU" in done.stdout


def test_a_board_without_torch_is_told_where_to_get_it(machine: Machine) -> None:
    machine.have("torch", "0", "raise ImportError('libcudnn.so.9: cannot open shared object file')")
    done = machine.set_up("--torch", "system")
    assert done.returncode == 1
    assert "libcudnn.so.9" in done.stderr
    assert "install the torch and torchvision made for this JetPack" in done.stderr
    assert not machine.venv.exists()


def test_a_board_without_torchvision_is_told_to_get_the_fitting_one(machine: Machine) -> None:
    machine.have("torch", "2.5.0a0+nv24.8", torch_module("2.5.0a0+nv24.08"))
    done = machine.set_up("--torch", "system")
    assert (done.returncode, "install the torchvision built for this torch" in done.stderr) == (1, True)


def test_an_environment_made_for_the_registry_is_not_used_for_the_board_s_torch(fresh_machine: Machine) -> None:
    fresh_machine.have("torch", "2.5.0a0+nv24.8", torch_module("2.5.0a0+nv24.08"))
    fresh_machine.have("torchvision", "0.20.0a0+afc54f7")
    done = fresh_machine.set_up("--torch", "system")
    assert (done.returncode, "was made for another --torch than system; remove it" in done.stderr) == (1, True)
