"""scripts/setup.sh on Jetsons: the torch that JetPack lacks, an OpenCV that is there already, and EdgeTAM without transformers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from boards import BOARDS, Board
from packaging.requirements import Requirement
from setup_machine import NUMPY, Machine, torch_module

from savbench.board.jetsons import jetpack_of

ROOT = Path(__file__).parents[2]
FRESH = ("orin-nano-jp6.2", "orin-nano-jp7.2", "agx-thor-jp7.0")
CV2 = "__version__ = '4.8.0'\nDISOpticalFlow_create = print\n"


def offer_torch(machine: Machine, board: Board, source: str | None = None) -> str:
    """Put the torch of the board's JetPack into the registry. Returns its version."""
    jetpack = jetpack_of(board.jetpack.l4t)
    assert jetpack is not None
    versions: dict[str, str] = dict(re.findall(r"(\w+)==(\S+)", jetpack.torch))
    torch = source or torch_module(versions["torch"], cuda=jetpack.cuda)
    machine.offer("torch", versions["torch"], {"torch": torch}, requires=("symbols",))
    machine.offer("torchvision", versions["torchvision"], requires=(f"torch=={versions['torch']}",))
    machine.offer("symbols", "1.13")
    return versions["torch"]


@pytest.mark.parametrize("board", [BOARDS[name] for name in FRESH], ids=FRESH)
def test_a_fresh_board_is_told_the_command_and_what_it_costs(machine: Machine, board: Board) -> None:
    machine.run_jetpack(board.jetpack.release)
    done = machine.set_up()
    assert done.returncode == 1
    jetpack = jetpack_of(board.jetpack.l4t)
    assert jetpack is not None
    assert "MiB to download, " in done.stderr
    assert "scripts/setup.sh --with-torch" in done.stderr
    assert f"it runs: pip install --no-deps --index-url {jetpack.index} {jetpack.torch}\n" in done.stderr
    assert not machine.venv.exists()


def test_a_release_without_a_known_torch_names_none(machine: Machine) -> None:
    machine.run_jetpack("# R35 (release), REVISION: 4.1")
    done = machine.set_up()
    assert (done.returncode, "--index-url" in done.stderr) == (1, False)
    done = machine.set_up("--with-torch")
    assert (done.returncode, "which torch this system needs is not known here" in done.stderr) == (1, True)


