"""Data on disk in any layout: splits, frames, video files, masks, CSV files, and prompts made from them; `demo` generates a small split.

Imports only `runners.base` and `runners.text`. Begin with `dataset` (opens a split) and `layout` (what a layout is), then `video` (its
videos and objects), `annotation` (ground truth of an object on a frame), `ground_truth` (checks) and `feed` (tracks and frames of a
session)."""
