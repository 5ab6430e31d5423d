"""The benchmark's engine. Nothing in this package imports torch when it is imported; only the worker process loads it."""
