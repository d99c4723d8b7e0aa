"""Attack everything that minidiff reads: damaged and hostile files, each in a process of its own.

python benchmarks/attacks.py [--n 100] [--seed 0] [--json attacks.json]

A weights file, a training state, a config, a log, a folder of pictures, a folder of diffusers and a
download are changed n times each: bits flipped, ends cut, JSON values replaced, tensors renamed.
A child process reads the result as a reader would. It must refuse it in a sentence, or do its work;
a traceback, a pickle that is opened, a file touched outside of the folder, a program started, more
than 1 GiB of memory more, more than 30 seconds or a message of over 1,000 letters is a fault.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.server
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # every optimizer imports it: let it be done before the forks
from record import provenance, save
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from minidiff.cli import commands
from minidiff.cli.parser import main as cli
from minidiff.data.download import fetch
from minidiff.engine import tensorfile
from minidiff.engine.checkpoint import load_pretrained, save_weights

GIB = 1 << 30
SECONDS = 30
LONGEST = 1000
TINY = {"width": 8, "mults": (1,), "attention": (), "blocks": 1}
NASTY: list[Any] = [
    None, True, "", "é\0", "x" * 5000, -1, 0, 2**31, 2**63, 10**400, 0.5, -1e308, float("nan"),
    float("inf"), [], [[]], {}, {"a": 1}, [1, 2, 3], [1e9], ["eps"], [2**40, 2**40],
]  # fmt: skip
Rng = random.Random
Action = Callable[[], int]


# -- how a file is changed ----------------------------------------------------------------------


def damage(data: bytes, rng: Rng) -> bytes:
    """A disk's, a network's or an editor's faults."""
    at = rng.randrange(len(data)) if data else 0
    other = rng.randrange(len(data)) if data else 0
    changed = bytearray(data)
    kind = rng.randrange(7)
    if kind == 0 and data:  # one bit
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == 1:  # some bytes in the beginning, where formats say what they are
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(min(len(data), 64))] = rng.randrange(256)
    elif kind == 2:
        changed = changed[:at]
    elif kind == 3:
        changed += rng.randbytes(rng.randint(1, 100))
    elif kind == 4:
        changed[at : at + 16] = bytes(16)
    elif kind == 5:  # two pieces change places
        low, high = sorted((at, other))
        changed = changed[:low] + changed[high:] + changed[low:high]
    else:
        changed[:8] = rng.choice([bytes(8), b"\xff" * 8, b"\x80\x04cos\nsy", b"PK\3\4\0\0\0\0"])
    return bytes(changed)


def replaced(value: Any, rng: Rng) -> Any:
    """One value somewhere inside replaced, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: replaced(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        i = rng.randrange(len(value))
        return [*value[:i], replaced(value[i], rng), *value[i + 1 :]]
    return (
        {**value, rng.choice(["a", "__class__", "T"]): 1}
        if rng.random() < 0.05 and isinstance(value, dict)
        else rng.choice(NASTY)
    )


def hostile_text(value: Any, rng: Rng) -> str:
    """JSON that says something else than it should, or that a parser chokes on."""
    kind = rng.randrange(12)
    if kind == 0:
        return "[" * 100_000
    if kind == 1:
        return rng.choice(
            ["", "null", "[]", "3", '"x"', "{}", '{"format": 1}', "{'a': 1}", "\ufeff{}"]
        )
    return json.dumps(replaced(value, rng))


def hostile_tensors(tensors: dict[str, torch.Tensor], rng: Rng) -> dict[str, torch.Tensor]:
    """One tensor of another name, shape, type or content."""
    name = rng.choice(sorted(tensors))
    t = tensors[name]
    rest = {k: v for k, v in tensors.items() if k != name}
    kind = rng.randrange(9)
    if kind == 0:
        return rest
    if kind == 1:
        return rest | {name + rng.choice(["x", "/../x", "\n", " "]): t}
    if kind == 2:
        return tensors | {"extra": torch.zeros(3)}
    if kind == 3:
        return rest | {name: torch.zeros(())}
    if kind == 4:
        return rest | {name: torch.zeros(0)}
    if kind == 5:
        return rest | {name: t.reshape(-1)}
    if kind == 6:
        kinds = [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float64]
        return rest | {name: t.to(rng.choice(kinds))}
    if kind == 7 and t.is_floating_point():
        return rest | {name: torch.full_like(t, rng.choice([float("nan"), float("inf"), 1e38]))}
    return rest | {name: torch.zeros(*t.shape, 2, dtype=t.dtype)}


def signed(tensors: dict[str, torch.Tensor], text: str) -> bytes:
    """A file with a right digest, as whoever wants to deceive would write it."""
    digest = tensorfile._digest(tensors, text)
    return to_bytes(tensors, metadata={"minidiff": text, "sha256": digest})


def hostile_file(path: Path, rng: Rng) -> None:
    """Change one of minidiff's files of tensors."""
    if rng.random() < 0.35:
        path.write_bytes(damage(path.read_bytes(), rng))
        return
    tensors, info = tensorfile.read(path)
    text = json.dumps({"format": tensorfile.FORMAT, **info})
    if rng.random() < 0.6:
        text = hostile_text(json.loads(text), rng)
    else:
        tensors = hostile_tensors(tensors, rng)
    path.write_bytes(signed(tensors, text))


