"""Chapter 9: feature networks, and the distances between sets of features."""
