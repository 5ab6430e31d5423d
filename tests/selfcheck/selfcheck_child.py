"""Stands for a child of the self-check: does what the group's name says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

events = os.fdopen(int(sys.argv[-1]), "w", encoding="utf-8")
group = json.loads(sys.stdin.readline())["group"]


def send(**event: object) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


if group == "refuses":
    send(refused="--device cuda:7: this machine has 1 GPU(s), counted from cuda:0")
    sys.exit(0)
send(device="cpu", device_name="a processor", torch="2.8.0")
if group in ("passes", "crashes"):
    send(
        outcome={"check": f"{group}: first", "status": "ok", "said": "as it should be", "meaning": "", "remedy": "", "figures": {"J": 1.0}}
    )
if group == "fails":
    send(
        outcome={"check": "fails: first", "status": "failed", "said": "J 0.5", "meaning": "it is wrong", "remedy": "mend it", "figures": {}}
    )
if group == "crashes":
    (Path(sys.argv[2]) / "left.bin").write_bytes(b"half a file")
    print("its last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
if group == "leaves":
    os._exit(3)
if group == "hangs":
    time.sleep(600)
