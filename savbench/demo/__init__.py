"""Synthetic video with exact ground truth: outlines, textures, motion, scenes. `savbench.demo_data` writes it in SA-V layout."""
