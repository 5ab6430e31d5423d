"""One clip under one arm: the worker process, sessions and their timed frames, streaming, the device, memory peaks.

Imports `board`, `results`, `plan`, `data`, and runners through `runners.base`; only `worker` looks models up.
Begin with `worker`, then `session`."""
