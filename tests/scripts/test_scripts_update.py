"""update_sam2_optional_cuda.sh: which checkout it works on, what it builds, and that it says what is so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest
from boards import BOARDS
from boards import Board as BoardOfTable
from desk import ROOT
from emulated_board import write_root
from update_bench import HEADERS, NOTES, REAL_SETUP_PY, Board, board, commit, extension, git, make_repository

__all__ = ["board", "extension"]  # fixtures

ARCH = ("--arch", "8.7")


def tree(folder: Path) -> dict[str, bytes | str]:
    """Every file below a folder with its content, times left out. Python's caches do not count."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and (path.is_symlink() or path.is_file())
    }


# ---- finding the checkout


def test_the_first_checkout_in_order_is_taken(board: Board) -> None:
    shutil.rmtree(board.checkout)
    places = ["EdgeTAM", "../segment-anything-2", "segment-anything-2", "../sam2", "sam2"]
    folders = [make_repository(board.root / place, edgetam=place == "EdgeTAM").resolve() for place in places]
    for index, folder in enumerate(folders):
        done = board.update("--dry-run", *ARCH)
        assert done.returncode == 0, done.stderr
        kind = "EdgeTAM" if index == 0 else "SAM 2"
        assert f"update_sam2: {kind} in {folder}, at " in done.stdout
        if folders[index + 1 :]:
            assert f"also found and not changed (name one with --sam2_dir): {' '.join(map(str, folders[index + 1 :]))}" in done.stdout
        shutil.rmtree(folder)
    done = board.update("--dry-run")
    assert (done.returncode, "get one with scripts/get_sam2.sh" in done.stderr) == (1, True)


def test_a_folder_inside_of_another_repository_is_passed_over(board: Board) -> None:
    """As sam2, the package, in EdgeTAM's checkout; or an archive unpacked in this one."""
    git(board.root, "init", "--quiet")
    for folder in (board.root / "EdgeTAM", board.root / "segment-anything-2"):
        (folder / "sam2").mkdir(parents=True)
        (folder / "setup.py").touch()
    (board.root / "sam2").mkdir()
    done = board.update("--dry-run", *ARCH)
    assert f"skipping {board.root}/EdgeTAM: it is inside another repository, {board.root}" in done.stdout
    assert f"SAM 2 in {board.checkout}" in done.stdout


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "there is no such folder"),
        (lambda folder: folder.mkdir(), "it has no setup.py"),
        (lambda folder: shutil.rmtree(make_repository(folder) / ".git"), "it is not a git checkout (git: "),
        (lambda folder: git(make_repository(folder), "update-ref", "-d", "HEAD"), "it has no commit"),
    ],
)
def test_a_named_folder_that_is_no_checkout_is_refused(board: Board, tmp_path: Path, make: object, words: str) -> None:
    make(tmp_path / "named")  # type: ignore[operator]
    done = board.update("--sam2_dir", str(tmp_path / "named"))
    assert (done.returncode, f"{words}" in done.stderr) == (1, True), done.stderr


def test_a_named_checkout_may_be_given_relative_to_the_current_folder(board: Board, tmp_path: Path) -> None:
    make_repository(tmp_path / "elsewhere" / "mine")
    board.cwd = tmp_path / "elsewhere"
    done = board.update("--dry-run", "--sam2_dir", "mine")
    assert f"SAM 2 in {tmp_path}/elsewhere/mine, at " in done.stdout


def test_edgetam_is_not_looked_for_among_checkouts_of_sam2(board: Board) -> None:
    done = board.update("--edgetam")
    assert (done.returncode, "scripts/get_edgetam.sh" in done.stderr) == (1, True)
    done = board.update("--edgetam", "--sam2_dir", str(board.checkout))
    assert (done.returncode, "is a checkout of SAM 2; leave out --edgetam" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fast"], "unknown argument --fast"),
        (["--arch"], "--arch needs a value"),
        (["--arch", "orin"], "--arch orin: give versions such as 8.7"),
        (["--cuda", "yes"], "use auto, on or off"),
    ],
)
def test_wrong_usage_ends_with_2(board: Board, arguments: list[str], words: str) -> None:
    done = board.update(*arguments)
    assert (done.returncode, words in done.stderr) == (2, True)


