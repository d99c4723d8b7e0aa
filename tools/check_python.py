"""Say in one sentence what is wrong with a Python that cannot make the book's environment.

It must run on any Python there is, so it uses nothing new.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "minidiff needs Python 3.10 or newer and this is %d.%d (%s): try make PYTHON=python3.12"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit("This Python cannot make virtual environments: on Debian, apt install python3-venv")
