"""Synthetic video with exact ground truth: outlines, textures, motion, scenes. `savbench.data.demo.split` writes it in SA-V layout."""
