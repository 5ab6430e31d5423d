"""The board during a run: power, temperature, clocks, memory of the whole machine, background load, and whether a row is valid.

Imports `results` and `plan`; never torch. Begin with `watch` (records the board during a run), then `power.base` (what a source reads)."""
