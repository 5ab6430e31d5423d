"""Messages of PyTorch, CUDA's libraries and the boards' drivers that mean out of memory. Loads no torch."""

from __future__ import annotations

TEXTS = (
    "out of memory",  # CUDA's runtime and driver, PyTorch's allocators, cuDNN's frontend
    "CUDA_ERROR_OUT_OF_MEMORY",
    "can't allocate memory",
    "cannot allocate memory",
    "ALLOC_FAILED",  # cuBLAS, cuDNN up to 8, cuSOLVER and cuSPARSE: CUDNN_STATUS_ALLOC_FAILED
    "ALLOCATION_FAILED",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED and ..._HOST_ALLOCATION_FAILED
    "std::bad_alloc",
    "NvMapMemAlloc",  # Jetson's allocator; error 12 is ENOMEM
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED",  # torch asks NVML for an out-of-memory report; Jetson has no NVML
)
"""Parts of messages, for any exception type, compared without case; the last two were seen on Jetson boards."""

_LOWER = tuple(text.lower() for text in TEXTS)


def says_out_of_memory(message: str) -> bool:
    """Whether an error's message means out of memory."""
    message = message.lower()
    return any(text in message for text in _LOWER)
