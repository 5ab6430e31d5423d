"""Records the clip of the self-check and its masks: `.venv/bin/python -m savbench.selfcheck.recording`, for a `sam2_nano` trained anew.

Run it on a CPU and a torch that are trusted; the file goes into the repository.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from savbench.data.demo.split import make_clip
from savbench.selfcheck.laboratory import Laboratory
from savbench.selfcheck.recorded import OBJECTS, PATH, Recorded, save

SEED, FRAMES, HEIGHT, WIDTH, QUALITY = 5, 16, 180, 320, 90


def main() -> int:
    """Draw the clip, track it on this CPU in float32, and write the file."""
    clip = make_clip(SEED, FRAMES, HEIGHT, WIDTH, roles=("stay", "stay"), distractors=1)
    jpegs = []
    for frame_hwc in clip.frames_thwc:
        encoded = io.BytesIO()
        Image.fromarray(frame_hwc).save(encoded, "JPEG", quality=QUALITY)
        jpegs.append(encoded.getvalue())
    recorded = Recorded(tuple(jpegs), clip.masks_nthw[:, 0], clip.masks_nthw, "")
    with tempfile.TemporaryDirectory(prefix="selfcheck-") as folder:
        laboratory = Laboratory("cpu", Path(folder), recorded)
        masks_nthw = np.array([laboratory.track(number).masks_thw for number in range(len(OBJECTS))])
        save(Recorded(recorded.jpegs, recorded.prompts_nhw, masks_nthw, laboratory.runner.applied.weights))
    truth = clip.masks_nthw
    overlaps = [(a & b).sum() / (a | b).sum() for a, b in zip(masks_nthw, truth, strict=True)]
    print(f"wrote {PATH}; overlap with the objects as drawn: {', '.join(f'{overlap:.3f}' for overlap in overlaps)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
