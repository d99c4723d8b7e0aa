"""`python -m minidiff`: train, sample, evaluate, nll, info, export."""

import gc
import sys

if sys.version_info < (3, 10):  # noqa: UP036 - pip checks this, a copied folder does not
    sys.exit(f"minidiff needs Python 3.10 or newer, this is {sys.version.split()[0]}")

from minidiff.cli.parser import main

gc.freeze()  # what is imported stays: to look through it for garbage takes longer than a command

if __name__ == "__main__":
    sys.exit(main())
