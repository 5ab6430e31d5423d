"""The benchmark's engine. Nothing in this package imports torch when it is imported; only the worker process loads it."""

__version__ = "0.1.0"
