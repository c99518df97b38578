"""Many copies at once: threshold checks, the copy engines, hypothesis states."""
