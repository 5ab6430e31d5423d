"""Check of `--runtime`: which of its values run here, and what the others need."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from runners.exported import CPU_PROVIDER, CUDA_PROVIDER, EXPORT_DTYPES, EXPORTERS, ON_GPU, TENSORRT_PROVIDER, TORCH
from savbench.doctor.check import Check, Subject, pip

if TYPE_CHECKING:
    from savbench.doctor.probe import Answers

TOPIC, NAME = "models", "runtimes"
PROVIDERS = {TENSORRT_PROVIDER: "TensorRT", CUDA_PROVIDER: "CUDA", CPU_PROVIDER: "CPU"}
"""Those of ONNX Runtime that a run uses, as the line names them."""


def check_runtimes(answers: Answers, subject: Subject) -> Check:
    """
    Args:
        answers: of the package probe, whose last steps import the runtimes.
    """
    ort, tensorrt = (answers.found.get(name) for name in ("onnxruntime", "tensorrt"))
    exporters = [name for name in EXPORTERS if importlib.util.find_spec(name) is not None]
    usable = [TORCH, *_usable(ort, tensorrt, subject)] if len(exporters) == len(EXPORTERS) else [TORCH]
    facts = {"usable": usable, "onnxruntime": ort, "tensorrt": tensorrt, "exporters": exporters}
    broken = {name: why for name in ("onnxruntime", "tensorrt") if (why := _why_broken(answers, name)) is not None}
    if broken:
        reasons = "; ".join(f"{name} cannot be imported: {why}" for name, why in broken.items())
        remedy = _instead("onnxruntime", "onnxruntime-gpu", subject=subject) if "onnxruntime" in broken else _tensorrt(subject, again=True)
        return Check(TOPIC, NAME, "warning", f"{_values(usable)}; {reasons}", remedy, {**facts, "errors": broken})
    found = (
        [f"onnxruntime {ort['version']} ({', '.join(said for name, said in PROVIDERS.items() if name in ort['providers'])})"]
        if ort is not None
        else []
    )
    found += [f"tensorrt {tensorrt['version']}"] if tensorrt is not None else []
    detail = f"{_values(usable)}{': ' * bool(found)}{', '.join(found)}"
    if ort is not None and len(ort["distributions"]) > 1:
        names = list(ort["distributions"])
        detail += f"; {' and '.join(names)} overwrite each other"
        return Check(TOPIC, NAME, "warning", detail, _instead(*names, subject=subject), facts)
    if ort is not None and subject.nvidia_gpu is not None and CUDA_PROVIDER not in ort["providers"]:
        detail += "; this build of onnxruntime runs graphs on the CPU only"
        return Check(TOPIC, NAME, "warning", detail, _instead(*ort["distributions"], subject=subject), facts)
    return Check(TOPIC, NAME, "ok", detail + _lacking(ort, tensorrt, exporters, subject), facts=facts)


def _usable(ort: dict[str, Any] | None, tensorrt: dict[str, Any] | None, subject: Subject) -> list[str]:
    """Runtimes of exported graphs whose packages are there, where the exporter's are too."""
    has = {
        "onnx": ort is not None,
        "onnx-int8": ort is not None,
        "onnx-tensorrt": ort is not None and TENSORRT_PROVIDER in ort["providers"],
        "tensorrt": tensorrt is not None,
        # onnxruntime quantises
        "tensorrt-int8": tensorrt is not None and ort is not None,
    }
    return [name for name in EXPORT_DTYPES if has[name] and (subject.nvidia_gpu is not None or name not in ON_GPU)]


def _lacking(ort: dict[str, Any] | None, tensorrt: dict[str, Any] | None, exporters: list[str], subject: Subject) -> str:
    """What the other values need; most runs name none of them."""
    missing = [
        name for name, is_there in (("onnxruntime", ort is not None), *((name, name in exporters) for name in EXPORTERS)) if not is_there
    ]
    said = f"; exported graphs need {', '.join(missing)} ({_install(subject)})" if missing else ""
    if tensorrt is None and subject.nvidia_gpu is not None:
        said += f"; tensorrt is not installed ({_tensorrt(subject)})"
    return said


def _install(subject: Subject) -> str:
    """The command that installs ONNX Runtime for this machine's GPU or CPU, with the exporter's packages."""
    if subject.nvidia_gpu is None:
        return pip("install -r requirements-onnx.txt")
    jetpack = subject.jetpack
    if jetpack is not None and jetpack.has_onnxruntime:
        return f"{pip('install', *EXPORTERS)} && {pip('install --index-url', jetpack.index, 'onnxruntime-gpu')}"
    return pip("install", *EXPORTERS, "onnxruntime-gpu")


def _instead(*names: str, subject: Subject) -> str:
    """The command that replaces the builds of ONNX Runtime that are there: pip would keep one whose version is right."""
    return f"{pip('uninstall -y', *names)} && {_install(subject)}"


def _tensorrt(subject: Subject, *, again: bool = False) -> str:
    """The command that installs TensorRT: on a Jetson JetPack's, which fits its driver."""
    if subject.is_jetson:
        return f"sudo apt-get install {'--reinstall ' * again}python3-libnvinfer"
    return pip(f"install {'--force-reinstall ' * again}tensorrt")


def _why_broken(answers: Answers, name: str) -> str | None:
    """Why a runtime that is installed cannot be imported."""
    if answers.died_in == name:
        return f"importing it ended with {answers.death}"
    why = answers.errors.get(name)
    return None if why is None or f"No module named '{name}'" in why else why


def _values(usable: list[str]) -> str:
    return f"--runtime {', '.join(usable)}"
