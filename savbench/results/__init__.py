"""Results: the schema of every CSV, reading and writing rows, the folder of a run, the closing table, files of other tools.

Imports `plan` and `data`. Begin with `rows` (every column), then `run_folder` (how rows are stored)."""
