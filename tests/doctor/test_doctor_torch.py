"""The doctor's lines about torch, its GPU, the other packages and the dataset, from made-up answers of the probes."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor_machines import by_name, dying, failing, gpu_answers, package_answers, write

from savbench.doctor import torch_probe
from savbench.doctor.architectures import fit
from savbench.doctor.check import Subject
from savbench.doctor.gpu import check_torch
from savbench.doctor.packages import check_dataset, check_packages
from savbench.doctor.probe import Answers


@pytest.mark.parametrize(
    ("capability", "archs", "cuda", "kind", "arch"),
    [
        ((8, 7), ["sm_87"], "12.6", "native", "sm_87"),
        ((8, 7), ["sm_80", "sm_87", "sm_90"], "12.6", "native", "sm_87"),
        # An Orin does not run what was built for other GPUs of its generation before CUDA 13.2.
        ((8, 7), ["sm_80", "sm_90"], "12.6", "none", ""),
        ((8, 7), ["sm_80", "sm_86", "sm_90"], "13.0", "none", ""),
        ((8, 7), ["sm_80", "sm_86", "sm_90"], "13.2", "compatible", "sm_86"),
        ((8, 7), ["sm_80", "sm_90"], None, "none", ""),
        ((8, 7), ["sm_89", "sm_90"], "13.2", "none", ""),
        ((8, 7), ["sm_75", "compute_75"], "12.6", "ptx", "compute_75"),
        ((8, 7), ["sm_80", "compute_90"], "12.6", "none", ""),
        ((8, 6), ["sm_80", "sm_90"], "12.6", "compatible", "sm_80"),
        ((8, 9), ["sm_80", "sm_86"], "12.6", "compatible", "sm_86"),
        ((8, 9), ["sm_87"], "12.6", "none", ""),
        ((8, 9), ["sm_87"], "13.2", "none", ""),
        ((8, 0), ["sm_86"], "12.6", "none", ""),
        ((9, 0), ["sm_80"], "12.6", "none", ""),
        ((9, 0), ["sm_90a"], "12.6", "native", "sm_90a"),
        ((10, 3), ["sm_100a"], "12.9", "none", ""),
        ((10, 3), ["sm_100f"], "12.9", "compatible", "sm_100f"),
        ((12, 1), ["sm_120"], "13.0", "compatible", "sm_120"),
        ((12, 0), ["sm_90", "compute_90"], "12.6", "ptx", "compute_90"),
        ((12, 0), ["sm_90", "compute_90a"], "12.6", "none", ""),
        ((11, 0), ["sm_101"], "12.9", "native", "sm_101"),
        ((6, 1), [], "12.6", "none", ""),
        ((6, 1), ["gfx1100"], None, "none", ""),
    ],
)
def test_which_code_a_gpu_runs(capability: tuple[int, int], archs: list[str], cuda: str | None, kind: str, arch: str) -> None:
    found = fit(capability, archs, cuda)
    assert (found.kind, found.arch) == (kind, arch)


WITH_TORCH = "scripts/setup.sh --with-torch  # torch==2.8.0 torchvision==0.23.0 from https://pypi.jetson-ai-lab.io/jp6/cu126, 300 MiB"


def test_all_is_well_on_an_orin(orin: Subject) -> None:
    found = list(check_torch(gpu_answers(), orin))
    assert [check.name for check in found] == ["torch", "torchvision", "numpy ABI", "CUDA", "GPU", "kernels", "cuDNN", "flash"]
    assert {check.state for check in found} == {"ok"}
    assert by_name(found)["GPU"].detail == "Orin, compute capability 8.7, 7619 MiB"
    assert by_name(found)["kernels"].detail == "sm_87 is built in"
    assert all(check.remedy == "" for check in found)


def test_torch_that_is_missing(orin: Subject, desktop: Subject) -> None:
    answers = Answers(errors={"torch": "ModuleNotFoundError: No module named 'torch'"})
    (on_board,) = check_torch(answers, orin)
    assert (on_board.state, on_board.remedy.endswith(f"checkout/{WITH_TORCH}")) == ("failure", True)
    (on_desktop,) = check_torch(answers, desktop)
    assert on_desktop.state == "failure"
    assert on_desktop.remedy.endswith("scripts/setup.sh")
    assert "only the models static and flow can run" in on_desktop.detail


def test_torch_that_cannot_be_imported(desktop: Subject) -> None:
    (library,) = check_torch(Answers(errors={"torch": "ImportError: libcudart.so.12: cannot open shared object file"}), desktop)
    assert (library.state, "libcudart.so.12" in library.detail) == ("failure", True)
    (crash,) = check_torch(Answers(died_in="torch", death="SIGSEGV", last_words="Fatal Python error"), desktop)
    assert crash.detail == "cannot be imported: importing it ended with SIGSEGV, last words: Fatal Python error"
    assert "pip install --force-reinstall torch torchvision" in crash.remedy


def test_a_crash_on_the_gpu_names_what_was_done(orin: Subject) -> None:
    found = by_name(check_torch(dying(gpu_answers(), "kernel_ran"), orin))
    assert found["crash"].state == "failure"
    assert found["crash"].detail == "running a kernel on the GPU ended with SIGSEGV"
    assert found["GPU"].state == "ok"
    hanging = by_name(check_torch(dying(gpu_answers(), "cuda", "a hang (no end within 180 s)"), orin))
    assert hanging["crash"].detail == "starting CUDA ended with a hang (no end within 180 s)"
    assert "CUDA" not in hanging


def test_torchvision(orin: Subject) -> None:
    error = "RuntimeError: operator torchvision::nms does not exist"
    found = by_name(check_torch(failing(gpu_answers(), torchvision=error), orin))["torchvision"]
    assert (found.state, error in found.detail, found.remedy.endswith(WITH_TORCH)) == ("failure", True, True)
    crashed = by_name(check_torch(dying(gpu_answers(), "torchvision"), orin))
    assert crashed["torchvision"].state == "failure"
    assert "crash" not in crashed


def test_numpy_that_torch_was_not_built_for(orin: Subject) -> None:
    found = by_name(check_torch(failing(gpu_answers(), numpy="RuntimeError: Numpy is not available"), orin))["numpy ABI"]
    assert (found.state, "Numpy is not available" in found.detail) == ("failure", True)
    assert found.remedy.endswith("-m pip install 'numpy<2'")
    wrong = by_name(check_torch(gpu_answers(numpy={"exchanged": False}), orin))["numpy ABI"]
    assert wrong.state == "failure"


NO_CUDA: dict[str, Any] = {"available": False, "reason": ""}


def test_no_gpu_at_all(desktop: Subject) -> None:
    found = by_name(check_torch(gpu_answers(cuda=NO_CUDA), desktop))
    assert (found["CUDA"].state, "no NVIDIA GPU in this machine" in found["CUDA"].detail) == ("warning", True)
    assert not {"GPU", "kernels", "cuDNN", "flash"} & set(found)


def test_a_jetson_s_torch_without_cuda(orin: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = gpu_answers(torch={"cuda": None}, cuda=NO_CUDA)
    found = by_name(check_torch(answers, orin))["CUDA"]
    assert (found.state, found.remedy.endswith(WITH_TORCH)) == ("failure", True)
    assert "was built without CUDA" in found.detail

    # One that a package brought into the environment hides the board's own.
    monkeypatch.setattr(sys, "prefix", "/home/me/bench/.venv")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    inside = gpu_answers(torch={"cuda": None, "file": "/home/me/bench/.venv/lib/torch/__init__.py"}, cuda=NO_CUDA)
    remedy = by_name(check_torch(inside, orin))["CUDA"].remedy
    assert (remedy.startswith("rm -r /home/me/bench/.venv && "), remedy.endswith(WITH_TORCH)) == (True, True)


def test_a_jetson_of_an_unknown_jetpack_is_sent_to_nvidia(orin: Subject) -> None:
    write(orin.root, {"etc/nv_tegra_release": "# R35 (release), REVISION: 4.1\n"})
    assert "docs.nvidia.com" in by_name(check_torch(gpu_answers(torch={"cuda": None}, cuda=NO_CUDA), orin))["CUDA"].remedy


def test_a_user_who_may_not_use_the_gpu(orin: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    write(orin.root, {"dev/nvmap": ""})
    assert by_name(check_torch(gpu_answers(cuda=NO_CUDA), orin))["CUDA"].remedy.endswith(WITH_TORCH)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert by_name(check_torch(gpu_answers(cuda=NO_CUDA), orin))["CUDA"].remedy == "sudo usermod -aG video,render $USER"


def test_a_desktop_gpu_that_does_not_answer(desktop: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    write(desktop.root, {"proc/driver/nvidia/version": "NVRM version: 535"})
    reason = "The NVIDIA driver on your system is too old (found version 12020)."
    found = by_name(check_torch(gpu_answers(cuda={"available": False, "reason": reason}), desktop))["CUDA"]
    assert (found.state, found.remedy, reason in found.detail) == ("failure", "nvidia-smi", True)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hidden = by_name(check_torch(gpu_answers(cuda=NO_CUDA), desktop))["CUDA"]
    assert (hidden.state, hidden.remedy) == ("warning", "unset CUDA_VISIBLE_DEVICES")


NO_KERNEL = "AcceleratorError: CUDA error: no kernel image is available for execution on the device"


def test_kernels_that_this_torch_lacks(orin: Subject, desktop: Subject) -> None:
    server = gpu_answers(torch={"archs": ["sm_80", "sm_90"]})
    lines = by_name(check_torch(failing(server, kernel_ran=NO_KERNEL, cudnn_ran=NO_KERNEL, flash_ran=NO_KERNEL), orin))
    assert not {"cuDNN", "flash"} & set(lines), "one cause is one line"
    failed = lines["kernels"]
    assert (failed.state, failed.remedy.endswith(WITH_TORCH)) == ("failure", True)
    assert "no kernel image" in failed.detail
    assert "it has sm_80, sm_90; the GPU is sm_87" in failed.detail

    # PyTorch's own table does not promise it, and yet it ran: said, and not taken for certain.
    ran = by_name(check_torch(server, orin))["kernels"]
    assert (ran.state, "one kernel ran nevertheless" in ran.detail) == ("warning", True)

    unified = by_name(check_torch(gpu_answers(torch={"archs": ["sm_80", "sm_90"], "cuda": "13.2"}), orin))["kernels"]
    assert (unified.state, unified.detail) == ("ok", "sm_80 is built in and runs on sm_87: same major version, not newer")

    ptx = by_name(check_torch(gpu_answers(torch={"archs": ["sm_75", "compute_80"]}), orin))["kernels"]
    assert (ptx.state, "compiles compute_80 at first use" in ptx.detail) == ("warning", True)

    assert by_name(check_torch(gpu_answers(matmul_ran={"right": False}), orin))["kernels"].state == "failure"

    pascal = gpu_answers(devices={"devices": [{"name": "GTX 1080", "capability": [6, 1], "memory_mib": 8192}]}, torch={"cuda": "13.0"})
    assert "--index-url https://download.pytorch.org/whl/cu126" in by_name(check_torch(pascal, desktop))["kernels"].remedy


def test_a_gpu_that_torch_cannot_start(orin: Subject) -> None:
    found = by_name(check_torch(failing(gpu_answers(), devices="RuntimeError: CUDA error: out of memory"), orin))
    assert (found["GPU"].state, "out of memory" in found["GPU"].detail) == ("failure", True)


def test_cudnn(orin: Subject) -> None:
    broken = by_name(check_torch(failing(gpu_answers(), cudnn_ran="RuntimeError: CUDNN_STATUS_NOT_INITIALIZED"), orin))["cuDNN"]
    assert (broken.state, "CUDNN_STATUS_NOT_INITIALIZED" in broken.detail) == ("failure", True)
    assert by_name(check_torch(gpu_answers(cudnn={"version": None}), orin))["cuDNN"].state == "warning"


def test_flash(orin: Subject) -> None:
    volta = gpu_answers(devices={"devices": [{"name": "Xavier", "capability": [7, 2], "memory_mib": 1}]}, torch={"archs": ["sm_72"]})
    old = by_name(check_torch(volta, orin))["flash"]
    assert (old.state, old.remedy) == ("warning", "--attention efficient")
    assert "needs compute capability 8.0, this GPU has 7.2" in old.detail
    assert "built without" in by_name(check_torch(gpu_answers(flash={"built": False}), orin))["flash"].detail
    refused = by_name(check_torch(failing(gpu_answers(), flash_ran="RuntimeError: No available kernel. Aborting execution."), orin))[
        "flash"
    ]
    assert (refused.state, "No available kernel" in refused.detail) == ("warning", True)
    # torch before 2.5 does not say; that it ran is enough
    assert by_name(check_torch(gpu_answers(flash={"built": None}), orin))["flash"].state == "ok"


# --- packages and the dataset ---


def test_packages_that_are_well(desktop: Subject) -> None:
    found = list(check_packages(package_answers(), desktop))
    assert {check.state for check in found} == {"ok"}
    assert [check.name for check in found] == ["NumPy", "OpenCV", "PyAV", "others"]


@pytest.mark.parametrize(
    ("step", "error", "name", "state", "remedy"),
    [
        ("numpy", "ImportError: numpy._core.multiarray failed to import", "NumPy", "failure", "scripts/setup.sh"),
        ("opencv", "ImportError: libGL.so.1: cannot open", "OpenCV", "failure", "--force-reinstall --no-deps opencv-python-headless"),
        ("opencv", "ModuleNotFoundError: No module named 'cv2'", "OpenCV", "failure", "scripts/setup.sh"),
        ("pyav", "ModuleNotFoundError: No module named 'av'", "PyAV", "warning", "scripts/setup.sh"),
        ("pyav", "ImportError: libavcodec.so: cannot open", "PyAV", "warning", "pip install --force-reinstall --no-deps av"),
        ("PIL", "ImportError: libjpeg.so.8: cannot open", "others", "failure", "scripts/setup.sh"),
    ],
)
def test_packages_that_are_broken(desktop: Subject, step: str, error: str, name: str, state: str, remedy: str) -> None:
    found = by_name(check_packages(failing(package_answers(), **{step: error}), desktop))[name]
    assert (found.state, error in found.detail) == (state, True)
    assert found.remedy.endswith(remedy)


def test_several_missing_packages_are_one_short_line(desktop: Subject) -> None:
    missing = {name: f"ModuleNotFoundError: No module named '{name}'" for name in ("PIL", "tqdm")}
    found = by_name(check_packages(failing(package_answers(), **missing), desktop))["others"]
    assert found.detail == "missing or broken: PIL, tqdm"
    # where setup has made an environment, that is the one to use
    write(desktop.checkout, {".venv/bin/python": ""})
    found = by_name(check_packages(failing(package_answers(), **missing), desktop))["others"]
    assert found.remedy == f"{desktop.checkout}/.venv/bin/python jetson_benchmark.py doctor"


def test_packages_that_are_not_as_they_should_be(desktop: Subject) -> None:
    two = {"opencv-python": "4.11", "opencv-python-headless": "4.10"}
    several = by_name(check_packages(package_answers(opencv={"distributions": two}), desktop))["OpenCV"]
    assert several.state == "warning"
    assert "pip uninstall -y opencv-python opencv-python-headless && " in several.remedy
    assert by_name(check_packages(package_answers(opencv={"optical_flow": False}), desktop))["OpenCV"].state == "warning"
    assert "without libx264" in by_name(check_packages(package_answers(pyav={"h264": False}), desktop))["PyAV"].detail


def test_a_package_that_crashes_ends_the_list(desktop: Subject) -> None:
    found = list(check_packages(dying(package_answers(), "opencv"), desktop))
    assert [(check.name, check.state) for check in found] == [("NumPy", "ok"), ("OpenCV", "failure")]
    assert "importing it ended with SIGSEGV" in found[1].detail
    (nothing,) = check_packages(Answers(died_in="start", death="exit status 1", last_words="SyntaxError"), desktop)
    assert (nothing.state, "SyntaxError" in nothing.detail) == ("failure", True)


def test_dataset(desktop: Subject) -> None:
    assert list(check_dataset(package_answers(), desktop)) == []
    subject = replace(desktop, split_dir=Path("/data/sav_val"))
    (well,) = check_dataset(package_answers(), subject)
    assert (well.state, well.detail) == ("ok", "sav_val: 155 videos, 293 objects, 60000 frames, 15000 annotated masks")
    (flawed,) = check_dataset(package_answers(dataset={"defects": ["/data/a: empty", "/data/b: empty"]}), subject)
    assert (flawed.state, flawed.detail.endswith("unusable: /data/a: empty and 1 more")) == ("warning", True)
    (empty,) = check_dataset(package_answers(dataset={"objects": 0}), subject)
    assert empty.state == "failure"
    (missing,) = check_dataset(failing(package_answers(), dataset="DatasetError: /data/sav_val: no such folder"), subject)
    assert (missing.state, missing.detail) == ("failure", "/data/sav_val: no such folder")
    assert missing.remedy == "tar -xf sav_val.tar -C /data"
    inside = "DatasetError: /data: no folder Annotations_6fps; did you mean --split_dir /data/sav val?"
    (above,) = check_dataset(failing(package_answers(), dataset=inside), subject)
    assert above.remedy.endswith("jetson_benchmark.py doctor --split_dir '/data/sav val'")


def test_what_the_gpu_is_asked_to_compute_is_right(one_torch_thread: None) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    for run in (torch_probe._run_kernel, torch_probe._run_matmul, torch_probe._run_convolution, torch_probe._run_flash):
        assert run(torch, "cpu") == {"right": True}, run.__name__
