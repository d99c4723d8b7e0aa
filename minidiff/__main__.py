"""`python -m minidiff`: train, sample, evaluate, nll, info, export."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - pip checks this, a copied folder does not
    sys.exit(f"minidiff needs Python 3.10 or newer, this is {sys.version.split()[0]}")

from minidiff.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
