"""scripts/offline_bundle.sh and setup.sh --offline: from a machine with a registry to one without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from setup_machine import Machine

pytestmark = pytest.mark.slow
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def bundle(machine: Machine, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only the machine's own registry can be reached."""
    command = [str(machine.clone / "scripts" / "offline_bundle.sh"), "--python", PYTHON, "--platform", "linux_aarch64", "--out", str(out)]
    links = str(machine.registry)
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(machine.user_base),
        "PYTHONUSERBASE": str(machine.user_base),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": links,
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": links,
    }
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def maker(board: Machine) -> Machine:
    """A machine with torch and a network, and requirements that bring others."""
    board.offer("needed", "1.2")
    board.offer("hydra", "1.3", requires=("needed>=1",))
    board.require("torch", "torchvision", "numpy", "hydra")
    return board


def test_the_folder_is_all_that_a_machine_without_a_network_needs(maker: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    done = bundle(maker, folder, "--without", "torch,torchvision,numpy")
    assert done.returncode == 0, done.stderr
    assert "3 wheels" in done.stdout
    assert sorted(path.name.split("-")[0] for path in folder.glob("*.whl")) == ["hydra", "needed", "sam2"]
    assert (folder / "requirements.txt").read_text().split() == ["hydra==1.3", "needed==1.2", "sam2==1.1.0"]
    for wheel in maker.registry.iterdir():
        wheel.unlink()
    done = maker.set_up("--offline", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [maker.installed(name) for name in ("hydra", "needed", "sam2", "torch")] == ["1.3", "1.2", "1.1.0", None]
    assert "torch 2.5.0a0+nv24.08" in done.stdout
    # `make demo` calls it with --minimal and without the flag
    assert "up to date" in maker.set_up("--minimal").stdout


def test_the_folder_has_onnx_runtime_unless_the_machine_has_its_own(maker: Machine, tmp_path: Path) -> None:
    maker.offer("onnxruntime", "1.23.0", requires=("flat",))
    maker.offer("flat", "1.0")
    maker.offer("onnx", "1.18.0")
    (maker.clone / "requirements-onnx.txt").write_text("# a reason\nonnxruntime>=1.20\nonnx>=1.17\n", encoding="utf-8")
    found = {}
    for name, without in (("whole", "torch,torchvision,numpy"), ("of_jetson", "torch,torchvision,numpy,onnxruntime")):
        done = bundle(maker, tmp_path / name, "--without", without)
        assert done.returncode == 0, done.stderr
        found[name] = {path.name.split("-")[0] for path in (tmp_path / name).glob("*.whl")} - {"hydra", "needed", "sam2"}
    assert found == {"whole": {"onnxruntime", "flat", "onnx"}, "of_jetson": {"onnx"}}

    maker.have("onnxruntime_gpu", "1.23.0")
    done = maker.set_up("--offline", str(tmp_path / "whole"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [maker.installed(name) for name in ("onnxruntime", "onnx")] == [None, "1.18.0"]


def test_a_package_that_is_nowhere_is_named(maker: Machine, tmp_path: Path) -> None:
    maker.require("torch", "torchvision", "numpy", "hydra", "nowhere")
    done = bundle(maker, tmp_path / "kit")
    assert (done.returncode, "nowhere" in done.stderr) == (1, True)


def test_a_folder_that_is_too_large_names_its_largest_wheels(maker: Machine, tmp_path: Path) -> None:
    done = bundle(maker, tmp_path / "kit", "--max_mib", "0")
    assert done.returncode == 1
    assert "above --max_mib 0" in done.stderr
    assert "sam2-1.1.0-py3-none-any.whl" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--platform", "win_amd64"), "use linux_aarch64"),
        (("--platform", "manylinux_2_5_x86_64"), "glibc 2.17 or newer"),
        (("--python", "three"), "give the version"),
        (("--max_mib", "x"), "whole number"),
        (("--nothing",), "unknown argument"),
        (("--without",), "needs a value"),
    ],
)
def test_wrong_usage_ends_with_2(machine: Machine, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = bundle(machine, tmp_path / "kit", *arguments)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_a_folder_that_is_not_empty_and_a_machine_without_torch_are_refused(machine: Machine, tmp_path: Path) -> None:
    done = bundle(machine, tmp_path)
    assert (done.returncode, "not empty" in done.stderr) == (1, True)
    done = bundle(machine, tmp_path / "kit")
    assert (done.returncode, "run scripts/setup.sh here first" in done.stderr) == (1, True)
    assert not (tmp_path / "kit").exists()


def test_a_damaged_kit_and_another_folder_are_refused(board: Machine, tmp_path: Path) -> None:
    done = board.set_up("--offline", str(tmp_path / "nowhere"))
    assert (done.returncode, "no such folder" in done.stderr) == (1, True)
    (tmp_path / "empty").mkdir()
    done = board.set_up("--offline", str(tmp_path / "empty"))
    assert (done.returncode, "SHA256SUMS or requirements.txt is missing" in done.stderr) == (1, True)
    (tmp_path / "empty" / "requirements.txt").write_text("hydra==1.3\n")
    (tmp_path / "empty" / "SHA256SUMS").write_text(f"{'0' * 64}  requirements.txt\n")
    done = board.set_up("--offline", str(tmp_path / "empty"))
    assert (done.returncode, "is damaged" in done.stderr) == (1, True)
    assert board.set_up("--offline", str(tmp_path / "empty"), "--dev").returncode == 2
