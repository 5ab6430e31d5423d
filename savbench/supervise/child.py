"""Child processes that read lines from standard input and answer on a separate pipe, because libraries print to standard output."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.2
"""How long to wait for a pipe or a queue before checking whether the user asked to stop."""


def start_child(command: Sequence[str], log: IO[bytes], *, own_group: bool) -> tuple[subprocess.Popen[bytes], int]:
    """Start a child process. Its `--events` argument is the file descriptor of the pipe that it answers on.

    Args:
        log: receives what the child prints.
        own_group: start a new session, so that Ctrl-C on the terminal does not reach the child.

    Returns:
        The child, whose standard input does not block (see `write_some`), and the read end of the answer pipe.
    """
    reading, writing = os.pipe()
    try:
        child = subprocess.Popen(
            [*command, "--events", str(writing)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            # libraries' progress bars would fill the log
            env={**os.environ, "TQDM_DISABLE": "1"},
            pass_fds=(writing,),
            start_new_session=own_group,
            bufsize=0,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    assert child.stdin is not None
    os.set_blocking(child.stdin.fileno(), False)
    return child, reading


def write_some(stdin: IO[bytes], data: memoryview) -> memoryview:
    """Write what fits into the pipe without blocking. Returns the rest.

    Raises:
        BrokenPipeError: the child closed the pipe.
    """
    try:
        return data[os.write(stdin.fileno(), data) :]
    except BlockingIOError:
        return data
