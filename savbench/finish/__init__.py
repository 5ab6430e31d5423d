"""Off the clock: scoring masks, saving them, drawing overlays, in a process of its own beside the workers.

Imports `results`, `plan` and `data`. Begin with `finisher` (the process), then `metrics` (J and F)."""
