"""Data on disk: splits, frames, video files, masks, CSV files, and prompts made from them; `demo` generates a small split.

Imports only `runners.base` and `runners.text`. Begin with `dataset` (a split, its videos and objects; `listing` reads folders and lists
for it), then `ground_truth` (masks) and `feed` (tracks and frames of a session)."""
