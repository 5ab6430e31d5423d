"""Training of `sam2_nano`: data, model, losses, loop. `scripts/train_nano.py` is its command line."""
