"""`jetson_benchmark.py doctor`: can this machine run the benchmark, and what mends it where it cannot.

One line per thing that a run depends on. Nothing heavy is imported into the process that reports: whatever may be missing or broken is
imported by a child (`probe`), so that a torch that crashes becomes a line of the report.
"""
