"""Runs into a disk of one megabyte that fills up and then cannot be written to.

python tests/full_disk.py   as root, in a folder with tiny.py and an empty folder full/
"""

import ctypes
import os
import sys

from forks import command

NEW_MOUNTS = 0x00020000  # Linux's CLONE_NEWNS
TRAIN = "train tiny.py --out full/run --steps "


def main() -> int:
    """0, 77 where no disk can be mounted, or the number of what went otherwise than it should."""
    if ctypes.CDLL(None).unshare(NEW_MOUNTS) or os.system("mount --make-rprivate /"):
        return 77
    if os.system("mount -t tmpfs -o size=1m tmpfs full"):
        return 77
    if command(TRAIN + "10"):
        return 3
    os.system("dd if=/dev/zero of=full/fill bs=4k 2>/dev/null")
    if not command(TRAIN + "20 --resume"):
        return 4
    if not command("sample digits -n 99 --steps 1 --out full/x.png"):
        return 5
    os.system("rm full/fill; ls full full/run >&2")
    if command(TRAIN + "20 --resume"):
        return 6
    os.system("mount -o remount,ro full")
    if not command(TRAIN + "30 --resume"):
        return 7
    if command("sample full/run -n 1 --steps 1 --out x.png"):
        return 8
    os.system("umount full")
    return 0


if __name__ == "__main__":
    sys.exit(main())
