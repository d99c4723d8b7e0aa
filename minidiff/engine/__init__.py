"""Chapters 7 and 17: training, its states on disk, several GPUs, and drawing many images."""
