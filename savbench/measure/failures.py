"""Maps exceptions and dead processes to the status of a row."""

from __future__ import annotations

import signal

from attention.out_of_memory import says_out_of_memory


def status_of(error: BaseException) -> str:
    """`oom` if memory ran out, whichever exception reports it; else `error`."""
    # recognises torch's class by its name, because this module does not import torch
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "oom"
    if isinstance(error, RuntimeError | OSError) and says_out_of_memory(str(error)):
        return "oom"
    return "error"


def status_of_exit(return_code: int, oom_kills: int) -> tuple[str, str]:
    """Status and message for a worker that ended without reporting why.

    Args:
        return_code: as `subprocess` returns it, negative for a signal.
        oom_kills: increase of the kernel's count of out-of-memory kills while the worker ran.
    """
    if return_code == -signal.SIGKILL and oom_kills > 0:
        return "oom", "the kernel killed the worker, out of memory"
    if return_code < 0:
        try:
            name = signal.Signals(-return_code).name
        except ValueError:
            name = f"signal {-return_code}"
        if return_code == -signal.SIGKILL:
            return "killed", "the worker was killed (SIGKILL), by a user or by the kernel when memory ran out; see `dmesg`"
        return "killed", f"the worker died of {name}; see the log for the stack"
    return "error", f"the worker ended with exit status {return_code}; see the log"


def memory_hint(*, dtype: str = "float32", has_size: bool = True, joint: bool = False, grows: bool = False) -> str:
    """What to do when memory runs out, limited to settings that the arm can change.

    Args:
        dtype: autocast dtype of the arm.
        has_size: whether the model takes --imgsz.
        joint: whether the objects of a video share a session.
        grows: whether memory grows with the length of the clip.
    """
    choices = [
        "a smaller --imgsz" if has_size else "",
        "--autocast_dtype float16" if dtype == "float32" and has_size else "",
        "fewer objects per session (without --joint_objects)" if joint else "",
        "shorter clips (--max_frames)" if grows else "",
    ]
    listed = ", ".join(filter(None, choices))
    return f"use {listed}, or close other programs" if listed else "close other programs"
