"""From exceptions and dead processes to the status of a row."""

from __future__ import annotations

import signal

from attention.out_of_memory import says_out_of_memory


def status_of(error: BaseException) -> str:
    """`oom` where memory ran out, in any of the ways it shows; else `error`."""
    # torch's class is known by its name, for torch is not imported here.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "oom"
    if isinstance(error, RuntimeError | OSError) and says_out_of_memory(str(error)):
        return "oom"
    return "error"


def status_of_exit(return_code: int, oom_kills: int) -> tuple[str, str]:
    """Status and message for a worker that ended without saying why.

    Args:
        return_code: as `subprocess` gives it, negative for a signal.
        oom_kills: by how much the kernel's count of out-of-memory kills rose while the worker ran.
    """
    if return_code == -signal.SIGKILL and oom_kills > 0:
        return "oom", "the kernel killed the worker, out of memory"
    if return_code < 0:
        try:
            name = signal.Signals(-return_code).name
        except ValueError:
            name = f"signal {-return_code}"
        if return_code == -signal.SIGKILL:
            return "killed", "the worker was killed (SIGKILL), by a person or by the kernel when memory ran out; see `dmesg`"
        return "killed", f"the worker died of {name}; the log has the stack"
    return "error", f"the worker ended with exit status {return_code}; see the log"


def memory_hint(*, dtype: str = "float32", has_size: bool = True, joint: bool = False, grows: bool = False) -> str:
    """What to do where memory ran out, as far as the arm leaves a choice.

    Args:
        dtype: autocast dtype of the arm.
        has_size: whether the model takes --imgsz.
        joint: whether the objects of a video share a session.
        grows: whether memory is known to grow with the length of the clip.
    """
    choices = [
        "a smaller --imgsz" if has_size else "",
        "--autocast_dtype float16" if dtype == "float32" and has_size else "",
        "fewer objects at a time (without --joint_objects)" if joint else "",
        "shorter clips (--max_frames)" if grows else "",
    ]
    listed = ", ".join(filter(None, choices))
    return f"use {listed}, or end other programs" if listed else "end other programs"
