"""The doctor: how the report looks, and the whole of it for real on packages that crash and hang."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from doctor_machines import by_name, write
from tiny_split import TinySplit

from savbench.doctor.check import Check, Subject
from savbench.doctor.command import examine, lines, report, show
from savbench.doctor.gpu import check_torch
from savbench.doctor.probe import Answers, Probe, read_answers

ROOT = Path(__file__).parents[2]
# --- how it looks ---

WARNING = Check(
    "machine", "clocks", "warning", "not locked (17000000.gpu): " + "figures will vary " * 5, "sudo scripts/lock_clocks.sh", {"n": 1}
)


def test_a_line_is_wrapped_and_its_remedy_is_not() -> None:
    shown = lines(replace(WARNING, remedy="sudo " + "x" * 120), 80, colour=False)
    assert shown[0].startswith("warning  clocks      not locked (17000000.gpu): figures")
    assert all(line.startswith(" " * 21) for line in shown[1:])
    assert all(len(line) <= 80 for line in shown[:-1])
    assert lines(replace(WARNING, name="EfficientTAM"), 80, colour=False)[0].startswith("warning  EfficientTAM not locked")
    assert shown[-1] == f"{' ' * 21}> sudo {'x' * 120}"


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_only_on_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool) -> None:
    for name, value in {"NO_COLOR": "", "TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    terminal, pipe = Terminal(), StringIO()
    show([WARNING], terminal)
    show([WARNING], pipe)
    assert ("\x1b[33mwarning \x1b[0m" in terminal.getvalue()) is coloured
    assert "\x1b" not in pipe.getvalue()
    assert re.sub("\x1b\\[\\d+m", "", terminal.getvalue()) == pipe.getvalue()


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["ok"], "all well\nnext, `jetson_benchmark.py selfcheck` proves what this machine measures"),
        (
            ["ok", "warning"],
            "1 warning, no failure: runs will work\nnext, `jetson_benchmark.py selfcheck` proves what this machine measures",
        ),
        (["failure", "warning", "warning"], "1 failure, 2 warnings: a run cannot work as it is"),
    ],
)
def test_the_closing_lines(states: list[Any], words: str) -> None:
    stream = StringIO()
    show([replace(WARNING, state=state) for state in states], stream)
    assert stream.getvalue().endswith(f"\n{words}\n")


def test_the_report_for_programs() -> None:
    found = report([WARNING, replace(WARNING, state="ok")])
    assert (found["schema"], found["ready"], found["counts"]) == (1, True, {"ok": 1, "warning": 1, "failure": 0})
    assert found["checks"][0] == {
        "topic": "machine",
        "name": "clocks",
        "state": "warning",
        "detail": WARNING.detail,
        "remedy": "sudo scripts/lock_clocks.sh",
        "facts": {"n": 1},
    }
    assert report([replace(WARNING, state="failure")])["ready"] is False


def test_every_script_that_a_remedy_names_is_there() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "savbench" / "doctor").glob("*.py"))
    named = set(re.findall(r"(?:scripts/|\./)\w+\.sh", sources))
    assert len(named) >= 6
    assert [script for script in sorted(named) if not os.access(ROOT / script, os.X_OK)] == []


# --- the probes, for real ---


def test_answers_before_a_crash_are_kept() -> None:
    whole = [
        '{"begun": "torch"}',
        '{"step": "torch", "answer": {"version": "2"}}',
        '{"begun": "numpy"}',
        '{"step": "numpy", "error": "E: x"}',
    ]
    text = "\n".join([*whole, '{"begun": "cu'])
    found = read_answers(text, "SIGSEGV", "one\n\nFatal Python error\n")
    assert (found.found, found.errors) == ({"torch": {"version": "2"}}, {"numpy": "E: x"})
    assert (found.died_in, found.last_words) == ("end", "Fatal Python error")
    assert read_answers('{"begun": "cuda"}\n', "SIGKILL", "").died_in == "cuda"
    assert read_answers("", "exit status 1", "").died_in == "start"
    assert read_answers("", "", "").died_in is None


STUBS = {
    "numpy_2": "def from_numpy(array): raise RuntimeError('Numpy is not available')\n",
    "cpu_only": "class version: cuda = None\n",
    "driver": (
        "import warnings\n"
        "def is_available():\n"
        "    warnings.warn('The NVIDIA driver on your system is too old (found version 12020).')\n"
        "    return False\n"
        "cuda.is_available = is_available\n"
    ),
    "no_kernel": (
        "cuda.is_available = lambda: True\n"
        "cuda.device_count = lambda: 1\n"
        "class properties: name, major, minor, total_memory = 'Orin', 8, 7, 7619 * 2**20\n"
        "cuda.get_device_properties = lambda index: properties\n"
        "def refuse(*_, **__): raise RuntimeError('CUDA error: no kernel image is available for execution on the device\\nmore')\n"
        "arange = ones = refuse\n"
        "nn = type(sys)('torch.nn'); nn.attention = type(sys)('torch.nn.attention')\n"
        "nn.attention.SDPBackend = type('SDPBackend', (), {'FLASH_ATTENTION': 1}); nn.attention.sdpa_kernel = None\n"
        "sys.modules |= {'torch.nn': nn, 'torch.nn.attention': nn.attention}\n"
    ),
    "segfault": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n",
    "exits": "print('sorry', file=sys.stderr); sys.exit(3)\n",
    "library": "raise ImportError('libcudart.so.12: cannot open shared object file')\n",
    "hangs": "import time; time.sleep(600)\n",
}

TORCH = """\
import sys
__version__ = "2.8.0"
class version: cuda = "12.6"
class cuda:
    get_arch_list = lambda: ["sm_80", "sm_90"]
    is_available = lambda: False
    def init(): raise RuntimeError("no CUDA-capable device is detected")
