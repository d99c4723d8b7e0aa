"""Chapter 7: data sets, pictures in folders, checked downloads, files written whole."""

from minidiff.data import creatures
from minidiff.data.download import DownloadError, fetch
from minidiff.data.folder import Folder
from minidiff.data.images import Images, from_uint8, to_uint8
from minidiff.data.sets import NAMES, load

__all__ = [
    "NAMES",
    "DownloadError",
    "Folder",
    "Images",
    "creatures",
    "fetch",
    "from_uint8",
    "load",
    "to_uint8",
]
