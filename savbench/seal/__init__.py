"""`jetson_benchmark.py seal`, `check`, `merge`: a run as one archive that others can check without the machine, and many in one table.

Imports `supervise` (for the audit), `validate`, `report`, `compare`, `results` and `data`. Begin with `archive` (what a sealed file is),
then `checks` (what is verified); `audit` runs a sample again under other names; `leaderboard` merges."""
