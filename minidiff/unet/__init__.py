"""Chapter 6: the network. Blocks, the U-Net made of them, and its names in other libraries."""
