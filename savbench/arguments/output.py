"""Files that a command writes: it is known before the work whether they can be, and an earlier one stays until the new one is whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.arguments.declared import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


def require_writable(flag: str, path: Path) -> None:
    """Make the folder of a file if it is missing, and try to open the file. What is in it stays; a new one is not left behind.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        if _is_device(path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("a"):
            pass
        if is_new:
            Path(os.path.realpath(path)).unlink()  # of a link, what it leads to
    except OSError as error:
        raise ConfigError(f"{flag} {path}: cannot be written ({error.strerror}); give a file that can") from error


def write_text(path: Path, text: str) -> None:
    """Write a text as `written_whole`. Names of files that are not UTF-8 become escapes."""
    with written_whole(path) as file:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file beside `path`, and put it into its place when the block has written it whole.

    Raises:
        OSError: the file cannot be written; it names `path`.
    """
    if _is_device(path):  # such as /dev/stdout, must not be replaced by a file
        yield path
        return
    whole = Path(os.path.realpath(path))  # replace the target of a link, keep the link
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(whole)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with contextlib.suppress(OSError):  # nothing can be removed where nothing can be written
            temporary.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    """Whether it is a pipe or a device."""
    return path.exists() and not path.is_file() and not path.is_dir()
