"""`jetson_benchmark.py validate`: check that the files of a run agree with the schema, with each other and with the saved masks.

Imports `finish`, `measure.streaming`, `results` and `data`. Begin with `run` (every check), then `findings` (tables and the report)."""
