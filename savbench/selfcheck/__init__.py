"""`jetson_benchmark.py selfcheck`: proof that this machine's measurements mean what they say. No data set, no download.

`cli` runs one group of checks at a time in a process of its own (`child`), so that a crash is a finding and not the end; it loads no torch.
Each group is a module: `masks`, `attention`, `clocks`, `memory`, `components`, `compiling`, `trouble`, `telemetry`. They measure with the
same session as a run does, on the model and the clip of `laboratory`. A check judges figures that are handed to it, so that tests can hand
it wrong ones.
"""
