"""A machine for update_sam2_optional_cuda.sh to be run on for real, with stand-ins where the real thing is slow: torch, pip and nvcc.

The stand-in of nvcc copies a real extension module that was compiled once, so that importing it is the real thing again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = (
    "update_sam2_optional_cuda.sh",
    "scripts/lib.sh",
    "scripts/lib_git.sh",
    "scripts/lib_cuda.sh",
    "savbench/board/chips.tsv",
    "scripts/sam2_facts.py",
)
NOTES = "notes.txt"
"""A file that upstream and the user change."""
HEADERS = ("cuda_runtime.h", "cublas_v2.h", "cusparse.h", "cusolverDn.h")

EXTENSION_C = """\
#include <Python.h>
static PyObject* label(PyObject* self, PyObject* mask) { Py_RETURN_NONE; }
static PyMethodDef methods[] = {{"get_connected_componnets", label, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", NULL, -1, methods};
PyMODINIT_FUNC PyInit__C(void) { return PyModule_Create(&module); }
"""

# As upstream's: an error of the build is swallowed unless it is told not to.
SETUP_PY = """\
import os, subprocess
if os.environ.get("SAM2_BUILD_CUDA", "1") == "1":
    try:
        nvcc = os.path.join(os.environ["CUDA_HOME"], "bin", "nvcc")
        subprocess.run([nvcc, "-o", "sam2/_C.so", "sam2/csrc/connected_components.cu"], check=True)
    except Exception as error:
        if os.environ.get("SAM2_BUILD_ALLOW_ERRORS", "1") != "1":
            raise
        print("Failed to build the CUDA extension:", error)
"""
REAL_SETUP_PY = SETUP_PY + 'from setuptools import setup\nsetup(name="SAM-2", version="1.0", packages=["sam2"])\n'

TORCH = """\
import os
__version__ = "{version}"
class version: cuda = {cuda!r}
class cuda:
    is_available = staticmethod(lambda: {gpus} > 0)
    device_count = staticmethod(lambda: {gpus})
    get_device_capability = staticmethod(lambda index: (8, 7))
def device(name): return name
"""

# Knows `install --editable DIR` and `uninstall NAME...`, and does with packages what pip does.
PIP = """\
import glob, os, shutil, subprocess, sys
site = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
command, *arguments = sys.argv[1:]
with open(os.path.join(site, "pip-calls"), "a") as calls:
    print(*sys.argv[1:], file=calls)
if command == "uninstall":
    for name in arguments:
        for info in glob.glob(os.path.join(site, name.replace("-", "_") + "-*.dist-info")):
            shutil.rmtree(info)
            for path in (os.path.join(site, "sam2"), os.path.join(site, "checkout.pth")):
                shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.path.exists(path) and os.unlink(path)
else:
    checkout = arguments[arguments.index("--editable") + 1]
    subprocess.run([sys.executable, "setup.py", "develop"], cwd=checkout, check=True)
    with open(os.path.join(site, "checkout.pth"), "w") as pth:
        pth.write(checkout)
    info = os.path.join(site, "SAM_2-1.0.dist-info")
    os.makedirs(info, exist_ok=True)
    with open(os.path.join(info, "METADATA"), "w") as metadata:
        metadata.write("Metadata-Version: 2.1\\nName: SAM-2\\nVersion: 1.0\\n")
    if "--no-deps" not in arguments or os.environ.get("PIP_REPLACES_TORCH"):
        with open(os.path.join(site, "torch", "__init__.py"), "a") as torch:
            torch.write("\\n__version__ = '2.9.0+cpu'\\nversion.cuda = None\\n")
"""

NVCC = """\
#!/bin/sh
here=$(dirname "$0")
case "$1" in
    --version) echo "Cuda compilation tools, release $(cat "$here/release"), V1.2.3"; exit ;;
    --list-gpu-code) printf 'sm_80\\nsm_86\\nsm_87\\n'; exit ;;
    --dryrun) exit 1 ;;
esac
echo "arch=$TORCH_CUDA_ARCH_LIST cpath=$CPATH home=$CUDA_HOME" >>"$here/calls"
case "${NVCC_FAULT-}" in
    error) echo "connected_components.cu(7): error: expected a ;" >&2; exit 2 ;;
    silent) exit 0 ;;
    unloadable) echo nonsense >"$2" ;;
    *) cp "$here/extension.so" "$2" ;;
