"""Standard output and error that cannot break a command: a reader that leaves early, a full disk, names that the terminal cannot show."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_OUTPUT_LOST = 2


class _Guarded:
    """A stream that takes every text. What its encoding cannot say is escaped; once it cannot be written, the rest goes nowhere.

    Attributes:
        error: why text was lost; None where nothing was, or where the reader of a pipe had enough.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """
        Args:
            stream: None, as Python has it, where the file was closed before it began.
        """
        self._stream = Path(os.devnull).open("w", encoding="utf-8") if stream is None else stream  # noqa: SIM115 - as long as the process
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        with self._guard():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with self._guard():
            self._stream.flush()

    @contextlib.contextmanager
    def _guard(self) -> Any:
        try:
            yield
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.error = self.error or error
            # what is still in the buffer, and all that comes, goes where it can be written
            with contextlib.suppress(ValueError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def with_guarded_streams(command: Callable[[], int]) -> int:
    """Run a command that prints. Its exit status stays what it is where the reader of a pipe leaves early, as `head` and `grep -q` do.

    Returns:
        The command's status; `EXIT_OUTPUT_LOST` where its output could not be written, as on a full disk.
    """
    out, err = _Guarded(sys.stdout), _Guarded(sys.stderr)
    with contextlib.redirect_stdout(cast("TextIO", out)), contextlib.redirect_stderr(cast("TextIO", err)):
        try:
            status = command()
        except SystemExit as end:
            # argparse, after --help or an argument that it refused
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else EXIT_OUTPUT_LOST
            out.flush()
            if out.error is None:
                raise
        out.flush()
        if out.error is not None:
            print(f"jetson_benchmark: standard output: {out.error.strerror}; what was printed is lost", file=sys.stderr)
            status = EXIT_OUTPUT_LOST
        err.flush()
    return status
