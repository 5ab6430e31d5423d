"""Code for EfficientTAM's tests: a checkout if there is one, and a stand-in that gives SAM 2's own code EfficientTAM's names.

EfficientTAM's video predictor is SAM 2's but for its names, so that with the stand-in masks are known: those of SAM 2 with the same
weights.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "efficient_track_anything"

BUILDER = """
from hydra import compose
from hydra.utils import instantiate
from omegaconf import OmegaConf

def build_efficienttam_video_predictor(config_file, device="cuda", hydra_overrides_extra=(), apply_postprocessing=True):
    print("Disable torch compile due to unsupported GPU.")
    overrides = ["++model._target_=efficient_track_anything.efficienttam_video_predictor.EfficientTAMVideoPredictor",
                 "++model.compile_image_encoder=False"]  # and not those of the caller, as upstream does without a recent GPU
    if apply_postprocessing:
        overrides += ["++model.binarize_mask_from_pts_for_mem_enc=true", "++model.fill_hole_area=8",
                      *(f"++model.sam_mask_decoder_extra_args.dynamic_multimask_{key}" for key in
                        ("via_stability=true", "stability_delta=0.05", "stability_thresh=0.98"))]
    config = compose(config_name=config_file, overrides=overrides)
    OmegaConf.resolve(config)
    return instantiate(config.model, _recursive_=True).to(device).eval()
"""
PREDICTOR = """
import pathlib
import sam2.sam2_video_predictor as original
source = pathlib.Path(original.__file__).read_text()
exec(source.replace("sam2.utils.misc", "efficient_track_anything.utils.misc"))
EfficientTAMVideoPredictor = SAM2VideoPredictor
EfficientTAMVideoPredictorVOS = SAM2VideoPredictorVOS
"""
MISC = """
import pathlib
import sam2.utils.misc as original
exec(pathlib.Path(original.__file__).read_text())
"""


def checkout() -> Path | None:
    """Checkout of yformer/EfficientTAM, or None: $EFFICIENTTAM_DIR, then ./EfficientTAM."""
    for path in (os.environ.get("EFFICIENTTAM_DIR"), str(ROOT / "EfficientTAM")):
        if path and (Path(path) / PACKAGE / "build_efficienttam.py").is_file():
            return Path(path).resolve()
    return None


def make_stand_in(folder: Path) -> Path:
    """Write the stand-in, whose one model is sam2_nano. Returns the folder, as of a checkout."""
    files = {
        "__init__.py": "",
        "build_efficienttam.py": BUILDER,
        "efficienttam_video_predictor.py": PREDICTOR,
        "utils/__init__.py": "",
        "utils/misc.py": MISC,
        "configs/efficienttam/efficienttam_ti.yaml": (ROOT / "runners" / "nano" / "sam2_nano.yaml").read_text(encoding="utf-8"),
    }
    for name, text in files.items():
        path = folder / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
