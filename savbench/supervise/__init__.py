"""Processes: the run, its supervisor on this machine or on a Ray cluster, the handles of worker and finisher, progress.

Imports all rooms below; never torch. Begin with `run` (the whole run on one page), then `supervisor`."""
