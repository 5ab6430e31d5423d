"""One clip under one arm: the worker process, sessions and their timed frames, streaming, the device, peaks of memory.

Imports `board`, `results`, `plan`, `data`, and runners through `runners.base`; only `worker` resolves
them. Begin with `worker`, then `session`."""