# -- what is attacked: each takes a folder to spoil and gives what a reader would do then ---------


def run(*words: Any) -> int:
    return cli([str(word) for word in words])


def all_of(*actions: Action) -> int:
    return max([action() for action in actions])


def weights(base: Path, folder: Path, rng: Rng) -> Action:
    path = Path(shutil.copy(base / "tiny.safetensors", folder))
    hostile_file(path, rng)
    draw = partial(run, "sample", path, "--n", 2, "--steps", 2, "--out", folder / "x.png")
    return partial(all_of, partial(run, "info", path), draw)


def state(base: Path, folder: Path, rng: Rng) -> Action:
    out = Path(shutil.copytree(base / "run", folder / "run"))
    hostile_file(sorted(out.glob("step-*.safetensors"))[-1], rng)
    more = ["train", base / "tiny.py", "--out", out, "--resume", "--steps", 4, "--device", "cpu"]
    return partial(all_of, partial(run, "info", out), partial(run, *more))


def log(base: Path, folder: Path, rng: Rng) -> Action:
    out = Path(shutil.copytree(base / "run", folder / "run"))
    path = out / "log.jsonl"
    lines = path.read_text().splitlines()
    if rng.random() < 0.5:
        path.write_bytes(damage(path.read_bytes(), rng))
    else:
        i = rng.randrange(len(lines))
        lines[i] = hostile_text(json.loads(lines[i]), rng)
        path.write_text("\n".join(lines) + rng.choice(["", "\n"]))
    return partial(
        run, "train", base / "tiny.py", "--out", out, "--resume", "--steps", 4, "--device", "cpu"
    )


def config(base: Path, folder: Path, rng: Rng) -> Action:
    lines = (base / "tiny.py").read_text().splitlines()
    path = folder / "mine.py"
    i = rng.randrange(len(lines))
    name = lines[i].split(" = ")[0]
    kind = rng.randrange(4)
    if kind == 0:
        path.write_bytes(damage((base / "tiny.py").read_bytes(), rng))
    else:
        code = [
            "import os", "steps = __import__('os').system('touch escaped')", "steps = " + "(" * 500,
            "del steps", "open('escaped', 'w')", f"{name} = [{name} for {name} in range(9)]",
            f"{name} = {name}", f"{name} = 9 ** 9 ** 9", f"{name} = '\\N{{BULLET}}' * 10 ** 9",
            "class A: pass", f"{name} = -" + "9" * 5000, f"{name} = {{**{{}}}}", "\0",
            "\ufeffT = 3",
        ]  # fmt: skip
        lines[i] = rng.choice(code) if kind == 1 else f"{name} = {rng.choice(NASTY)!r}"
        path.write_text("\n".join(lines))
    return partial(run, "train", path, "--out", folder / "run", "--steps", 2, "--device", "cpu")