def test_dry_run_shows_the_plan_and_changes_nothing(board: Board) -> None:
    commit(board.origin, {"later.txt": ""})
    board.have("sam2", "1.1.0")
    (board.checkout / NOTES).write_text("mine")
    (board.checkout / "build").mkdir()
    (board.checkout / "sam2" / "_C.cpython-310-aarch64-linux-gnu.so").touch()
    before = tree(board.root.parent)
    done = board.update("--dry-run", *ARCH)
    assert done.returncode == 0
    assert tree(board.root.parent) == before
    plan = dict(re.findall(r"update_sam2:   (\w+) +(.*)", done.stdout))
    assert plan["update"] == "fetch, fast-forward main to origin/main; local changes to 1 file(s) are stashed and restored"
    assert plan["uninstall"] == "sam2"
    assert plan["remove"].split() == ["build", "sam2/_C.cpython-310-aarch64-linux-gnu.so"]
    assert plan["build"] == f"sam2._C for 8.7 with nvcc 12.6 of {board.toolkit}, against torch's CUDA 12.6"
    assert plan["keep"].startswith("torch 2.5.0a0+nv24.8, CUDA 12.6, GPU usable: False, in ")


# ---- packages


@pytest.fixture
def real_pip(board: Board) -> Board:
    """The same with the pip and setuptools of this environment; the torch stays the stand-in."""
    # Not imported: setuptools refuses to be where another module has imported distutils before.
    found = [find_spec(name) for name in ("setuptools", "pip")]
    folders = {str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin is not None}
    if None in found:
        pytest.skip("needs setuptools and pip")
    shutil.rmtree(board.site / "pip")
    (board.site / "tools.pth").write_text("\n".join(folders))
    commit(board.origin, {"setup.py": REAL_SETUP_PY})
    git(board.checkout, "pull", "--quiet")
    return board


@pytest.mark.slow
def test_what_shadows_the_checkout_is_replaced_by_it(real_pip: Board) -> None:
    board = real_pip
    for name in ("sam2", "EdgeTAM", "SAM-2"):
        board.have(name)
    (board.checkout / "build").mkdir()
    (board.checkout / "build" / "stale.o").touch()
    stale = board.checkout / "sam2" / "_C.cpython-310-aarch64-linux-gnu.so"
    stale.touch()
    for _ in range(2):  # the second run finds what the first left
        done = board.update(*ARCH)
        assert done.returncode == 0, done.stdout + done.stderr + board.log
        assert "with sam2._C, which loads; there is no GPU here to test it" in done.stdout
        assert [name.lower() for name in board.distributions] == ["sam_2"]
        assert not (board.site / "sam2").exists()
        assert not stale.exists()
        assert not (board.checkout / "build").exists()
    # Beside a checkout called sam2 Python takes the checkout for a package, unless the installation has it found before.
    assert board.imported(board.root.parent) == f"{board.checkout}/sam2"
    assert (board.site / "torch" / "__init__.py").read_text().count("__version__") == 1
    assert "--no-build-isolation --no-deps" in board.log


def test_a_leftover_package_in_the_way_is_named(board: Board) -> None:
    (board.site / "sam2").mkdir()
    (board.site / "sam2" / "__init__.py").touch()
    done = board.update(*ARCH)
    assert done.returncode == 1
    assert f"import sam2 finds '{board.site}/sam2' instead of {board.checkout}/sam2" in done.stderr
    assert "ready" not in done.stdout


def test_a_package_that_cannot_be_imported_is_told(board: Board) -> None:
    commit(board.checkout, {"sam2/__init__.py": "import no_such_package"})
    done = board.update(*ARCH)
    assert done.returncode == 1
    assert "sam2 cannot be imported (No module named 'no_such_package')" in done.stderr
    assert "scripts/setup.sh" in done.stderr


def test_a_pip_that_replaces_torch_is_told_loudly(board: Board) -> None:
    done = board.update(*ARCH, PIP_REPLACES_TORCH="1")
    assert done.returncode == 1
    assert "TORCH HAS CHANGED" in done.stderr
    assert re.search(r"before: torch 2.5.0a0\+nv24.8, CUDA 12.6.*\n.*after:  torch 2.9.0\+cpu, CUDA None", done.stderr)
    assert "ready" not in done.stdout


def test_edgetam_is_built_in_place_and_sam2_stays_installed(board: Board) -> None:
    board.have("sam2", "1.1.0")
    checkout = make_repository(board.root / "EdgeTAM", edgetam=True)
    done = board.update("--edgetam", *ARCH)
    assert done.returncode == 0, done.stderr
    assert "ready: EdgeTAM at " in done.stdout
    assert "with sam2._C, which loads" in done.stdout
    assert (checkout / "sam2" / "_C.so").is_file()
    assert board.distributions == ["sam2"]
    assert not (board.site / "pip-calls").exists()
    assert board.imported(board.root) == f"{board.site}/sam2"


def test_without_an_environment_it_says_how_to_make_one(board: Board) -> None:
    shutil.rmtree(board.venv)
    done = board.update()
    assert (done.returncode, "make one with scripts/setup.sh" in done.stderr) == (1, True)


def test_without_torch_it_says_how_to_get_it(board: Board) -> None:
    (board.site / "torch" / "__init__.py").write_text("raise ImportError('libcudnn.so.9: cannot open shared object file')")
    done = board.update()
    assert done.returncode == 1
    assert "libcudnn.so.9" in done.stderr
    assert "scripts/setup.sh" in done.stderr


