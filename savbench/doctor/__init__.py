"""`jetson_benchmark.py doctor`: checks whether this machine can run the benchmark, and names the command that fixes each problem.

The report has one line per thing that a run depends on. Packages that may be missing or broken are imported by child processes (`probe`),
not by the reporting process, so that a torch that crashes becomes a line of the report.
"""