esac
"""


def git(folder: Path, *arguments: str) -> str:
    """Run git as nobody in particular, on no settings but the repository's. Returns what it says."""
    identity = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **identity}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def commit(folder: Path, files: dict[str, str]) -> str:
    """Write files and commit all. Returns the commit."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", f"change {', '.join(files)}")
    return git(folder, "rev-parse", "HEAD")


def make_repository(folder: Path, *, edgetam: bool = False, setup_py: str = SETUP_PY, package: str = "sam2") -> Path:
    """A repository that looks like upstream's from outside."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    files = {
        ".gitignore": "build/*\n_C.*\n*.egg*\n__pycache__/\n",
        "setup.py": setup_py,
        f"{package}/__init__.py": "",
        f"{package}/csrc/connected_components.cu": "",
        NOTES: "".join(f"line {number}\n" for number in range(1, 10)),
    }
    if edgetam:
        files["sam2/modeling/perceiver.py"] = ""
    commit(folder, files)
    return folder


def clone(origin: Path, folder: Path) -> Path:
    git(origin.parent, "clone", "--quiet", str(origin), str(folder))
    return folder


@dataclass
class Board:
    """A copy of the script in `root`, an environment, a CUDA toolkit, and a checkout of SAM 2 with its origin."""

    root: Path
    venv: Path
    toolkit: Path
    origin: Path
    checkout: Path
    cwd: Path | None = None
    """Folder that the script is run from."""

    @property
    def site(self) -> Path:
        return self.venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    def update(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "CUDA_HOME": str(self.toolkit),
            "DEVICE_TREE": os.devnull,
            "CXX": sys.executable,  # only its presence is looked at
            "GIT_CONFIG_SYSTEM": os.devnull,
            **variables,
        }
        command = [str(self.root / SCRIPTS[0]), *arguments]
        return subprocess.run(command, env=environment, cwd=self.cwd, capture_output=True, text=True, timeout=1200, start_new_session=True)

    def have_torch(self, version: str = "2.5.0a0+nv24.8", cuda: str | None = "12.6", gpus: int = 0) -> None:
        (self.site / "torch").mkdir(exist_ok=True)
        (self.site / "torch" / "__init__.py").write_text(TORCH.format(version=version, cuda=cuda, gpus=gpus), encoding="utf-8")

    def have(self, name: str, version: str = "1.0", *, package: bool = True) -> None:
        """Install a distribution with a package `sam2`, as a wheel would."""
        stem = f"{name.replace('-', '_')}-{version}"
        info = self.site / f"{stem}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
        (info / "RECORD").write_text("sam2/__init__.py,,\n" + "".join(f"{info.name}/{part},,\n" for part in ("METADATA", "RECORD")))
        if package:
            (self.site / "sam2").mkdir(exist_ok=True)
            (self.site / "sam2" / "__init__.py").touch()

    @property
    def distributions(self) -> list[str]:
        return sorted(path.name.split("-")[0] for path in self.site.glob("*.dist-info"))

    @property
    def nvcc_calls(self) -> str:
        calls = self.toolkit / "bin" / "calls"
        return calls.read_text() if calls.exists() else ""

    @property
    def log(self) -> str:
        """What the last run logged."""
        return max((self.root / "build-logs").iterdir(), key=lambda path: path.stat().st_mtime_ns).read_text()

    def imported(self, cwd: Path) -> str:
        """Folder that `import sam2` leads to from `cwd`, which is on the path."""
        code = "import sam2; print(*sam2.__path__)"
        command = [str(self.venv / "bin" / "python"), "-c", code]
        return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.fixture(scope="session")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    include = sysconfig.get_path("include")
    if compiler is None or not (Path(include) / "Python.h").is_file():
        pytest.skip("needs a C compiler and Python's headers")
    source = tmp_path_factory.mktemp("extension") / "_C.c"
    source.write_text(EXTENSION_C)
    shared = source.with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(shared)], check=True, timeout=60)
    return shared


@pytest.fixture
def board(tmp_path: Path, extension: Path) -> Board:
    """As a Jetson: NVIDIA's torch and a toolkit of its CUDA; SAM 2 in `../sam2`, one commit behind nothing."""
    root = tmp_path / "my projects" / "benchmark"
    for name in SCRIPTS:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    venv = root / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
    toolkit = tmp_path / "cuda 12.6"
    for name, text in {"bin/nvcc": NVCC, "bin/release": "12.6", **{f"include/{name}": "" for name in HEADERS}}.items():
        (toolkit / name).parent.mkdir(parents=True, exist_ok=True)
        (toolkit / name).write_text(text)
    (toolkit / "bin" / "nvcc").chmod(0o755)
    shutil.copy(extension, toolkit / "bin" / "extension.so")
    origin = make_repository(tmp_path / "origin of sam2")
    board = Board(root, venv, toolkit, origin, clone(origin, root.parent / "sam2"))
    board.have_torch()
    (board.site / "pip").mkdir()
    (board.site / "pip" / "__init__.py").touch()
    (board.site / "pip" / "__main__.py").write_text(PIP)
    return board
