"""SAM v1 (Kirillov et al. 2023, "Segment Anything"), one component a file, and a tracker made of it. README.md explains the parts."""
