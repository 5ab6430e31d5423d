"""What the benchmark's own parts cost."""
