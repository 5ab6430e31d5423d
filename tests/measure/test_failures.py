from __future__ import annotations

import signal

import pytest

from savbench.measure.failures import memory_hint, status_of, status_of_exit


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("anything"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("NvMapMemAllocInternalTagged: 1075072515 error 12"),
        RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp:1131"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_every_face_of_a_lack_of_memory(error: BaseException) -> None:
    assert status_of(error) == "oom"


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), ValueError("out of memory of something else"), KeyError("x"), SystemExit(1)]
)
def test_anything_else_is_an_error(error: BaseException) -> None:
    assert status_of(error) == "error"


@pytest.mark.parametrize(
    ("return_code", "oom_kills", "status", "message"),
    [
        (-signal.SIGKILL, 1, "oom", "out of memory"),
        (-signal.SIGKILL, 0, "killed", "SIGKILL"),
        (-signal.SIGSEGV, 1, "killed", "SIGSEGV"),
        (-signal.SIGBUS, 0, "killed", "SIGBUS"),
        (-250, 0, "killed", "signal 250"),
        (3, 0, "error", "exit status 3"),
    ],
)
def test_how_a_worker_died(return_code: int, oom_kills: int, status: str, message: str) -> None:
    assert status_of_exit(return_code, oom_kills)[0] == status
    assert message in status_of_exit(return_code, oom_kills)[1]


def test_a_hint_names_what_the_arm_leaves_open() -> None:
    assert memory_hint(dtype="float32", joint=True) == (
        "use a smaller --imgsz, --autocast_dtype float16, fewer objects per session (without --joint_objects), or close other programs"
    )
    assert memory_hint(dtype="bfloat16", grows=True) == "use a smaller --imgsz, shorter clips (--max_frames), or close other programs"
    assert memory_hint(dtype="none", has_size=False) == "close other programs"
