"""Records the example of docs/choosing.md: a run on a generated split, its tables, and pictures of its masks.

    .venv/bin/python -m benchmarks.choosing

When `sam2_nano` was trained anew, run it again. `--render` only fills in the table of published figures.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np

from benchmarks.common import ROOT, machine, table
from runners import RUNNERS
from savbench.data.annotation import MaskFile
from savbench.data.dataset import open_split
from savbench.data.demo.split import generate_demo_split
from savbench.finish.overlay import draw_errors, draw_prediction
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow

PAGE, PICTURES = ROOT / "docs" / "choosing.md", ROOT / "docs" / "choosing"
COMMAND = ".venv/bin/python -m benchmarks.choosing"
SEED, VIDEOS, FRAMES = 7, 6, 32
RUN = (
    "--models", "static_mask,flow_mask,sam2_nano_mask,sam2_nano_points", "--autocast_dtype", "float32,bfloat16", "--device", "cpu",
    "--limit_objects", "2", "--warmup_frames", "2", "--save_masks",
)  # fmt: skip
SHOWN = (("demo_000", "000", 20), ("demo_000", "001", 28), ("demo_001", "000", 28))
"""Video, object and frame of each picture."""
COLUMNS = (("static", "mask"), ("flow", "mask"), ("sam2_nano", "mask"), ("sam2_nano", "points"))
WIDTH_PX, STRIP_PX, QUALITY = 300, 22, 80


def published() -> str:
    """What results/reference says of each model, as a markdown table."""
    rows = [row for path in sorted((ROOT / "results" / "reference").glob("*.csv")) for row in csv.DictReader(path.open(encoding="utf-8"))]

    def of(model: str, figure: str, split: str = "") -> str:
        found = [row for row in rows if row["model"] == model and row["figure"] == figure and (not split or row["split"] == split)]
        return next((f"{float(row['value']):.1f}" for row in found if split or row["board"] == "A100"), "-")

    def on_boards(model: str) -> str:
        found = [row for row in rows if row["model"] == model and row["board"].startswith("Orin")]
        shown = []
        for row in found:
            fps = float(row["value"]) if row["figure"] == "fps" else 1e3 / float(row["value"])
            shown.append(
                f"{fps:.1f} ({row['board']}{' ' * bool(row['nvpmodel'])}{row['nvpmodel']}, {row['imgsz']} px, {row['autocast_dtype']})"
            )
        return "; ".join(shown) or "-"

    models = list(dict.fromkeys(row["model"] for row in rows if row["model"] in RUNNERS))
    cells = [
        [f"`{model}`", of(model, "JandF_percent", "sav_val"), of(model, "JandF_percent", "sav_test"), of(model, "fps"), on_boards(model)]
        for model in models
    ]
    return table(["model", "SA-V val J&F", "SA-V test J&F", "FPS, A100", "FPS on Orin boards, third parties"], cells, left=1)


def record(folder: Path) -> dict[str, str]:
    """Run the example in a folder and draw the pictures. Returns the page's parts by name."""
    generate_demo_split(folder / "demo_split", seed=SEED, videos=VIDEOS, frames=FRAMES)
    run = ["--split_dir", "demo_split", *RUN, "--out_dir", "results/choice"]
    said = _benchmark(folder, *run)
    compared = _benchmark(folder, "compare", "results/choice", "--by", "autocast_dtype", allowed=(0, 1))
    draw(folder)
    closing = _from_to(said, "arm ", "95% intervals")
    measures = _from_to(compared, "measure ", "moved most")
    return {
        "run": f"```text\n{closing}\n```\n\nOn {machine()}; `!` marks arms whose times other programs disturbed.",
        "compare": f"```text\n{measures}\n```",
    }


def _from_to(said: str, begin: str, end: str) -> str:
    """The first lines from one that begins with these words to before one that begins with those."""
    lines = said.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(begin))
    return "\n".join(itertools.takewhile(lambda line: not line.startswith((end, "! ")), lines[first:])).rstrip()


def _benchmark(folder: Path, *arguments: str, allowed: Sequence[int] = (0,)) -> str:
    words = [sys.executable, str(ROOT / "jetson_benchmark.py"), *arguments]
    environment = {**os.environ, "COLUMNS": "110", "NO_COLOR": "1"}
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=folder, env=environment)
    if done.returncode not in allowed:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout.replace(f"{folder}/", "")


def draw(folder: Path) -> None:
    """A JPEG per line of SHOWN: above the masks of each model, below their errors."""
    split = open_split(folder / "demo_split")
    rows = read_rows(SummaryRow, folder / "results" / "choice" / "summary.csv")
    PICTURES.mkdir(exist_ok=True)
    for video_name, name, frame in SHOWN:
        video = split.video(video_name)
        size_hw = video.read_size()
        frame_hwc = video.frames.reader(size_hw).read(frame)
        truth_hw = dict(video.object(name).annotations)[frame].read(size_hw)
        columns = []
        for model, prompt in COLUMNS:
            row = next(
                row for row in rows if (row.video, row.object, row.model, row.prompt) == (video_name, name, model, prompt)
                and row.autocast_dtype in ("float32", "none")
            )  # fmt: skip
            masks = folder / "results" / "choice" / "masks" / row.arm_id / video_name / name
            mask_hw = MaskFile(masks, f"{frame:05d}.png").read(size_hw)
            above, below = frame_hwc.copy(), frame_hwc.copy()
            draw_prediction(above, mask_hw, 2)
            draw_errors(below, mask_hw, truth_hw, 2)
            columns.append(np.vstack([_title(f"{model}_{prompt}  J&F {row.JandF or 0:.2f}"), _scaled(above), _scaled(below)]))
        picture = np.hstack(columns)
        path = PICTURES / f"{video_name}-{name}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} KiB", file=sys.stderr)


def _scaled(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    height = round(picture.shape[0] * WIDTH_PX / picture.shape[1])
    return np.asarray(cv2.resize(picture, (WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)


def _title(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    strip = np.full((STRIP_PX, WIDTH_PX, 3), 24, np.uint8)
    cv2.putText(strip, text, (6, STRIP_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    return strip


def filled(page: str, parts: dict[str, str]) -> str:
    """The page with its parts filled in.

    Raises:
        ValueError: the page has no place for one.
    """
    for name, text in parts.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        if begin not in page or end not in page:
            raise ValueError(f"the page has no {begin.strip()} and {end.strip()}; put them where it goes")
        page = f"{page[: page.index(begin)]}{begin}\n{text}\n{page[page.index(end) :]}"
    return page


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Records the example of docs/choosing.md.")
    parser.add_argument("--render", action="store_true", help="run nothing; fill in the table of published figures")
    args = parser.parse_args(argv)
    parts = {"published": published()}
    if not args.render:
        with tempfile.TemporaryDirectory(prefix="choosing-") as folder:
            parts |= record(Path(folder))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), parts), encoding="utf-8")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"CPU time {time.process_time() + spent.ru_utime + spent.ru_stime:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
