"""The doctor's line about --runtime."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from doctor_machines import package_answers, write

from runners.exported import EXPORTERS
from savbench.doctor.check import Subject
from savbench.doctor.probe import Answers, Probe
from savbench.doctor.runtimes import check_runtimes

CPU = {"version": "1.23.0", "providers": ["AzureExecutionProvider", "CPUExecutionProvider"], "distributions": {"onnxruntime": "1.23.0"}}
GPU = {
    "version": "1.23.0",
    "providers": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
    "distributions": {"onnxruntime-gpu": "1.23.0"},
}
TENSORRT = {"version": "10.3.0"}


@pytest.fixture(autouse=True)
def exporters(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Exporting packages that are there: all, until a test takes some away."""
    there, real = set(EXPORTERS), importlib.util.find_spec

    def find_spec(name: str, *given: Any) -> Any:
        return (name in there or None) if name in EXPORTERS else real(name, *given)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    return there


def having(**found: dict[str, Any]) -> Answers:
    """What the probe says where the packages of a run are there, and these runtimes; the others are not installed."""
    absent = {"onnxruntime", "tensorrt"} - set(found)
    errors = {name: f"ModuleNotFoundError: No module named '{name}'" for name in absent}
    return Answers({**package_answers().found, **found}, errors)


def test_on_a_cpu_onnx_runtime_is_all_that_there_is_to_have(desktop: Subject) -> None:
    found = check_runtimes(having(onnxruntime=CPU), desktop)
    assert (found.state, found.detail, found.remedy) == ("ok", "--runtime torch, onnx, onnx-int8: onnxruntime 1.23.0 (CPU)", "")
    assert found.facts["usable"] == ["torch", "onnx", "onnx-int8"]


def test_nothing_installed_is_no_fault_and_the_command_is_told(desktop: Subject, exporters: set[str]) -> None:
    exporters.clear()
    found = check_runtimes(having(), desktop)
    assert found.state == "ok"
    assert found.detail.startswith("--runtime torch; exported graphs need onnxruntime, onnx, onnxscript (")
    assert found.detail.endswith(" -m pip install -r requirements-onnx.txt)")


def test_a_runtime_without_the_exporter_runs_nothing(desktop: Subject, exporters: set[str]) -> None:
    exporters.remove("onnxscript")
    found = check_runtimes(having(onnxruntime=CPU), desktop)
    assert found.facts["usable"] == ["torch"]
    assert "exported graphs need onnxscript (" in found.detail


def test_on_a_board_each_runtime_counts_whose_package_is_there(orin: Subject) -> None:
    whole = check_runtimes(having(onnxruntime=GPU, tensorrt=TENSORRT), orin)
    values = "torch, onnx, onnx-int8, onnx-tensorrt, tensorrt, tensorrt-int8"
    assert (whole.state, whole.detail) == ("ok", f"--runtime {values}: onnxruntime 1.23.0 (TensorRT, CUDA, CPU), tensorrt 10.3.0")
    without = check_runtimes(having(onnxruntime=GPU), orin)
    assert without.facts["usable"] == ["torch", "onnx", "onnx-int8", "onnx-tensorrt"]
    assert without.detail.endswith("; tensorrt is not installed (sudo apt-get install python3-libnvinfer)")
    only = check_runtimes(having(tensorrt=TENSORRT), orin)
    assert only.facts["usable"] == ["torch", "tensorrt"]
    assert "--index-url https://pypi.jetson-ai-lab.io/jp6/cu126 onnxruntime-gpu)" in only.detail


def test_a_build_without_cuda_on_a_gpu_and_two_builds_at_once_are_warned_of(desktop: Subject, orin: Subject) -> None:
    cpu_only = check_runtimes(having(onnxruntime=CPU), orin)
    assert (cpu_only.state, "runs graphs on the CPU only" in cpu_only.detail) == ("warning", True)
    assert " -m pip uninstall -y onnxruntime && " in cpu_only.remedy
    assert cpu_only.remedy.endswith("--index-url https://pypi.jetson-ai-lab.io/jp6/cu126 onnxruntime-gpu")

    write(desktop.root, {"dev/nvidia0": ""})
    both = {**GPU, "distributions": {"onnxruntime": "1.23.0", "onnxruntime-gpu": "1.22.0"}}
    found = check_runtimes(having(onnxruntime=both, tensorrt=TENSORRT), desktop)
    assert (found.state, "onnxruntime and onnxruntime-gpu overwrite each other" in found.detail) == ("warning", True)
    assert "uninstall -y onnxruntime onnxruntime-gpu && " in found.remedy
    assert found.remedy.endswith(" -m pip install onnx onnxscript onnxruntime-gpu")


def test_a_runtime_that_cannot_be_imported_is_told_with_the_reason(desktop: Subject, orin: Subject) -> None:
    broken = Answers({"tensorrt": TENSORRT}, {"onnxruntime": "ImportError: libcudart.so.12: cannot open"})
    found = check_runtimes(broken, desktop)
    assert (found.state, found.facts["usable"]) == ("warning", ["torch"])
    assert found.detail == "--runtime torch; onnxruntime cannot be imported: ImportError: libcudart.so.12: cannot open"
    assert " -m pip uninstall -y onnxruntime onnxruntime-gpu && " in found.remedy
    dead = Answers(died_in="onnxruntime", death="SIGSEGV")
    assert "importing it ended with SIGSEGV" in check_runtimes(dead, desktop).detail
    stale = Answers({"onnxruntime": GPU}, {"tensorrt": "ImportError: libnvinfer.so.10: cannot open"})
    assert check_runtimes(stale, desktop).remedy.endswith(" -m pip install --force-reinstall tensorrt")
    assert check_runtimes(stale, orin).remedy == "sudo apt-get install --reinstall python3-libnvinfer"


def test_the_probe_asks_the_packages_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = "__version__ = '1.19'\ndef get_available_providers(): return ['CPUExecutionProvider']\n"
    write(tmp_path, {"onnxruntime.py": stub, "tensorrt.py": "raise ImportError('libnvinfer.so.10: cannot open')\n"})
    write(tmp_path, {"onnxruntime_gpu-1.19.dist-info/METADATA": "Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.19\n"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Probe("savbench.doctor.package_probe", [], 60.0) as probe:
        answers = probe.answers()
    found = answers.found["onnxruntime"]
    assert (found["version"], found["providers"]) == ("1.19", ["CPUExecutionProvider"])
    assert found["distributions"]["onnxruntime-gpu"] == "1.19"
    assert answers.errors["tensorrt"] == "ImportError: libnvinfer.so.10: cannot open"