def pictures(base: Path, folder: Path, rng: Rng) -> Action:
    from PIL import Image

    where = folder / "pictures"
    (where / "cat").mkdir(parents=True)
    kinds = ["png", "jpeg", "gif", "bmp", "tiff", "webp"]
    for i in range(4):
        image = Image.effect_noise((12, 12), 50).convert(rng.choice(["L", "RGB"]))
        kind = rng.choice(kinds)
        buffer = io.BytesIO()
        image.save(buffer, kind)
        data = damage(buffer.getvalue(), rng) if i == 2 else buffer.getvalue()
        (where / "cat" / f"{i}.{rng.choice([kind, kind, 'png'])}").write_bytes(data)
    trap = where / "cat" / "trap.png"
    kind_of_trap = rng.randrange(8)
    if kind_of_trap == 0:
        os.mkfifo(trap)
    elif kind_of_trap == 1:
        trap.symlink_to(trap)
    elif kind_of_trap == 2:
        trap.symlink_to("/dev/zero")
    elif kind_of_trap == 3:
        trap.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(escaped) (w) file\n")
    elif kind_of_trap == 4:
        Image.new("L", (20_000, 20_000)).save(trap)
    return partial(
        run, "train", base / "tiny.py", "--data", where, "--size", 8, "--out", folder / "run",
        "--steps", 2, "--batch", 2, "--device", "cpu",
    )  # fmt: skip


def diffusers(base: Path, folder: Path, rng: Rng) -> Action:
    where = Path(shutil.copytree(base / "folder", folder / "folder"))
    files = sorted(p for p in where.rglob("*") if p.is_file())
    path = rng.choice(files)
    if path.suffix == ".json" and rng.random() < 0.8:
        path.write_text(hostile_text(json.loads(path.read_text()), rng))
    elif path.suffix == ".safetensors" and rng.random() < 0.6:
        path.write_bytes(to_bytes(hostile_tensors(load_file(path), rng)))
    else:
        path.write_bytes(damage(path.read_bytes(), rng))
    return partial(run, "sample", where, "--n", 2, "--steps", 2, "--out", folder / "x.png")


class Liar(http.server.BaseHTTPRequestHandler):
    """A server that does not do what it says; the address says how."""

    def do_GET(self) -> None:
        how, body = self.path.strip("/").split("-")[0], b"z" * 1000
        if how == "status":
            self.send_error(int(self.path.rsplit("-", 1)[1]))
            return
        if how == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        self.send_response(206 if how == "range" else 200)
        length = {"long": "5000", "huge": str(2**62), "word": "many", "minus": "-5"}.get(
            how, "1000"
        )
        self.send_header("Content-Length", length)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body[:500] if how == "cut" else body)

    def log_message(self, *_: Any) -> None:
        pass


def download(base: Path, folder: Path, rng: Rng) -> Action:
    port = int((base / "port").read_text())
    how = rng.choice(["wrong", "cut", "long", "huge", "word", "minus", "loop", "range", "status"])
    code = rng.choice([204, 301, 400, 403, 404, 416, 429, 500, 503])
    target = folder / rng.choice(["a.bin", "deep/er/a.bin"])
    if rng.random() < 0.3:
        (folder / "a.bin.part").write_bytes(b"z" * rng.choice([0, 10, 1000, 2000]))
    digest = rng.choice(["0" * 64, "f" * 32])

    def act() -> int:
        try:
            fetch(f"http://127.0.0.1:{port}/{how}-{code}", target, digest)
        except (ValueError, OSError, commands.EXPECTED[1]) as error:
            print(f"minidiff: {error}", file=sys.stderr)
            return 1
        raise AssertionError("a file that is not the one meant was accepted")

    return act


ATTACKS = [weights, state, log, config, pictures, diffusers, download]


# -- the judge ----------------------------------------------------------------------------------


def watch(folder: Path, port: int) -> None:
    """In the child: note what code from outside would do."""
    ours = (str(folder), "/dev/null", "/dev/shm", "/proc", tempfile.gettempdir() + "/torch")
    seen: list[str] = []

    def escaped(what: str) -> None:
        seen.append(what)
        print(f"ESCAPE: {what}", file=sys.stderr)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("subprocess.Popen", "os.system", "os.exec", "pickle.find_class"):
            escaped(f"{event} {arguments[:2]}")
        elif event == "open" and isinstance(arguments[0], str) and arguments[2] is not None:
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not os.path.abspath(arguments[0]).startswith(ours):
                escaped(f"wrote {arguments[0]}")
        elif event in ("os.remove", "os.rename", "os.rmdir", "os.mkdir"):
            path = os.path.abspath(str(arguments[0]))
            if isinstance(arguments[0], (str, Path)) and not path.startswith(ours):
                escaped(f"{event} {path}")
        elif event == "socket.connect" and arguments[1][:2] != ("127.0.0.1", port):
            escaped(f"connected to {arguments[1]}")

    sys.addaudithook(hook)


