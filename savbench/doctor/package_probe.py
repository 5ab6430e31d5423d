"""Probe of the packages that a run needs besides torch, the origin of `sam2`, and the dataset. Runs in its own process."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

from savbench.doctor.probe import Steps, probe_parser

OTHERS = ("PIL", "pandas", "tqdm", "tabulate")
"""Modules that a run imports and that share one line of the report."""


def main(argv: list[str] | None = None) -> int:
    parser = probe_parser()
    parser.add_argument("--sam2_dir", type=Path)
    parser.add_argument("--split_dir", type=Path)
    args = parser.parse_args(argv)
    steps = Steps(args.answers)
    steps.run("numpy", _numpy)
    steps.run("opencv", _opencv)
    steps.run("pyav", _pyav)
    for name in OTHERS:
        steps.run(name, lambda name=name: {"version": str(importlib.import_module(name).__version__)})  # type: ignore[misc]
    if args.sam2_dir is not None:
        sys.path.insert(0, str(args.sam2_dir))
    steps.run("sam2", _sam2)
    if args.split_dir is not None:
        steps.run("dataset", lambda: _dataset(args.split_dir))
    # last, as these are compiled and optional: a crash hides nothing else
    steps.run("onnxruntime", _onnxruntime)
    steps.run("tensorrt", lambda: {"version": str(importlib.import_module("tensorrt").__version__)})
    return 0


def _numpy() -> dict[str, Any]:
    import numpy as np

    return {"version": np.__version__}


def _opencv() -> dict[str, Any]:
    import cv2

    installed = {str(found.metadata["Name"]).lower(): found.version for found in importlib.metadata.distributions()}
    return {
        "version": cv2.__version__,
        "distributions": {name: version for name, version in sorted(installed.items()) if name.startswith("opencv-")},
        "optical_flow": hasattr(cv2, "DISOpticalFlow_create"),
    }


def _pyav() -> dict[str, Any]:
    import av

    return {"version": av.__version__, "h264": "libx264" in av.codecs_available}


def _sam2() -> dict[str, Any]:
    from savbench.results.environment import package_origin

    return {"origin": package_origin("sam2")}


def _onnxruntime() -> dict[str, Any]:
    import onnxruntime

    installed = {str(found.metadata["Name"]).lower().replace("_", "-"): found.version for found in importlib.metadata.distributions()}
    return {
        "version": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "distributions": {name: version for name, version in sorted(installed.items()) if re.match(r"onnxruntime(-|$)", name)},
    }


def _dataset(split_dir: Path) -> dict[str, Any]:
    from savbench.data.dataset import ClipError, open_split

    split = open_split(split_dir)
    counts = {"videos": len(split.videos), "objects": 0, "frames": 0, "annotations": 0}
    defects: list[str] = []
    for name in split.videos:
        try:
            video = split.video(name)
        except ClipError as error:
            defects.append(str(error))
            continue
        defects.extend(video.defects.values())
        counts["objects"] += len(video.objects)
        counts["frames"] += len(video.frames)
        counts["annotations"] += sum(len(obj.annotations) for obj in video.objects)
    return {"split": split.name, **counts, "defects": defects}


if __name__ == "__main__":
    sys.exit(main())
