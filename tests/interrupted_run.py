"""A run of the command line that tests interrupt, its pictures in memory or streamed.

python tests/interrupted_run.py METHOD train CONFIG ...   (METHOD: memory, fork, spawn, forkserver)
"""

import multiprocessing
import signal
import sys

from minidiff.cli.parser import main
from minidiff.data import sets

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    method, *arguments = sys.argv[1:]
    if method != "memory":
        multiprocessing.set_start_method(method, force=True)  # torchrun has set one in its forks
        sets._IN_MEMORY = 0  # as if the pictures had more than 2 GB
    sys.exit(main(arguments))
