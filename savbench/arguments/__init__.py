"""Reading, checking and declaring command-line arguments. No particular argument is declared here.

Imports nothing of the project. Begin with `values` (kinds of values, for example a path or a number in a range), then `declared`
(dataclasses whose
fields are settings, and what is derived from them)."""
