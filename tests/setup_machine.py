"""A machine for scripts/setup.sh: a clone of the repository, hand-made packages, and what a board already has. A pytest plugin."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

NUMPY = """\
class Array(list):
    def numpy(self): return self
    def tolist(self): return list(self)
def arange(n): return Array(range(n))
"""


def torch_module(version: str, *, takes_numpy: bool = True, gpu: bool = True, cuda: str | None = "12.6") -> str:
    """Source of a module that answers what setup.sh asks torch."""
    exchange = "return array" if takes_numpy else "raise RuntimeError('Numpy is not available')"
    return f"""\
__version__ = "{version}"
class version: cuda = {cuda!r}
class cuda:
    @staticmethod
    def is_available(): return {gpu}
class zeros:
    def __init__(self, n, device): pass
    def add_(self, n): return self
    def item(self): return 1.0
def from_numpy(array):
    {exchange}
"""


def package_files(name: str, version: str, modules: dict[str, str], requires: tuple[str, ...]) -> dict[str, str]:
    """Files of an installed distribution, by path below site-packages."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {item}\n" for item in requires)
    info = f"{name}-{version}.dist-info"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return {
        **{f"{module}/__init__.py": source for module, source in modules.items()},
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": wheel,
    }


@dataclass
class Machine:
    """A clone of the repository, a folder that stands for the registry, and a user site that stands for what the board has."""

    clone: Path
    registry: Path
    user_base: Path

    @property
    def root(self) -> Path:
        """What stands for / where the script looks for a Jetson."""
        return self.clone.with_name("root")

    def run_jetpack(self, release: str) -> None:
        """Be a Jetson whose /etc/nv_tegra_release begins with this line."""
        (self.root / "etc").mkdir(parents=True)
        (self.root / "etc" / "nv_tegra_release").write_text(f"{release}\n", encoding="utf-8")

    @property
    def venv(self) -> Path:
        return self.clone / ".venv"

    def offer(self, name: str, version: str, modules: dict[str, str] | None = None, requires: tuple[str, ...] = ()) -> Path:
        """Put a wheel into the registry. Without `modules`, it has one of its own name."""
        files = package_files(name, version, modules or {name: ""}, requires)
        record = f"{name}-{version}.dist-info/RECORD"
        lines = [f"{path},sha256={_urlsafe_sha256(text)},{len(text)}\n" for path, text in files.items()]
        wheel = self.registry / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in {**files, record: "".join([*lines, f"{record},,\n"])}.items():
                archive.writestr(path, text)
        return wheel

    def have(self, name: str, version: str, source: str = "") -> None:
        """Install a package outside of the environment, where the system's Python sees it."""
        site = self.user_base / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        for path, text in package_files(name, version, {name: source}, ()).items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(text, encoding="utf-8")

    def require(self, *lines: str, dev: tuple[str, ...] = (), ray: tuple[str, ...] = ()) -> None:
        for extra in ("report", "edgetam", "cutie", "transformers", "onnx"):
            (self.clone / f"requirements-{extra}.txt").touch()
        for name, required in (("requirements", lines), ("requirements-dev", dev), ("requirements-ray", ray)):
            (self.clone / f"{name}.txt").write_text("\n".join(required) + "\n", encoding="utf-8")

    def set_up(self, *arguments: str, python: str | Path | None = sys.executable, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.clone / "scripts" / "setup.sh"), *arguments]
        if python:
            command += ["--python", str(python)]
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.user_base),
            "PYTHONUSERBASE": str(self.user_base),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_USER": "1",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.registry.as_uri(),
            "SETUP_MIN_FREE_MIB": "0",
            "SETUP_ROOT": str(self.root),
            **environment,
        }
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)

    def set_up_core(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Set up without the extras, whose calls of pip say nothing where the core is what is tested."""
        return self.set_up("--minimal", *arguments, **environment)

    def installed(self, name: str) -> str | None:
        """Version of a package inside the environment itself."""
        found = [path.name for path in self.venv.glob(f"lib/python*/site-packages/{name}-*.dist-info")]
        assert len(found) < 2
        return found[0].split("-")[1].removesuffix(".dist") if found else None

    @property
    def is_ready(self) -> bool:
        """Whether the next run would have nothing to do."""
        return (self.venv / ".setup-stamp").exists()


def _urlsafe_sha256(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="session")
def bare_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment to copy: making one takes seconds."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


def copy_venv(source: Path, target: Path, *, sees_system: bool) -> None:
    """What `python -m venv` makes, with `--system-site-packages` where `sees_system`. Packages are linked: pip edits no file."""
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)
    settings = (source / "pyvenv.cfg").read_text(encoding="utf-8")
    said = "include-system-site-packages = "
    assert f"{said}false" in settings
    (target / "pyvenv.cfg").unlink()
    (target / "pyvenv.cfg").write_text(settings.replace(f"{said}false", f"{said}{str(sees_system).lower()}"), encoding="utf-8")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    clone = tmp_path / "my clone"
    (clone / "scripts").mkdir(parents=True)
    for name in ("setup.sh", "offline_bundle.sh", "lib.sh"):
        shutil.copy(ROOT / "scripts" / name, clone / "scripts")
    (clone / "savbench" / "board").mkdir(parents=True)
    shutil.copy(ROOT / "savbench" / "board" / "jetpacks.tsv", clone / "savbench" / "board")
    machine = Machine(clone, tmp_path / "registry", tmp_path / "user")
    machine.registry.mkdir()
    machine.user_base.mkdir()
    machine.offer("torch", "2.9.0", {"torch": torch_module("2.9.0")})
    machine.offer("torchvision", "0.24.0", requires=("torch==2.9.0",))
    machine.offer("numpy", "1.26.4", {"numpy": NUMPY})
    machine.offer("numpy", "2.4.0", {"numpy": NUMPY})
    sam2 = machine.offer("sam2", "1.1.0")
    digest = hashlib.sha256(sam2.read_bytes()).hexdigest()
    (clone / "requirements-sam2.txt").write_text(f"# a comment\nsam2==1.1.0 --hash=sha256:{digest}\n", encoding="utf-8")
    machine.require("torch", "torchvision", "numpy")
    return machine


@pytest.fixture
def fresh_machine(machine: Machine, bare_venv: Path) -> Machine:
    """A machine with an empty environment."""
    copy_venv(bare_venv, machine.venv, sees_system=False)
    return machine


@pytest.fixture
def jetpack(machine: Machine, bare_venv: Path) -> Machine:
    """A machine as JetPack leaves it, without torch, and an environment that sees the system's packages."""
    copy_venv(bare_venv, machine.venv, sees_system=True)
    return machine


@pytest.fixture
def board(jetpack: Machine) -> Machine:
    """A machine whose system Python has NVIDIA's torch, built against NumPy 1, and an environment that sees it."""
    jetpack.have("torch", "2.5.0a0+nv24.8", torch_module("2.5.0a0+nv24.08"))
    jetpack.have("torchvision", "0.20.0a0+afc54f7")
    jetpack.have("numpy", "1.24.4", NUMPY)
    return jetpack
