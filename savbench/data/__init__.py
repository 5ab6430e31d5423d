"""What is on disk: splits, frames, video files, masks, CSV files, and the prompts made of them; `demo` writes a split of its own.

Imports `runners.base` and `runners.text` alone. Begin with `dataset` (a split, its videos and objects; `listing` reads folders and lists
for it), then `ground_truth` (masks) and `feed` (what a session is fed)."""
