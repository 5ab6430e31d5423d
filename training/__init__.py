"""Training of `sam2_nano`: data, model, losses, loop. `.venv/bin/python -m training` is its command line, README.md tells how."""