def child(folder: Path, action: Action, port: int) -> None:
    """Do what a reader would; exit with the command's code, or 99 after a traceback."""
    words = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT)
    os.dup2(words, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO()), open(2, "w", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ["HOME"] = str(folder)
    signal.alarm(SECONDS)
    status = Path("/proc/self/status").read_text()
    used = 1024 * int(status.split("VmData:")[1].split()[0])
    resource.setrlimit(resource.RLIMIT_DATA, (used + GIB, used + GIB))
    resource.setrlimit(resource.RLIMIT_FSIZE, (GIB, GIB))
    watch(folder, port)
    try:
        code = action()
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stderr.flush()
    os._exit(code)


def verdict(status: int, said: str) -> str:
    """What became of one attack."""
    if "ESCAPE" in said:
        return "escaped"
    if os.WIFSIGNALED(status):
        return "slow" if os.WTERMSIG(status) == signal.SIGALRM else "crashed"
    code = os.WEXITSTATUS(status)
    if "MemoryError" in said or "not enough memory" in said or "bad_alloc" in said:
        return "memory"
    if code == 99 or "Traceback" in said:
        return "traceback"
    if (
        max((len(line) for line in said.splitlines() if line.startswith("minidiff:")), default=0)
        > LONGEST
    ):
        return "verbose"
    return "refused" if code else "harmless"


FINE = ("refused", "harmless")


def attack(kind: Any, base: Path, seed: int) -> tuple[str, str]:
    """One attack: the verdict, and what the program said."""
    rng = Rng(f"{kind.__name__} {seed}")
    folder = Path(tempfile.mkdtemp(prefix=f"{kind.__name__}-"))
    try:
        action = kind(base, folder, rng)
        port = int((base / "port").read_text())
        pid = os.fork()
        if pid == 0:
            child(folder, action, port)
        _, status = os.waitpid(pid, 0)
        said = (folder / "stderr").read_text(errors="replace")
        return verdict(status, said), said
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def targets() -> Iterator[Path]:
    """A folder with one good specimen of everything, and a server that lies."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        values: dict[str, Any] = {
            "data": "digits", "network_options": TINY, "conditional": True, "steps": 3, "batch": 4,
            "save_every": 1, "sample_every": 0, "validate_every": 0, "log_every": 1, "T": 50,
        }  # fmt: skip
        (base / "tiny.py").write_text("\n".join(f"{k} = {v!r}" for k, v in values.items()))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert run("train", base / "tiny.py", "--out", base / "run", "--device", "cpu") == 0
        model = load_pretrained(base / "run")
        save_weights(base / "tiny.safetensors", model, quantize="int8", card={"data": "digits"})
        plain = load_pretrained("digits")
        from minidiff.unet.compat import save_folder

        save_folder(plain, base / "folder")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
        (base / "port").write_text(str(server.server_port))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield base
        server.shutdown()


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--n", type=int, default=100, help="attacks of each kind")
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--only", choices=[kind.__name__ for kind in ATTACKS])
    result.add_argument("--json", type=Path)
    return result


def main() -> int:
    """Count what becomes of every attack; 1 if one of them found a fault."""
    args = parser().parse_args()
    counts: dict[str, Any] = {}
    faults = []
    with targets() as base:
        for kind in ATTACKS:
            if args.only in (None, kind.__name__):
                found: collections.Counter[str] = collections.Counter()
                for i in range(args.seed, args.seed + args.n):
                    outcome, said = attack(kind, base, i)
                    found[outcome] += 1
                    if outcome not in FINE:
                        faults.append(f"{kind.__name__} {i}: {outcome}")
                        print(f"-- {faults[-1]}\n{said[-700:]}", flush=True)
                counts[kind.__name__] = dict(sorted(found.items()))
                print(f"{kind.__name__}: {counts[kind.__name__]}", flush=True)
    if args.json:
        save(
            args.json, {**provenance("cpu"), "seed": args.seed, "counts": counts, "faults": faults}
        )
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
