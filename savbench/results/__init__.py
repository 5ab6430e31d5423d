"""What is written down: the schema of every CSV, reading and writing rows, the folder of a run, the closing table, other tools' files.

Imports `plan` and `data`. Begin with `rows` (every column), then `run_folder` (how rows are kept)."""
