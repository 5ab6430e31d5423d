"""What the board goes through: power, heat, clocks, memory of the whole machine, background load, and whether a row is valid.

Imports `results` and `plan`; never torch. Begin with `watch` (the board beside a run), then `power.base` (what a source reads)."""
