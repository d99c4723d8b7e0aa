"""Commands one after the other, each in a fork of one process: PyTorch is imported once for all.

python tests/forks.py STATUSES COMMAND ...   their exit statuses go into a file, as JSON
"""

import gc
import json
import os
import runpy
import sys
from pathlib import Path

import minidiff.cli.commands  # noqa: F401


def command(words: str) -> int:
    """The exit status of `python -m minidiff words`, which begins and ends as if started alone."""
    if words.startswith("train"):
        import torch._dynamo  # noqa: F401  (the first optimizer of a process would)
    gc.freeze()  # or each fork would look through all that is imported when it ends
    child = os.fork()
    if not child:
        sys.argv[1:] = words.split()
        runpy.run_module("minidiff", run_name="__main__")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps([command(words) for words in sys.argv[2:]]))
