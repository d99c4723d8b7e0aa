# @title Set-up: run this first
# This cell makes the notebook run anywhere. On Colab it installs the book's library, of the version
# that this notebook belongs to (torch stays as Colab has it); everywhere else it only chooses the
# profile: what your machine can do.
import importlib
import importlib.util
import os
import subprocess
import sys

SOURCE = "git+https://github.com/-unset-/minidiff@main"
IN_COLAB = "google.colab" in sys.modules
found = importlib.util.find_spec("minidiff")
if found is None or found.origin is None:  # without origin it is a clone's folder, not the library
    source = "./minidiff" if os.path.exists("minidiff/pyproject.toml") else SOURCE
    if "-unset-" in source:
        raise ImportError(
            "minidiff is not installed, and this copy of the notebook names no address to get it "
            "from: install your copy of the book, pip install FOLDER/OF/minidiff, and restart"
        )
    if not IN_COLAB:
        raise ImportError(f"minidiff is not installed here: pip install {source}, and restart")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]  # keep Colab's PyTorch
    try:
        subprocess.run([*command, source, "torchdiffeq"], check=True)
    except subprocess.CalledProcessError:
        raise ImportError(f"pip could not install {source}: is the network on? Try again") from None
    importlib.invalidate_caches()

import torch

GPU = torch.cuda.is_available()
PROFILE = os.environ.setdefault("MINIDIFF_PROFILE", "gpu" if GPU else "cpu")
if PROFILE not in ("cpu", "gpu"):
    raise ValueError(f"MINIDIFF_PROFILE must be cpu or gpu, got {PROFILE!r}")
if IN_COLAB and not GPU:
    print("No GPU is on. Everything here runs without one, at a smaller size. To switch one on:")
    print("Runtime > Change runtime type > T4 GPU > Save, then Runtime > Run all.")
