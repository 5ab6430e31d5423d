"""Checks of torch and its GPU, from the answers of the torch probe."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.board.jetsons import jetpack_of
from savbench.doctor.architectures import fit
from savbench.doctor.check import Check, Subject, pip, set_up_again, short_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from savbench.doctor.probe import Answers

TOPIC = "torch"
FLASH_CAPABILITY = (8, 0)
OLDEST_GPU_OF_CUDA_13 = (7, 5)
"""Older GPUs need builds for CUDA 12.6."""


def check_torch(answers: Answers, subject: Subject) -> Iterator[Check]:
    if "torch" not in answers.found:
        yield _unusable(answers, subject)
        return
    torch = answers.found["torch"]
    built = f"CUDA {torch['cuda']}" if torch["cuda"] else "no CUDA"
    yield Check(TOPIC, "torch", "ok", f"{torch['version']}, built for {built}, in {short_path(Path(torch['file']).parent)}", facts=torch)
    yield from _after_crash(answers, subject)
    yield from _torchvision(answers, subject)
    yield from _numpy_exchange(answers)
    yield from _cuda(answers, subject)


def _unusable(answers: Answers, subject: Subject) -> Check:
    error = answers.errors.get("torch", "")
    if error == "ModuleNotFoundError: No module named 'torch'":
        remedy = torch_for_jetson(subject) if subject.is_jetson else set_up_again(subject.checkout)
        detail = f"not installed for {short_path(Path(sys.executable))}; only the models static and flow can run"
        return Check(TOPIC, "torch", "failure", detail, remedy)
    if not error:
        error = f"importing it ended with {answers.death}" + (f", last words: {answers.last_words}" if answers.last_words else "")
    return Check(TOPIC, "torch", "failure", f"cannot be imported: {error}", _other_torch(subject, None), {"error": error})


def _after_crash(answers: Answers, subject: Subject) -> Iterator[Check]:
    """Report a probe that died while it used torch; later steps were not checked."""
    # Steps of the models are reported by their own checks.
    if answers.died_in is None or answers.died_in in ("sam2", "sam2_extension", "edgetam_extension", "torchvision"):
        return
    doing = {
        "numpy": "exchanging arrays with NumPy",
        "cuda": "starting CUDA",
        "devices": "describing the GPU",
        "kernel_ran": "running a kernel on the GPU",
        "matmul_ran": "multiplying matrices on the GPU",
        "cudnn_ran": "running a convolution on the GPU",
        "flash_ran": "running flash attention on the GPU",
        "end": "exiting the process after all steps",
    }.get(answers.died_in, answers.died_in)
    words = f"; last words: {answers.last_words}" if answers.last_words else ""
    remedy = _other_torch(subject, answers)
    yield Check(TOPIC, "crash", "failure", f"{doing} ended with {answers.death}{words}", remedy, {"step": answers.died_in})


def _torchvision(answers: Answers, subject: Subject) -> Iterator[Check]:
    if "torchvision" in answers.found:
        yield Check(TOPIC, "torchvision", "ok", answers.found["torchvision"]["version"], facts=answers.found["torchvision"])
    elif "torchvision" in answers.errors or answers.died_in == "torchvision":
        error = answers.errors.get("torchvision") or f"importing it ended with {answers.death}"
        # SAM 2 from its own sources runs without torchvision; EdgeTAM does not.
        detail = f"missing, or does not match this torch: {error}; EdgeTAM needs it"
        yield Check(TOPIC, "torchvision", "failure", detail, _other_torch(subject, answers), {"error": error})


def _numpy_exchange(answers: Answers) -> Iterator[Check]:
    error = answers.errors.get("numpy")
    found = answers.found.get("numpy")
    if found is not None and found["exchanged"]:
        yield Check(TOPIC, "numpy ABI", "ok", f"torch and NumPy {found['version']} exchange arrays", facts=found)
    elif error is not None or found is not None:
        detail = f"torch and NumPy cannot exchange arrays ({error or 'values changed on the way'}): torch was built for another NumPy"
        yield Check(TOPIC, "numpy ABI", "failure", detail, pip("install 'numpy<2'"), {"error": error})


def _cuda(answers: Answers, subject: Subject) -> Iterator[Check]:
    cuda = answers.found.get("cuda", {"available": False, "reason": answers.errors.get("cuda", "")})
    if answers.died_in == "cuda":
        return
    if not cuda["available"]:
        yield _no_cuda(answers, subject, cuda["reason"])
        return
    torch = answers.found["torch"]
    yield Check(TOPIC, "CUDA", "ok", f"{torch['cuda']}, usable", facts=cuda)
    devices: list[dict[str, Any]] = answers.found.get("devices", {}).get("devices", [])
    if "devices" in answers.errors:
        detail = f"torch cannot start it: {answers.errors['devices']}"
        yield Check(TOPIC, "GPU", "failure", detail, _other_torch(subject, answers), {"error": answers.errors["devices"]})
        return
    for index, device in enumerate(devices):
        name = "GPU" if len(devices) == 1 else f"GPU {index}"
        detail = f"{device['name']}, compute capability {_dotted(device['capability'])}, {device['memory_mib']} MiB"
        yield Check(TOPIC, name, "ok", detail, facts=device)
        yield _kernels(answers, subject, device, index)
    if "kernel_ran" in answers.errors:
        return  # the other steps would fail for the same reason
    yield from _cudnn(answers, subject)
    if devices:
        yield from _flash(answers, subject, devices[0])


def _no_cuda(answers: Answers, subject: Subject, reason: str) -> Check:
    torch, gpu = answers.found["torch"], subject.nvidia_gpu
    facts = {"available": False, "reason": reason, "gpu": gpu}
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return Check(
            TOPIC, "CUDA", "warning", "CUDA_VISIBLE_DEVICES hides every GPU; models run on the CPU", "unset CUDA_VISIBLE_DEVICES", facts
        )
    if gpu is None:
        detail = "no NVIDIA GPU in this machine; models run on the CPU, where a frame takes seconds"
        return Check(TOPIC, "CUDA", "warning", detail, facts=facts)
    if torch["cuda"] is None:
        detail = f"this machine has a GPU ({gpu}), but this torch was built without CUDA; another package may have installed it"
        return Check(TOPIC, "CUDA", "failure", detail, _other_torch(subject, answers), facts)
    suffix = f" ({reason})" if reason else ""
    if subject.is_jetson:
        node = subject.root / "dev/nvmap"
        if node.exists() and not os.access(node, os.R_OK | os.W_OK):
            detail = "this user may not use the GPU; join the GPU's groups and log in again"
            return Check(TOPIC, "CUDA", "failure", detail, "sudo usermod -aG video,render $USER", facts)
        jetpack = subject.jetpack
        wanted = "its JetPack" if jetpack is None else f"JetPack {jetpack.version}, which has CUDA {jetpack.cuda}"
        detail = f"torch {torch['version']} for CUDA {torch['cuda']} cannot use this board's GPU{suffix}; install the build for {wanted}"
        return Check(TOPIC, "CUDA", "failure", detail, _other_torch(subject, answers), facts)
    detail = (
        f"torch {torch['version']} for CUDA {torch['cuda']} cannot use the GPU{suffix}; check that the driver answers and is new enough"
    )
    return Check(TOPIC, "CUDA", "failure", detail, "nvidia-smi", facts)


def _kernels(answers: Answers, subject: Subject, device: dict[str, Any], index: int) -> Check:
    """Check that this torch has code for the GPU: by its list of architectures and, for the first GPU, by running kernels."""
    torch = answers.found["torch"]
    major, minor = device["capability"]
    served, archs = fit((major, minor), torch["archs"], torch["cuda"]), ", ".join(torch["archs"]) or "none listed"
    wanted = f"sm_{major}{minor}"
    facts = {"capability": f"{major}.{minor}", "archs": torch["archs"], "fit": served.kind, "arch": served.arch}
    remedy = _other_torch(subject, answers, (major, minor))
    failed = [answers.errors[step] for step in ("kernel_ran", "matmul_ran") if step in answers.errors] if index == 0 else []
    failed += [f"{step} gave a wrong result" for step in ("kernel_ran", "matmul_ran") if index == 0 and _wrong(answers, step)]
    if failed:
        detail = f"this torch cannot compute on the GPU: {failed[0]} (it has {archs}; the GPU is {wanted})"
        return Check(TOPIC, "kernels", "failure", detail, remedy, {**facts, "error": failed[0]})
    if served.kind == "native":
        return Check(TOPIC, "kernels", "ok", f"{served.arch} is built in", facts=facts)
    if served.kind == "compatible":
        detail = f"{served.arch} is built in and runs on {wanted}: same major version, not newer"
        return Check(TOPIC, "kernels", "ok", detail, facts=facts)
    if served.kind == "ptx":
        detail = f"no {wanted} in this torch ({archs}); the driver compiles {served.arch} at first use, which is slow"
        return Check(TOPIC, "kernels", "warning", detail, remedy, facts)
    ran = index == 0 and "kernel_ran" in answers.found
    detail = f"no code for {wanted} in this torch ({archs})" + ("; one kernel ran nevertheless, others may not" if ran else "")
    return Check(TOPIC, "kernels", "warning" if ran else "failure", detail, remedy, facts)


def _cudnn(answers: Answers, subject: Subject) -> Iterator[Check]:
    if answers.died_in in ("cudnn", "cudnn_ran"):
        return
    version = answers.found.get("cudnn", {}).get("version")
    error = answers.errors.get("cudnn") or answers.errors.get("cudnn_ran") or ("a wrong result" if _wrong(answers, "cudnn_ran") else None)
    facts = {"version": version, "error": error}
    if error is not None:
        yield Check(TOPIC, "cuDNN", "failure", f"a convolution failed: {error}", _other_torch(subject, answers), facts)
    elif version is None:
        yield Check(TOPIC, "cuDNN", "warning", "not in this torch; convolutions are slower", _other_torch(subject, answers), facts)
    else:
        yield Check(TOPIC, "cuDNN", "ok", f"{version}, a convolution ran", facts=facts)


def _flash(answers: Answers, subject: Subject, device: dict[str, Any]) -> Iterator[Check]:
    if answers.died_in in ("flash", "flash_ran"):
        return
    built = answers.found.get("flash", {}).get("built")
    # On a Jetson setup.sh replaces no torch that computes.
    other = "--attention efficient" if subject.is_jetson else _other_torch(subject, answers, tuple(device["capability"]))
    error = answers.errors.get("flash_ran")
    facts = {"built": built, "capability": _dotted(device["capability"]), "error": error}
    if tuple(device["capability"]) < FLASH_CAPABILITY:
        detail = f"needs compute capability 8.0, this GPU has {_dotted(device['capability'])}; attention runs on other kernels"
        yield Check(TOPIC, "flash", "warning", detail, "--attention efficient", facts)
    elif built is False:
        detail = "this torch was built without flash attention; attention runs on other kernels"
        yield Check(TOPIC, "flash", "warning", detail, other, facts)
    elif error is not None or _wrong(answers, "flash_ran"):
        detail = f"flash attention does not run: {error or 'a wrong result'}; attention runs on other kernels"
        yield Check(TOPIC, "flash", "warning", detail, other, facts)
    else:
        yield Check(TOPIC, "flash", "ok", "flash attention ran in float16", facts=facts)


def _other_torch(subject: Subject, answers: Answers | None, capability: tuple[int, ...] | None = None) -> str:
    """The command that installs a torch that matches this machine."""
    if subject.is_jetson:
        file = "" if answers is None else str(answers.found.get("torch", {}).get("file", ""))
        if file.startswith(sys.prefix) and sys.prefix != sys.base_prefix:
            # It came with another package, or it is of an earlier JetPack. Where the board's own torch works, setup.sh installs none.
            return f"rm -r {short_path(Path(sys.prefix))} && {torch_for_jetson(subject)}"
        return torch_for_jetson(subject)
    packages = ("--force-reinstall", "torch", "torchvision")
    if capability is not None and capability < OLDEST_GPU_OF_CUDA_13:
        return pip("install", *packages, "--index-url https://download.pytorch.org/whl/cu126")
    return pip("install", *packages)


def torch_for_jetson(subject: Subject) -> str:
    """The command that installs the torch of this JetPack into the benchmark's environment; a link where none is known."""
    jetpack = jetpack_of(subject.l4t)
    if jetpack is None:
        return "see https://docs.nvidia.com/deeplearning/frameworks/install-pytorch-jetson-platform/ for the wheel of this JetPack"
    script = short_path(subject.checkout / "scripts" / "setup.sh")
    return f"{script} --with-torch  # {jetpack.torch} from {jetpack.index}, {jetpack.download_mib} MiB"


def _wrong(answers: Answers, step: str) -> bool:
    return answers.found.get(step, {}).get("right") is False


def _dotted(capability: list[int]) -> str:
    return ".".join(map(str, capability))
