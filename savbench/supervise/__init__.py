"""Processes: the run, its ledger of rows, executors for this machine and for a Ray cluster, handles of worker and finisher, progress.

Imports every room below, never torch. Begin with `run` (the whole run on one page), then read `ledger` and `local_executor`."""
