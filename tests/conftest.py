"""Fixtures that several test modules share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from dealing import deal
from hypothesis import settings
from tiny_split import TinySplit, rectangle
from turns import turn

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as there are cores, with as many threads each, would stand in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# how long an example takes says nothing on a shared machine
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ("doctor_machines", "sealed_fixture", "setup_machine")

# tables are as wide as the terminal of who runs the tests otherwise
os.environ.pop("COLUMNS", None)

SHARED = Path(__file__).parents[2] / "shared"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = deal(items, lambda item: item.path, lambda item: item.get_closest_marker("slow") is not None, processes)


def pytest_collection_finish() -> None:
    """What was imported for the tests stays; looking through it for garbage again and again takes seconds of each process."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    assert item.config.cache is not None
    with turn(item.config.cache.mkdir("turns"), alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands, the only ones to be found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def _can_be_interrupted() -> None:
    """A shell starts its background jobs with SIGINT ignored, and what they start inherits that: tests that interrupt would not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tiny_split(tmp_path: Path) -> TinySplit:
    """A fresh copy for each test, in `tmp_path / "sav_tiny"`."""
    split = TinySplit(tmp_path / "sav_tiny")
    square = [rectangle(4, 2 + 4 * step, 8, 8) for step in range(4)]
    absent = np.zeros((24, 32), np.bool_)
    split.write_video("alpha", 13, {"000": square, "001": [absent, *[rectangle(15, 20, 6, 5)] * 3]})
    split.write_video("beta", 5, {"000": square[:2]})
    (split.root / "sav_tiny.txt").write_text("alpha\nbeta\n")
    return split


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Masks differ between numbers of threads: for tests that compare them."""
    torch = pytest.importorskip("torch", reason="needs torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def exported_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of exported graphs that all tests share, in all of their processes: exporting sam2_nano takes 20 s."""
    for package in ("torch", "sam2", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"needs {package} (requirements-onnx.txt)")
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported"


@pytest.fixture(scope="session")
def davis_sav() -> Path:
    """Five real clips in SA-V layout; skips where they are not at hand."""
    root = SHARED / "data" / "davis_sav"
    if not root.is_dir():
        pytest.skip(f"needs the real clips in {root}")
    return root
