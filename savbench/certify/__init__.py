"""`jetson_benchmark.py certify`: whether an arm computes what torch computes in float32, stage by stage, and what it costs in J&F.

Imports torch only in the child process (`child`, `forcing`).
"""
