"""Chapters 6 and 15: training, its states on disk, several GPUs, and drawing many images."""
