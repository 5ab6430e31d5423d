"""Checks that run in a child process, because they may crash, hang or load gigabytes.

A probe is a module run with `-m`. It runs named steps and writes a line of JSON before and after each to a file, so that answers before a
crash are kept and the step that crashed is known.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from savbench.results.environment import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Answer = TypeVar("Answer", bound="dict[str, Any]")


@dataclass(frozen=True)
class Answers:
    """Answers of a probe."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Answers by step."""
    errors: dict[str, str] = field(default_factory=dict)
    """Exceptions by step, on one line: `ImportError: libcudart.so.12: cannot open ...`."""
    died_in: str | None = None
    """The step in which the process died; `start` before the first step, `end` after the last; None if it exited normally."""
    death: str = ""
    """How it died: `SIGSEGV`, `exit status 1`, `a hang (no end within 120 s)`."""
    last_words: str = ""
    """The last line of its standard error."""


class Probe:
    """A running probe. The constructor starts it, `answers` waits for it, and leaving the context kills it."""

    def __init__(self, module: str, arguments: Sequence[str], timeout_s: float) -> None:
        """
        Args:
            module: dotted name of the module to run.
            timeout_s: the probe is killed after this time, counted from now.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="doctor-")
        self._answers, self._errors = (Path(self._folder.name) / name for name in ("answers", "stderr"))
        self._timeout_s = timeout_s
        self._begun = time.monotonic()
        with self._errors.open("wb") as errors:
            # Started like a worker, with the same interpreter and folder, so that it imports what a run would.
            self._child = subprocess.Popen(
                [sys.executable, "-m", module, "--answers", str(self._answers), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=CHECKOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._folder.cleanup()

    def answers(self) -> Answers:
        """Wait for the end of the probe."""
        try:
            return_code = self._child.wait(max(0.0, self._timeout_s - (time.monotonic() - self._begun)))
            death = "" if return_code == 0 else _death(return_code)
        except subprocess.TimeoutExpired:
            self._kill()
            death = f"a hang (no end within {self._timeout_s:g} s)"
        return read_answers(
            self._answers.read_text(encoding="utf-8", errors="replace") if self._answers.exists() else "",
            death,
            self._errors.read_text(encoding="utf-8", errors="replace"),
        )

    def _kill(self) -> None:
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()


def read_answers(text: str, death: str, errors: str) -> Answers:
    """Parse the lines of a probe.

    Args:
        text: its output; the last line may be cut off.
        death: how it died; empty if it exited normally.
        errors: its standard error.
    """
    found: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    current: str | None = "start"
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            break
        if "begun" in event:
            current = event["begun"]
        elif "answer" in event:
            found[event["step"]] = event["answer"]
            current = None
        elif "error" in event:
            failed[event["step"]] = event["error"]
            current = None
    words = [line.strip() for line in errors.splitlines() if line.strip()]
    return Answers(found, failed, (current or "end") if death else None, death, words[-1] if words else "")


def _death(return_code: int) -> str:
    if return_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-return_code).name
    return f"exit status {return_code}"


class Steps:
    """The child's side: runs steps and records their answers."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def run(self, name: str, step: Callable[[], Answer]) -> Answer | None:
        """Run a step. Returns its answer, or None if it raised."""
        self._write({"begun": name})
        try:
            answer = step()
        # A broken package may raise anything when imported (ImportError, OSError, RuntimeError, AttributeError and SystemError were
        # all seen), and this process exists to report it.
        except Exception as error:  # noqa: BLE001
            self._write({"step": name, "error": f"{type(error).__name__}: {one_line(str(error))}"})
            return None
        self._write({"step": name, "answer": answer})
        return answer

    def _write(self, event: dict[str, Any]) -> None:
        # one write and a flush, so that a crash in the next step leaves a complete line
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()


def probe_parser() -> argparse.ArgumentParser:
    """Arguments that every probe takes."""
    parser = argparse.ArgumentParser(description="Answers the doctor's questions; the doctor starts it.")
    parser.add_argument("--answers", type=Path, required=True)
    return parser


def one_line(text: str, limit: int = 300) -> str:
    """The first line that is not blank, cut to `limit` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
