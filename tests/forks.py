"""Programs as forks of one process that has imported PyTorch, which is once for all of them.

python tests/forks.py STATUSES COMMAND ...   minidiff's commands one after the other; their exit
                                             statuses go into a file, as JSON
python tests/forks.py DESCRIPTOR             what `Forks` starts and asks
"""

import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def forked(work: Callable[[], object]) -> int:
    """The exit status of a process that begins with the work, and ends as one started alone."""
    import minidiff.cli.commands  # noqa: F401

    gc.freeze()  # or each fork would look through all that is imported when it ends
    child = os.fork()
    if not child:
        work()
        sys.exit()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def program(*words: str) -> None:
    """What `python WORDS` does: WORDS are a script, -m and a module, or -c and some code."""
    if words[0] == "-u":  # torchrun's
        words = words[1:]
    how, what, *_ = [*words, ""]
    sys.argv[:] = words if not how.startswith("-") else words[1:]
    if how == "-m":
        sys.path[0] = os.getcwd()
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.path[0] = ""
        exec(what, {"__name__": "__main__"})
    else:
        sys.path[0] = str(Path(how).parent)
        runpy.run_path(how, run_name="__main__")


def command(words: str) -> int:
    """The exit status of `python -m minidiff words`."""
    if words.startswith("train"):
        import torch._dynamo  # noqa: F401  (the first optimizer of a process would)
    return forked(lambda: program("-m", "minidiff", *words.split()))


# ---- one process for all tests: those of pytest have threads, and so are not to be forked ----


class Fork:
    """A program that runs, with what is wanted of `subprocess.Popen`."""

    def __init__(self, told: IO[str]) -> None:
        self.told, self.pid, self.returncode = told, int(told.readline()), None

    def poll(self) -> "int | None":
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float = 240) -> int:
        if self.returncode is None:
            if not select.select([self.told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a fork", timeout)
            self.returncode = int(self.told.readline())
        return self.returncode


class Forks:
    """Starts programs as forks of a process of its own, each in a session of its own."""

    def __init__(self) -> None:
        self.asks, theirs = socket.socketpair()
        with theirs:
            words = [sys.executable, __file__, str(theirs.fileno())]
            self.process = subprocess.Popen(words, pass_fds=[theirs.fileno()], env=ENV)

    def start(
        self,
        *words: str,
        cwd: Path = ROOT,
        env: Mapping[str, str] = ENV,
        streams: Mapping[int, Any],
    ) -> Fork:
        """`python WORDS`; of its streams 1 and 2, one that is not given is closed."""
        reading, writing = os.pipe()
        with tempfile.TemporaryFile("w+") as asked, os.fdopen(writing, "w") as told:
            json.dump([words, str(cwd), dict(env), list(streams)], asked)
            asked.flush()
            files = [asked, told, *streams.values()]
            socket.send_fds(self.asks, [b"+"], [file.fileno() for file in files])
        return Fork(os.fdopen(reading))

    def run(self, *words: str, **how: Any) -> "subprocess.CompletedProcess[str]":
        """`python WORDS`, awaited, and what it said."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            fork = self.start(*words, **how, streams={1: out, 2: err})
            try:
                status = fork.wait()
            except subprocess.TimeoutExpired:
                os.killpg(fork.pid, signal.SIGKILL)
                raise
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess(words, status, *said)

    def close(self) -> None:
        self.asks.close()
        self.process.wait()


def torchrun(words: list[str]) -> None:
    """What `torchrun WORDS` does, but its processes are forks, too."""
    from torch.distributed import run

    config_from_args = run.config_from_args

    def worker(*words: str) -> None:
        usual_signals()
        program(*words)

    def config(args: Any) -> Any:
        config, _, words = config_from_args(args)
        config.start_method = "fork"
        return config, worker, words

    run.config_from_args = config
    run.main(words)


def usual_signals() -> None:
    """Those of a process that is started alone, in the foreground."""
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def begin(words: list[str], cwd: str, env: dict[str, str], streams: dict[int, int]) -> None:
    """Become the program."""
    usual_signals()
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if number in streams:
            os.dup2(streams[number], number)
            os.close(streams[number])
        else:
            os.close(number)
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
    if words[:2] == ["-m", "torch.distributed.run"]:
        torchrun(words[2:])
    else:
        program(*words)


def serve(asks: socket.socket) -> None:
    """Start what is asked for, until nobody can ask any more."""

    import minidiff.cli.commands  # noqa: F401

    gc.freeze()
    while True:
        told, fds, *_ = socket.recv_fds(asks, 1, 4)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not told:
            return
        if not os.fork():  # it waits for the program, and tells how that has ended
            asks.close()
            watch(*fds)
        for fd in fds:
            os.close(fd)


def watch(asked: int, told: int, *streams: int) -> None:
    """Start a program, tell its number, wait, and tell its exit status."""
    with os.fdopen(asked) as file:
        file.seek(0)
        words, cwd, env, numbers = json.load(file)
    child = os.fork()
    if not child:
        os.close(told)
        begin(words, cwd, env, dict(zip(numbers, streams, strict=True)))
        sys.exit()
    for fd in streams:
        os.close(fd)
    os.write(told, b"%d\n" % child)
    os.write(told, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(socket.socket(fileno=int(sys.argv[1])))
    else:
        Path(sys.argv[1]).write_text(json.dumps([command(words) for words in sys.argv[2:]]))
