"""How arguments of a command line are read, checked and declared. Knows no particular argument.

Imports nothing of the project. Begin with `values` (kinds of values: a path, a number in its range), then `declared` (a dataclass whose
fields are settings, and what is derived from it)."""
