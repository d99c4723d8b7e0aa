"""Kill a training run again and again, resume it each time, and compare the end with a quiet run.

python tests/kill_runs.py FOLDER [TIMES]

Each run is a forked process that saves after every step. It is killed (SIGKILL) at a random moment,
and every second time in the middle of the next writing of a file. Exits with an error unless the
final states, bit for bit, are the same.
"""

import gc
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # every optimizer imports it: let it be done before the forks

from minidiff.data.sets import load
from minidiff.engine.checkpoint import latest, read
from minidiff.engine.config import TrainConfig
from minidiff.engine.loop import train

CONFIG = TrainConfig(
    network_options={"width": 8, "mults": (1,), "attention": (), "blocks": 1, "dropout": 0.1},
    conditional=True,
    times="loss-aware",
    flip=True,
    steps=60,
    batch=4,
    ema=(0.9, 0.99),
    save_every=1,
    sample_every=0,
    validate_every=0,
    log_every=5,
)
DATA = load("digits")  # before the forks, so that they begin with training
gc.freeze()  # nor need they look through all that is imported


def start(folder: Path) -> int:
    """Train in a forked process, from the newest state."""
    process = os.fork()
    if process == 0:
        torch.set_num_threads(1)
        begun = (folder / "config.json").exists()
        train(CONFIG, folder, resume=begun, data=DATA, bar=False)
        os._exit(0)
    return process


def half_written(folder: Path) -> list[str]:
    """The temporary files in a folder."""
    return [name for name in os.listdir(folder) if name.endswith(".tmp")] if folder.exists() else []


def main() -> int:
    """0 if the run that was killed ended as the run that wasn't."""
    folder, times = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20
    begun = time.monotonic()
    os.waitpid(start(folder / "quiet"), 0)
    seconds = time.monotonic() - begun
    dice = random.Random(0)
    kills = unfinished = 0
    while kills < times:
        process = start(folder / "killed")
        time.sleep(dice.uniform(0.0, 2 * seconds / times) + 0.02)
        status = None
        while kills % 2 and status is None and not half_written(folder / "killed"):
            ended, ended_with = os.waitpid(process, os.WNOHANG)
            status = ended_with if ended else None
        if status is None:
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status):  # it had come to its end: begin a new run
            unfinished += 1
            if unfinished > 5 or os.WEXITSTATUS(status):
                break
            for path in (folder / "killed").iterdir():
                path.unlink()
            continue
        kills += 1
        steps = [p.name for p in sorted((folder / "killed").glob("step-*"))]
        torn = len(half_written(folder / "killed"))
        print(f"kill {kills}: {steps[-1:] or 'nothing saved'}, {torn} half-written", flush=True)
    _, status = os.waitpid(start(folder / "killed"), 0)
    if status:
        print("the last resume failed")
        return 1
    quiet, killed = (read(latest(folder / name)) for name in ("quiet", "killed"))
    equal = quiet[1] == killed[1] and quiet[0].keys() == killed[0].keys()
    equal = equal and all(torch.equal(quiet[0][k], killed[0][k]) for k in quiet[0])
    print(f"{kills} kills; the final states are {'bit-equal' if equal else 'DIFFERENT'}")
    return 0 if equal and kills == times else 1


if __name__ == "__main__":
    sys.exit(main())