class backends:
    class cudnn:
        is_available = lambda: True
        version = lambda: 90300
    class cuda:
        is_flash_attention_available = lambda: True
class _Array:
    def __init__(self, array): self.array = array
    def numpy(self): return self.array
def from_numpy(array): return _Array(array)
"""


def probe_torch(stubs: Path, monkeypatch: pytest.MonkeyPatch, source: str, timeout_s: float = 60.0) -> Answers:
    """What the torch probe says of a torch with this source at its end; sam2 and torchvision are stubs too."""
    write(
        stubs,
        {"torch/__init__.py": TORCH + source, "torchvision.py": "__version__ = '0.23'", "sam2/__init__.py": "", "sam2/build_sam.py": ""},
    )
    monkeypatch.setenv("PYTHONPATH", str(stubs))
    with Probe("savbench.doctor.torch_probe", [], timeout_s) as probe:
        return probe.answers()


def test_the_torch_probe_on_a_torch_without_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Subject) -> None:
    answers = probe_torch(tmp_path, monkeypatch, "")
    assert (answers.died_in, answers.errors) == (None, {})
    assert answers.found["torch"] == {
        "version": "2.8.0",
        "cuda": "12.6",
        "file": str(tmp_path / "torch/__init__.py"),
        "archs": ["sm_80", "sm_90"],
    }
    assert answers.found["cuda"] == {"available": False, "reason": "no CUDA-capable device is detected"}
    assert answers.found["sam2"]["file"] == str(tmp_path / "sam2/__init__.py")
    assert {check.state for check in check_torch(answers, desktop)} == {"ok", "warning"}


@pytest.mark.parametrize(
    ("stub", "name", "words"),
    [
        ("numpy_2", "numpy ABI", "Numpy is not available"),
        ("cpu_only", "CUDA", "was built without CUDA"),
        ("driver", "CUDA", "driver on your system is too old (found version 12020)"),
        ("no_kernel", "kernels", "no kernel image is available for execution on the device (it has sm_80, sm_90; the GPU is sm_87)"),
        ("segfault", "torch", "importing it ended with SIGSEGV"),
        ("exits", "torch", "importing it ended with exit status 3, last words: sorry"),
        ("library", "torch", "ImportError: libcudart.so.12: cannot open shared object file"),
    ],
)
def test_a_broken_torch_becomes_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orin: Subject, stub: str, name: str, words: str
) -> None:
    found = by_name(check_torch(probe_torch(tmp_path / "stubs", monkeypatch, STUBS[stub]), orin))[name]
    assert (found.state, words in found.detail) == ("failure", True), found.detail
    assert found.remedy


def test_a_torch_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Subject) -> None:
    answers = probe_torch(tmp_path, monkeypatch, STUBS["hangs"], timeout_s=3.0)
    assert (answers.died_in, answers.death) == ("torch", "a hang (no end within 3 s)")
    (found,) = check_torch(answers, desktop)
    assert found.state == "failure"


def test_a_missing_torch_is_told_by_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Subject) -> None:
    # What find_spec would do for a package that is nowhere.
    answers = probe_torch(tmp_path, monkeypatch, "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    (found,) = check_torch(answers, desktop)
    assert (found.state, "not installed" in found.detail) == ("failure", True)


@pytest.fixture
def broken_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, on a machine whose torch crashes and whose PyAV is missing."""
    write(
        tmp_path / "stubs",
        {"torch/__init__.py": STUBS["segfault"], "av.py": "raise ModuleNotFoundError(\"No module named 'av'\")", "sam2/__init__.py": ""},
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stubs"))
    folder = tmp_path / "work here"
    folder.mkdir()
    return folder


def doctor(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jetson_benchmark.py"), "doctor", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_line_on_a_broken_machine(broken_machine: Path, tiny_split: TinySplit) -> None:
    weights = broken_machine / "my weights"
    write(weights, {"edgetam.pt": "cut"})
    done = doctor(broken_machine, "--json", "--split_dir", str(tiny_split.root), "--weights_dir", "my weights")
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert found["ready"] is False
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert (states["torch"], states["weights"], states["PyAV"], states["dataset"]) == ("failure", "failure", "warning", "ok")
    for check in found["checks"]:
        assert set(check) == {"topic", "name", "state", "detail", "remedy", "facts"}
        assert check["state"] in ("ok", "warning", "failure")
        assert check["state"] != "failure" or check["remedy"], f"{check['name']} fails and names nothing that mends it"
    assert next(check for check in found["checks"] if check["name"] == "dataset")["facts"] == {
        "split": "sav_tiny",
        "videos": 2,
        "objects": 3,
        "frames": 18,
        "annotations": 10,
        "defects": [],
    }


def test_the_lines_on_a_broken_machine(broken_machine: Path) -> None:
    done = doctor(broken_machine, "--split_dir", "/nowhere")
    assert (done.returncode, done.stderr) == (1, "")
    shown = done.stdout.splitlines()
    assert any(re.fullmatch(r"failure  torch       cannot be imported: importing it ended with SIGSEGV.*", line) for line in shown)
    assert any(line.startswith("failure  dataset     /nowhere: no such folder") for line in shown)
    assert shown[-1].startswith("2 failures, ")
    assert len(shown) <= 50


def test_the_parent_imports_nothing_that_may_be_broken(tmp_path: Path) -> None:
    script = (
        "import sys, jetson_benchmark\n"
        "jetson_benchmark.main(['doctor', '--json'])\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'cv2', 'PIL', 'av', 'tqdm', 'jtop'} & set(sys.modules)), file=sys.stderr)\n"
    )
    write(tmp_path, {"torch.py": "raise ImportError('broken')"})
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_this_machine_is_examined_without_an_accident() -> None:
    pytest.importorskip("torch", reason="needs torch")
    found = list(examine(Subject(weights_dirs=(ROOT / "checkpoints",)), Path("results")))
    names = [check.name for check in found]
    assert len(names) == len(set(names))
    torch = by_name(found)["torch"]
    assert torch.state == "ok"
    assert json.loads(json.dumps(report(found)))["counts"]
