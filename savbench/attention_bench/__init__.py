"""`jetson_benchmark.py attention`: the cost of attention on this machine, by part of the model, and whether results are the same.

The parent (`cli`) reads arguments, starts one child process per model, writes the CSV and prints the tables (`table`). The child (`child`)
builds the model, records the attention calls of one tracked frame (`recording`), and measures each distinct call under each choice of
attention and each dtype (`measure`), or compares masks instead (`accuracy`). None of the modules loads torch on import.
"""
