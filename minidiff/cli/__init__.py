"""`python -m minidiff`: what the library does, from the command line."""
