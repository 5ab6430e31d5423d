"""Processes: the run, its ledger of rows, executors for this machine and for a Ray cluster, the handles of worker and finisher, progress.

Imports all rooms below; never torch. Begin with `run` (the whole run on one page), then `ledger` and `local_executor`."""
