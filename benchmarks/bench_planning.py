"""What it costs to plan a run over thousands of videos: finding the layout, listing every video, its objects and their work.

    python benchmarks/bench_planning.py

A data set of each layout is laid out with hard links to one frame and one picture at 480p. Each is planned in a process of its own, as a
run does it: CPU time, which other programs change little, and the process's peak memory, imports included. The aim is under 10 s and
300 MB for 4,000 videos of 20 objects.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import machine, table

SIZE_HW = (480, 854)
LAYOUTS = ("sav", "davis", "ytvos")
ANNOTATED_EVERY = 4


def lay_out(root: Path, layout: str, videos: int, objects: int, frames: int) -> None:
    """Write a data set: `davis` and `ytvos` with a picture per frame, `sav` with a mask of each object on every fourth."""
    root.mkdir()
    frame, mask = root / "frame", root / "mask"
    Image.new("RGB", SIZE_HW[::-1]).save(frame, format="JPEG")
    _picture(objects).save(mask, format="PNG")
    names = [f"{number:05d}" for number in range(frames)]
    in_pictures = layout != "sav"
    images, masks = ("JPEGImages", "Annotations") if in_pictures else ("JPEGImages_24fps", "Annotations_6fps")
    listed = [f"video_{number:05d}" for number in range(videos)]
    for video in listed:
        _link(frame, root / images / video, [f"{name}.jpg" for name in names])
        if in_pictures:
            _link(mask, root / masks / video, [f"{name}.png" for name in names])
        else:
            for number in range(objects):
                _link(mask, root / masks / video / f"{number:03d}", [f"{name}.png" for name in names[::ANNOTATED_EVERY]])
    if layout == "sav":
        (root / "sav_val.txt").write_text("\n".join(listed))
    if layout == "ytvos":
        of_video = {"objects": {str(label): {"frames": names} for label in range(1, objects + 1)}}
        (root / "meta.json").write_text(json.dumps({"videos": dict.fromkeys(listed, of_video)}))


def _picture(objects: int) -> Image.Image:
    """Ellipses, as outlines of real objects are: rows of one value would be decoded faster."""
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    labels_hw = np.zeros(SIZE_HW, np.uint8)
    for label in range(1, objects + 1):
        y, x = 40 + 97 * label % 400, 40 + 211 * label % 770
        labels_hw[((rows - y) / 45) ** 2 + ((columns - x) / (30 + label)) ** 2 < 1] = label
    image = Image.fromarray(labels_hw)
    image.putpalette([value for index in range(256) for value in (index, 255 - index, index)])
    return image


def _link(source: Path, folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        os.link(source, f"{folder}/{name}")


def plan(root: Path) -> dict[str, float]:
    """Plan a run over the data set in this process."""
    from savbench.data.dataset import open_split
    from savbench.plan.shards import object_work

    begun = time.process_time()
    split = open_split(root)
    targets = split.select()
    work = object_work(targets, max_frames=None, frame_stride=1)
    spent_s = time.process_time() - begun
    assert len(work) == len(targets)
    assert all(work.values())
    return {"targets": len(targets), "cpu_s": spent_s, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="CPU seconds and peak memory to plan a run, as a markdown table.")
    parser.add_argument("--videos", type=int, default=4_000, help="default: %(default)s")
    parser.add_argument("--objects", type=int, default=20, help="of each video (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=24, help="of each video (default: %(default)s)")
    parser.add_argument("--dir", type=Path, help="folder to write the data sets into (default: the system's for temporary files)")
    parser.add_argument("--quick", action="store_true", help="a few videos, to see that it works")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.plan is not None:
        print(json.dumps(plan(arguments.plan)))
        return 0
    videos = 8 if arguments.quick else arguments.videos
    print(f"{machine()}, {videos} videos of {arguments.objects} objects and {arguments.frames} frames at 480p\n")
    rows = []
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory(prefix="bench_planning_", dir=arguments.dir) as scratch:
            root = Path(scratch) / layout
            lay_out(root, layout, videos, arguments.objects, arguments.frames)
            child = [sys.executable, __file__, "--plan", str(root)]
            found = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
        rows.append([layout, f"{found['targets']}", f"{found['cpu_s']:.1f}", f"{found['peak_mb']:.0f}"])
    print(table(["layout", "objects", "CPU s", "peak memory, MB"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
