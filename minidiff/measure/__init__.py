"""Chapter 8: feature networks, and the distances between sets of features."""