def test_the_active_environment_comes_before_the_benchmark_s_own(board: Board, tmp_path: Path) -> None:
    active = board.venv.rename(tmp_path / "active")
    done = board.update("--dry-run", VIRTUAL_ENV=str(active))
    assert f"editable, for {active}/bin/python" in done.stdout


# ---- building


def test_the_build_is_told_the_architecture_and_where_headers_are(board: Board) -> None:
    wheel = board.site / "nvidia" / "cu12" / "include"
    wheel.mkdir(parents=True)
    for name in HEADERS[1:]:
        (board.toolkit / "include" / name).rename(wheel / name)
    done = board.update("--arch", "8.6,8.7", CPATH="/mine")
    assert done.returncode == 0, done.stderr
    assert board.nvcc_calls == f"arch=8.6;8.7 cpath={wheel}:/mine home={board.toolkit}\n"


@pytest.mark.parametrize(
    ("source", "arch"), [("torch", "8.7"), ("variable", "8.0+PTX"), ("device tree", "8.7"), ("driver", "8.6;8.7"), ("option", "8.6")]
)
def test_the_architecture_is_found(board: Board, tmp_path: Path, source: str, arch: str) -> None:
    variables: dict[str, str] = {}
    arguments: list[str] = []
    if source == "torch":
        board.have_torch(gpus=1)
    if source in ("variable", "option"):
        variables["TORCH_CUDA_ARCH_LIST"] = "8.0+PTX"
    if source == "option":
        arguments = ["--arch", "8.6"]
    if source == "device tree":
        (tmp_path / "compatible").write_bytes(b"nvidia,p3768-0000+p3767-0000\0nvidia,tegra234\0")
        variables["DEVICE_TREE"] = str(tmp_path)
    if source == "driver":
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf '8.7\\n8.6\\n8.7\\n'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        variables["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    assert f"sam2._C for {arch} with nvcc" in board.update("--dry-run", *arguments, **variables).stdout


@pytest.mark.parametrize("sold", BOARDS.values(), ids=BOARDS)
def test_the_chip_of_every_board_is_known(tmp_path: Path, sold: BoardOfTable) -> None:
    write_root(tmp_path, sold)
    environment = {**os.environ, "DEVICE_TREE": str(tmp_path / "proc/device-tree")}
    command = ["bash", "-c", "source scripts/lib_cuda.sh && detect_arch"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "{}.{}\n".format(*sold.capability)


@pytest.mark.parametrize(
    ("obstacle", "words"),
    [
        ("torch", "torch was built without CUDA"),
        ("toolkit", "sudo apt install cuda-toolkit-99-1"),
        ("headers", "headers of CUDA's libraries are missing ( cusparse.h cusolverDn.h )"),
        ("architecture", "nvcc 12.6 cannot compile for architecture 12.0"),
        ("no architecture", "name its architecture with --arch"),
        ("compiler", "the C++ compiler no-such-compiler was not found; sudo apt install build-essential"),
    ],
)
def test_what_cannot_be_built_is_left_out_or_refused_before_anything_changes(board: Board, obstacle: str, words: str) -> None:
    arguments, variables = list(ARCH), dict[str, str]()
    if obstacle == "torch":
        board.have_torch(cuda=None)
    if obstacle == "toolkit":
        board.have_torch(cuda="99.1")
    if obstacle == "headers":
        for name in HEADERS[2:]:
            (board.toolkit / "include" / name).unlink()
    if obstacle == "architecture":
        arguments = ["--arch", "8.7;12.0"]
    if obstacle == "no architecture":
        variables["PATH"] = path_without(board.root / "bin", "nvidia-smi")
        arguments = []
    if obstacle == "compiler":
        variables["CXX"] = "no-such-compiler"
    before = tree(board.root.parent)
    done = board.update("--cuda", "on", *arguments, **variables)
    assert done.returncode == 1
    assert f"--cuda on: sam2._C cannot be built: {words}" in done.stderr or words in done.stderr
    assert tree(board.root.parent) == before

    done = board.update(*arguments, **variables)
    assert done.returncode == 0, done.stderr
    (ready,) = [line for line in done.stdout.splitlines() if "ready" in line]
    assert "ready WITHOUT sam2._C (" in ready
    assert words in ready
    assert "OpenCV, with the same masks" in ready
    assert board.nvcc_calls == ""


def path_without(folder: Path, *missing: str) -> str:
    """A PATH with the tools of this one except some."""
    folder.mkdir()
    for directory in os.environ["PATH"].split(":"):
        for tool in Path(directory).glob("*"):
            if tool.name not in missing and not (folder / tool.name).exists():
                (folder / tool.name).symlink_to(tool)
    return str(folder)


def test_cuda_off_builds_nothing(board: Board) -> None:
    done = board.update("--cuda", "off")
    assert done.returncode == 0
    assert "ready WITHOUT sam2._C (--cuda off)" in done.stdout
    assert board.nvcc_calls == ""


@pytest.mark.parametrize("edgetam", [False, True])
@pytest.mark.parametrize("fault", ["error", "silent", "unloadable"])
def test_a_build_that_failed_is_never_reported_as_success(board: Board, fault: str, edgetam: bool) -> None:
    arguments = list(ARCH)
    checkout = board.checkout
    if edgetam:
        arguments.append("--edgetam")
        checkout = make_repository(board.root / "EdgeTAM", edgetam=True)
    for mode in ("auto", "on"):
        (checkout / "sam2" / "_C.so").write_text("from an earlier build")
        done = board.update(*arguments, "--cuda", mode, NVCC_FAULT=fault)
        assert done.returncode == (mode == "on")
        (ready,) = [line for line in done.stdout.splitlines() if "ready" in line]
        assert "ready WITHOUT sam2._C" in ready
        assert "it was built, but it cannot be loaded" in ready if fault == "unloadable" else "its build failed, see" in ready
        if fault == "error":
            assert "connected_components.cu(7): error: expected a ;" in done.stderr
        if mode == "on":
            assert "--cuda on: there is no sam2._C" in done.stderr
        assert not list((checkout / "sam2").glob("_C*"))
        if not edgetam:
            assert board.imported(board.root) == f"{checkout}/sam2"  # what runs without the extension is left usable


@pytest.mark.parametrize("right", [True, False])
def test_on_a_gpu_the_extension_has_to_label_rightly(board: Board, right: bool) -> None:
    board.have_torch(gpus=1)
    (board.root / "runners").mkdir()
    (board.root / "runners" / "components.py").write_text(f"def labels_correctly(label, device): return {right}")
    done = board.update()
    assert done.returncode == 0, done.stderr
    if right:
        assert "with sam2._C, which labels a known mask correctly on this GPU" in done.stdout
    else:
        assert "ready WITHOUT sam2._C (it was built, but it labels a known mask wrongly on this GPU" in done.stdout
        assert not (board.checkout / "sam2" / "_C.so").exists()
    assert (board.update("--cuda", "on").returncode == 0) == right


def test_an_nvcc_that_is_a_wrapper_tells_where_its_toolkit_is(board: Board, tmp_path: Path) -> None:
    real = board.toolkit / "bin" / "nvcc"
    real.write_text(real.read_text().replace("--dryrun) exit 1", '--dryrun) echo "#\\$ _HERE_=$here" >&2; exit 1'))
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "nvcc"
    wrapper.write_text(f'#!/bin/sh\nexec "{real}" "$@"\n')
    wrapper.chmod(0o755)
    done = board.update("--dry-run", *ARCH, CUDA_HOME="", PATH=f"{wrapper.parent}:{os.environ['PATH']}")
    assert f"with nvcc 12.6 of {board.toolkit}," in done.stdout


def test_what_the_tools_say_is_kept(board: Board) -> None:
    board.update(*ARCH, NVCC_FAULT="error")
    assert "expected a ;" in board.log
    assert f"+ env SAM2_BUILD_CUDA=1 SAM2_BUILD_ALLOW_ERRORS=0 CUDA_HOME={board.toolkit} TORCH_CUDA_ARCH_LIST=8.7" in board.log


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_real_build(board: Board, tmp_path: Path) -> None:
    """nvcc, pip and torch as they are; some minutes."""
    torch = pytest.importorskip("torch", reason="needs torch")
    source = os.environ.get("SAM2_SOURCE_DIR")
    if shutil.which("nvcc") is None or torch.version.cuda is None:
        pytest.skip("needs the CUDA compiler nvcc and a torch built with CUDA")
    if not source:
        pytest.skip("needs a checkout of facebookresearch/sam2 or EdgeTAM, named by SAM2_SOURCE_DIR")
    checkout = tmp_path / "the checkout"
    shutil.copytree(source, checkout, ignore=shutil.ignore_patterns(".git", "_C*.so", "build", "*.pt"))
    git(checkout, "init", "--quiet")
    commit(checkout, {NOTES: ""})
    for name in ("pip", "torch"):
        shutil.rmtree(board.site / name)
    (board.site / "real.pth").write_text(sysconfig.get_path("purelib"))
    done = board.update("--sam2_dir", str(checkout), "--cuda", "on", *ARCH, CUDA_HOME="", CXX="c++")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ready: (SAM 2|EdgeTAM) at \w+ with sam2\._C, which (loads|labels a known mask correctly)", done.stdout)
    assert [path.name for path in (checkout / "sam2").glob("_C*")] == ["_C.so"]
