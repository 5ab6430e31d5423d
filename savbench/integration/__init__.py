"""`jetson_benchmark.py check-model`: proof that a model fits the benchmark, on a generated clip. No data set, no download.

`cli` looks at files (`pieces`) and runs the rest in a child process (`child`), because a model under construction may crash or hang.
`bench` holds the model and the clips; `calls`, `prompts`, `boundaries` and `lasting` are the checks. They only see a `VideoRunner`, so that
tests can hand them one with a planted fault.
"""
