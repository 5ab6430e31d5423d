"""Untimed work in a separate process: scores masks, saves them, draws overlays.

Imports `results`, `plan` and `data`. Begin with `finisher` (the process), then `metrics` (J and F)."""
