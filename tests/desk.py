"""A folder to run scripts in, with an interpreter and a profiler that write down how they were called."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

INTERPRETER = """\
echo "${1##*/}${SAVBENCH_NVTX:+ [$SAVBENCH_NVTX]} $(printf '<%s>' "${@:2}")" >>"$LOG"
out=""
while (($#)); do if [[ $1 == --out_dir ]]; then out=$2; fi; shift; done
if [[ ${STATUS-0} -lt 2 && $out ]]; then mkdir -p "$out" && echo row >"$out/summary.csv"; fi
exit ${STATUS-0}
"""

NSYS = """\
if [[ $1 == --version ]]; then echo "NVIDIA Nsight Systems version 2024.5.4"; exit; fi
echo "nsys $1" >>"$LOG"
shift
while [[ $1 == --* ]]; do
    echo "$1" >>"$LOG"
    case $1 in --output=*) output=${1#*=} ;; esac
    shift
done
"$@"
status=$?
[[ ${NO_TRACE-} ]] || echo trace >"$output.nsys-rep"
exit $status
"""


def program(path: Path, source: str) -> None:
    """Write a shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{source}", encoding="utf-8")
    path.chmod(0o755)


def shell_command(path: Path, script: str) -> None:
    """Write a script for /bin/sh, which is found where PATH names no other folder."""
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@dataclass
class Desk:
    """Runs a script of `scripts/` in `work`. The interpreter ends with STATUS, and writes a summary.csv unless that is 2 or more."""

    folder: Path

    def __post_init__(self) -> None:
        self.log = self.folder / "log"
        self.work = self.folder / "a folder"
        self.work.mkdir()
        program(self.folder / "bin/python", INTERPRETER)
        program(self.folder / "bin/nsys", NSYS)

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "LOG": str(self.log),
            "PYTHON": str(self.folder / "bin/python"),
            **variables,
        }
        command = [str(ROOT / "scripts" / script), *arguments]
        return subprocess.run(command, env=environment, cwd=self.work, capture_output=True, text=True, timeout=60, check=False)

    def calls(self) -> list[str]:
        """One line a call: file name of the Python script, `[SAVBENCH_NVTX]` where it is set, and each argument in angle brackets."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