@pytest.mark.slow
def test_with_torch_ends_with_a_working_board_and_leaves_the_system_alone(machine: Machine) -> None:
    board = BOARDS["orin-nano-jp7.2"]
    machine.run_jetpack(board.jetpack.release)
    version = offer_torch(machine, board)
    machine.have("numpy", "1.26.4", NUMPY)
    machine.offer("friend", "1.0", requires=("torch>=2.4",))
    machine.require("torch>=2.5.0a0", "torchvision", "numpy", "friend")
    done = machine.set_up("--with-torch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "installing torch for JetPack 7.2 into" in done.stdout
    assert f"keeping torch {version}, CUDA 13.2, GPU usable: True, in {machine.venv}/" in done.stdout
    assert [machine.installed(name) for name in ("torch", "symbols", "friend")] == [version, "1.13", "1.0"]
    assert not list(machine.user_base.rglob("torch*")), "PEP 668: nothing goes into the system's Python"
    assert "up to date" in machine.set_up("--with-torch").stdout

    machine.offer("extra", "1.0")
    machine.require("torch>=2.5.0a0", "torchvision", "numpy", "friend", "extra")
    again = machine.set_up()
    assert (again.returncode, machine.installed("extra"), machine.installed("torch")) == (0, "1.0", version), again.stderr


@pytest.mark.slow
def test_with_torch_keeps_a_torch_that_works(board: Machine) -> None:
    board.run_jetpack(BOARDS["orin-nano-jp6.2"].jetpack.release)
    offer_torch(board, BOARDS["orin-nano-jp6.2"])
    board.require("torch>=2.5.0a0", "torchvision>=0.20.0a0", "numpy")
    done = board.set_up_core("--with-torch")
    assert done.returncode == 0, done.stderr
    assert f"keeping torch 2.5.0a0+nv24.08, CUDA 12.6, GPU usable: True, in {board.user_base}/" in done.stdout
    assert board.installed("torch") is None


@pytest.mark.slow
def test_with_torch_stands_in_for_one_without_cuda_which_stays_where_it_is(board: Machine) -> None:
    jetpack6 = BOARDS["orin-nano-jp6.2"]
    board.run_jetpack(jetpack6.jetpack.release)
    version = offer_torch(board, jetpack6)
    board.have("torch", "2.5.0a0+nv24.8", torch_module("2.5.0+cpu", gpu=False, cuda=None))
    board.require("torch>=2.5.0a0", "torchvision>=0.20.0a0", "numpy")
    done = board.set_up_core("--with-torch")
    assert done.returncode == 0, done.stderr
    assert (board.installed("torch"), "2.5.0+cpu" in done.stdout) == (version, False)
    assert list(board.user_base.rglob("torch-2.5.0a0*"))


@pytest.mark.slow
def test_a_library_that_jetpack_lacks_is_named_with_its_source(jetpack: Machine) -> None:
    board = BOARDS["orin-nano-jp6.2"]
    jetpack.run_jetpack(board.jetpack.release)
    offer_torch(jetpack, board, "raise ImportError('libcudss.so.0: cannot open shared object file')")
    done = jetpack.set_up("--with-torch")
    assert done.returncode == 1
    assert "libcudss.so.0: cannot open shared object file" in done.stderr
    assert "https://developer.nvidia.com/cudss-downloads" in done.stderr
    assert not jetpack.is_ready


@pytest.mark.slow
def test_an_index_without_the_wheel_is_told_with_what_else_serves(jetpack: Machine) -> None:
    jetpack.run_jetpack(BOARDS["orin-nano-jp6.2"].jetpack.release)
    done = jetpack.set_up("--with-torch")
    assert done.returncode == 1
    assert "pip did not get torch==2.8.0 torchvision==0.23.0 from https://pypi.jetson-ai-lab.io/jp6/cu126" in done.stderr
    assert "another torch for this JetPack, installed by hand, serves as well" in done.stderr


@pytest.mark.slow
def test_an_opencv_that_is_there_serves_and_one_that_cannot_be_imported_does_not(board: Machine) -> None:
    board.offer("opencv_python_headless", "4.11.0", {"cv2": CV2})
    board.require("torch>=2.5.0a0", "torchvision>=0.20.0a0", "numpy", "opencv-python-headless>=4.8")
    board.have("cv2", "0", CV2)
    done = board.set_up_core("--torch", "system")
    assert done.returncode == 0, done.stderr
    assert f"keeping OpenCV 4.8.0 in {board.user_base}/" in done.stdout
    assert board.installed("opencv_python_headless") is None

    board.have("cv2", "0", "raise ImportError('numpy.core.multiarray failed to import')")
    (board.venv / ".setup-stamp").unlink()
    assert board.set_up_core("--torch", "system").returncode == 0
    assert board.installed("opencv_python_headless") == "4.11.0"


@pytest.mark.slow
def test_edgetam_needs_no_transformers_where_its_checkout_is_there_and_setup_goes_on_without(board: Machine) -> None:
    board.require("torch>=2.5.0a0", "torchvision>=0.20.0a0", "numpy")
    (board.clone / "requirements-transformers.txt").write_text("transformers>=5.0\n", encoding="utf-8")
    done = board.set_up("--torch", "system")
    assert done.returncode == 0, done.stderr
    assert "transformers could not be installed; all else works, and edgetam needs its checkout: scripts/get_edgetam.sh" in done.stdout

    board.offer("transformers", "5.20.2")
    checkout = board.clone / "EdgeTAM" / "sam2"
    checkout.mkdir(parents=True)
    (checkout / "build_sam.py").touch()
    done = board.set_up("--torch", "system")
    assert (done.returncode, "transformers is left out" in done.stdout, board.installed("transformers")) == (0, True, None)


@pytest.mark.slow
def test_jetpack_6_gets_the_onnx_runtime_of_its_index_and_one_that_is_there_stays(board: Machine) -> None:
    board.run_jetpack(BOARDS["orin-nano-jp6.2"].jetpack.release)
    board.require("torch>=2.5.0a0", "torchvision>=0.20.0a0", "numpy")
    (board.clone / "requirements-onnx.txt").write_text("# a reason\nonnxruntime>=1.20\nonnx>=1.17\n", encoding="utf-8")
    board.offer("onnx", "1.18.0")
    board.offer("onnxruntime", "1.23.0")
    done = board.set_up()
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime could not be installed; all else works, and --runtime onnx needs it: docs/runtimes.md" in done.stdout

    board.offer("onnxruntime_gpu", "1.23.0", {"onnxruntime": ""}, requires=("flat",))
    board.offer("flat", "1.0")
    (board.venv / ".setup-stamp").unlink()
    assert board.set_up().returncode == 0
    expected = {"onnxruntime_gpu": "1.23.0", "flat": "1.0", "onnx": "1.18.0", "onnxruntime": None}
    assert {name: board.installed(name) for name in expected} == expected

    (board.venv / ".setup-stamp").unlink()
    assert "onnxruntime-gpu for JetPack" not in board.set_up().stdout
    assert {name: board.installed(name) for name in expected} == expected


@pytest.mark.parametrize(("python", "wanted", "refused"), [("3.10", "5.20.2", "5.21.0"), ("3.11", "5.24.0", "4.57.0")])
def test_each_python_gets_a_transformers_that_runs_on_it(python: str, wanted: str, refused: str) -> None:
    lines = (ROOT / "requirements-transformers.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    named = [item for item in found if item.name == "transformers"]
    (one,) = [item for item in named if item.marker is None or item.marker.evaluate({"python_version": python})]
    assert wanted in one.specifier
    assert refused not in one.specifier
    core = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert not [line for line in core if line.startswith("transformers")]
