"""Data sets: what is loaded, what is refused, and what a broken download leaves behind."""

import gzip
import hashlib
import os
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from minidiff.data import sets
from minidiff.data.download import DownloadError, check, fetch
from minidiff.data.sets import Folder, Images, from_uint8, load, to_uint8

BODY = np.random.RandomState(0).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


# ---- downloads, from a server that misbehaves on request ----


class Handler(BaseHTTPRequestHandler):
    """/whole answers Range; /plain ignores it; /cut breaks off half way; /altered flips a byte."""

    def __init__(self, log, *args):
        self.log = log
        super().__init__(*args)

    def log_message(self, *args):
        pass

    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.log.append((self.path, start))
        if self.path == "/missing":
            return self.send_error(404, "Not Found")
        if self.path == "/garbage":
            return self.wfile.write(b"this is not HTTP\r\n\r\n")
        body = BODY
        if self.path == "/altered":
            body = body[:-1] + bytes([body[-1] ^ 1])
        if self.path in ("/plain", "/altered"):
            start = 0
        elif start >= len(body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        self.wfile.write(rest[: len(rest) // 2] if self.path == "/cut" else rest)
        return None


@pytest.fixture
def server():
    log = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, log))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", log
    httpd.shutdown()
    httpd.server_close()


def test_download_once_then_from_the_disk(server, tmp_path):
    url, log = server
    path = fetch(f"{url}/whole", tmp_path / "deep" / "file", SHA256)
    assert path.read_bytes() == BODY
    assert fetch(f"{url}/whole", path, SHA256) == path
    assert len(log) == 1
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize(("have", "path"), [(1, "whole"), (299_999, "whole"), (150_000, "plain")])
def test_a_partial_download_is_continued(server, tmp_path, have, path):
    url, log = server
    (tmp_path / "file.part").write_bytes(BODY[:have])
    assert fetch(f"{url}/{path}", tmp_path / "file", SHA256).read_bytes() == BODY
    assert log == [(f"/{path}", have)]


def test_a_broken_connection_keeps_what_came(server, tmp_path):
    url, log = server
    file = tmp_path / "file"
    with pytest.raises(DownloadError, match=r"150,000 of 300,000 bytes; run again to continue"):
        fetch(f"{url}/cut", file, SHA256)
    assert not file.exists()
    assert fetch(f"{url}/whole", file, SHA256).read_bytes() == BODY
    assert log[-1] == ("/whole", 150_000)


def test_a_complete_part_is_taken_and_a_wrong_one_dropped(server, tmp_path):
    url, _ = server
    file, part = tmp_path / "file", tmp_path / "file.part"
    part.write_bytes(BODY)
    assert fetch(f"{url}/whole", file, SHA256).read_bytes() == BODY
    file.unlink()
    part.write_bytes(b"x" * 1000)  # the beginning of another file
    with pytest.raises(DownloadError, match="not the official file"):
        fetch(f"{url}/whole", file, SHA256)
    assert not part.exists()
    assert fetch(f"{url}/whole", file, SHA256).read_bytes() == BODY


def test_altered_missing_and_unreachable(server, tmp_path):
    url, _ = server
    with pytest.raises(DownloadError, match=rf"not the official file.*{SHA256}.*was deleted"):
        fetch(f"{url}/altered", tmp_path / "file", SHA256)
    with pytest.raises(DownloadError, match=r"404 Not Found.*offline.*MINIDIFF_DATA"):
        fetch(f"{url}/missing", tmp_path / "file", SHA256)
    with pytest.raises(DownloadError, match=r"cannot reach http://127\.0\.0\.1:9.*MINIDIFF_DATA"):
        fetch("http://127.0.0.1:9/", tmp_path / "file", SHA256)
    with pytest.raises(DownloadError, match=r"cannot reach .*this is not HTTP.*MINIDIFF_DATA"):
        fetch(f"{url}/garbage", tmp_path / "file", SHA256)
    assert os.listdir(tmp_path) == []


def test_processes_that_start_together_download_once(server, tmp_path):
    url, log = server
    file = tmp_path / "file"
    threads = [threading.Thread(target=fetch, args=(f"{url}/whole", file, SHA256)) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_bytes() == BODY
    assert len(log) == 1


def test_an_unwritable_folder_says_what_to_do(tmp_path):
    (tmp_path / "plain file").touch()
    with pytest.raises(DownloadError, match=r"cannot write .*MINIDIFF_DATA"):
        fetch("http://127.0.0.1:9/", tmp_path / "plain file" / "x", SHA256)


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_check_names_the_file_and_both_digests(tmp_path, kind):
    path = tmp_path / "t10k.gz"
    path.write_bytes(BODY)
    right, wrong = hashlib.new(kind, BODY).hexdigest(), hashlib.new(kind, BODY[:-1]).hexdigest()
    check(path, right)
    with pytest.raises(DownloadError, match=rf"t10k.gz.*{kind}.*{right}.*{wrong}"):
        check(path, wrong)


# ---- scaling, batches ----


def test_scaling_is_exact_and_rounds():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(levels)), levels)
    nearly = from_uint8(levels) + 0.49 / 127.5
    assert torch.equal(to_uint8(nearly), levels)
    assert to_uint8(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]


def test_digits():
    train, test = load("digits"), load("digits", "test")
    assert (len(train), len(test)) == (1500, 297)
    assert train.images.dtype == torch.uint8
    assert train.labels.dtype == torch.long
    assert train.images.max() == 255
    assert set(train.images.unique().tolist()) <= {round(i * 255 / 16) for i in range(17)}
    assert train.labels.bincount().min() > 100
    sklearn = pytest.importorskip("sklearn.datasets").load_digits()
    whole = torch.cat([train.images, test.images]).flatten(1)
    original = torch.from_numpy(sklearn.data * 255 / 16).round().to(torch.uint8)
    assert sorted(map(bytes, whole.numpy())) == sorted(map(bytes, original.numpy()))


def test_batches_are_drawn_from_the_generator_and_flipped_fairly():
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    images[..., 1] = 255
    some = Images(images, torch.arange(4), tuple("abcd"))

    def draw():
        return some.batch(2000, generator=torch.Generator().manual_seed(1), flip=True)

    (x0, labels), (again, _) = draw(), draw()
    assert torch.equal(x0, again)
    assert x0.dtype == torch.float32
    flipped = (x0[:, 0, 0, 0] == 1).float().mean().item()
    assert abs(flipped - 0.5) < 0.05
    assert labels.bincount().min() > 400
    x0, labels = some.batch([3, 1])
    assert labels.tolist() == [3, 1]
    assert [y.tolist() for _, y in some.stream([[0], [2, 3]])] == [[0], [2, 3]]


def test_images_that_are_none_are_refused_in_one_sentence():
    good, labels, classes = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4), "abcd"
    for images in (good.float(), good[0], good[:0], good.numpy(), good.tolist(), good.bool(), None):
        with pytest.raises(ValueError, match=r"^images must be a uint8 tensor .* got [^\n]*$"):
            Images(images, labels, tuple(classes))
    for wrong in (labels[:3], labels.float(), labels[:, None], labels.tolist(), labels.int(), None):
        with pytest.raises(ValueError, match=r"^labels must be .* 4 images, got [^\n]*$"):
            Images(good, wrong, tuple(classes))
    for values in ([0, 1, 2, 4], [-1, 0, 0, 0]):
        with pytest.raises(ValueError, match=r"^labels must be in 0\.\.3, .* 4 classes, got -?\d"):
            Images(good, torch.tensor(values), tuple(classes))
    for names in (classes, 4, (0, 1, 2, 3), None):
        with pytest.raises(ValueError, match=r"^classes must be a tuple of names, got"):
            Images(good, labels, names)
    assert Images(good, labels, list(classes)).classes == tuple(classes)


# ---- files on the disk ----


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.tobytes())


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """A data set of the same format with seven images, under the name of MNIST."""
    rng = np.random.RandomState(0)
    arrays = [rng.randint(0, 256, (7, 28, 28)).astype(np.uint8), np.arange(7, dtype=np.uint8)]
    blobs = [idx(a) for a in arrays * 2]
    digests = tuple(hashlib.md5(b).hexdigest() for b in blobs)
    monkeypatch.setitem(
        sets._IDX, "mnist", ("mnist", "http://127.0.0.1:9/", tuple("0123456"), digests)
    )
    (tmp_path / "mnist").mkdir()
    for name, blob in zip(sets._IDX_FILES, blobs, strict=True):
        (tmp_path / "mnist" / name).write_bytes(blob)
    return tmp_path, arrays


def test_idx_files(tiny_mnist, monkeypatch):
    root, (pixels, labels) = tiny_mnist
    images = load("mnist", root=root)
    assert np.array_equal(images.images[:, 0], pixels)
    assert images.labels.tolist() == labels.tolist()
    monkeypatch.setenv("MINIDIFF_DATA", str(root))
    padded = load("mnist", "test", size=32)
    assert padded.shape == (1, 32, 32)
    assert torch.equal(padded.images[..., 2:-2, 2:-2], images.images)
    assert padded.images.sum() == images.images.sum()
    with pytest.raises(ValueError, match="28 plus an even number, got 31"):
        load("mnist", size=31)


@pytest.mark.parametrize("damage", [lambda b: b[:-5], lambda b: b[:50] + b"!" + b[51:]])
def test_a_damaged_file_is_refused(tiny_mnist, damage):
    root, _ = tiny_mnist
    path = root / "mnist" / sets._IDX_FILES[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DownloadError, match=r"train-images-idx3-ubyte.gz is damaged or altered"):
        load("mnist", root=root)


def test_a_partial_file_is_not_mistaken_for_a_whole_one(tiny_mnist):
    root, _ = tiny_mnist
    path = root / "mnist" / sets._IDX_FILES[0]
    path.rename(path.with_name(path.name + ".part"))
    with pytest.raises(DownloadError, match=r"cannot reach.*get train-images-idx3-ubyte.gz"):
        load("mnist", root=root)


def test_unknown_names_and_splits():
    with pytest.raises(ValueError, match="digits, mnist, fashion, kmnist, cifar10, or a folder"):
        load("imagenet")
    with pytest.raises(ValueError, match="split must be one of train, test; got"):
        load("digits", "validation")


def test_cifar10_archive_and_mosaics_agree(tmp_path, monkeypatch):
    import io
    import tarfile

    from PIL import Image

    rng = np.random.RandomState(0)
    pixels = rng.randint(0, 4, (5000, 3, 32, 32)).astype(np.uint8)
    labels = rng.randint(0, 10, 5000).astype(np.uint8)
    digest = hashlib.sha256(labels.tobytes() + pixels.tobytes()).hexdigest()
    monkeypatch.setitem(sets._CIFAR_SHA256, "test", digest)

    record = np.concatenate([labels[:, None], pixels.reshape(5000, -1)], 1).tobytes()
    archive = tmp_path / "a" / "cifar10" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        info.size = len(record)
        tar.addfile(info, io.BytesIO(record))
    monkeypatch.setattr(sets, "_CIFAR_MD5", hashlib.md5(archive.read_bytes()).hexdigest())

    folder = tmp_path / "b" / "cifar10"
    folder.mkdir(parents=True)
    tiles = pixels.reshape(100, 50, 3, 32, 32).transpose(0, 3, 1, 4, 2).reshape(3200, 1600, 3)
    Image.fromarray(tiles).save(folder / "test_01.webp", lossless=True, method=0, quality=0)
    np.save(folder / "test_labels.npy", labels)

    for root in ("a", "b"):
        cifar = load("cifar10", "test", root=tmp_path / root)
        assert np.array_equal(cifar.images, pixels)
        assert cifar.labels.tolist() == labels.tolist()
    np.save(folder / "test_labels.npy", 9 - labels)
    with pytest.raises(DownloadError, match="not CIFAR-10's"):
        load("cifar10", "test", root=tmp_path / "b")
    (folder / "test_01.webp").write_bytes(b"RIFF")
    with pytest.raises(DownloadError, match=r"test_01\.webp is damaged"):
        load("cifar10", "test", root=tmp_path / "b")


def save_picture(path: Path, size, colour, mode="RGB"):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_folder_of_images(tmp_path, monkeypatch):
    save_picture(tmp_path / "cat" / "1.png", (8, 6), (255, 0, 0))
    save_picture(tmp_path / "cat" / "2.png", (8, 6), (0, 255, 0))
    save_picture(tmp_path / "dog" / "a" / "3.webp", (8, 6), (0, 0, 0))
    (tmp_path / "notes.txt").touch()
    images = load(tmp_path)
    assert isinstance(images, Images)
    assert images.shape == (3, 6, 8)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 1]
    assert images.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert load(str(tmp_path), size=4).shape == (3, 4, 4)
    with pytest.raises(ValueError, match="no test images"):
        load(tmp_path, "test")

    monkeypatch.setattr(sets, "_IN_MEMORY", 0)  # too big: streamed
    folder = load(tmp_path)
    assert isinstance(folder, Folder)
    x0, labels = folder.batch([0, 2])
    assert torch.equal(x0, images.batch([0, 2])[0])
    assert labels.tolist() == [0, 1]
    assert folder.batch(5, generator=torch.Generator().manual_seed(0))[0].shape == (5, 3, 6, 8)
    streamed = list(folder.stream([[0, 1], [2]]))
    assert [y.tolist() for _, y in streamed] == [[0, 0], [1]]
    assert torch.equal(streamed[0][0], images.batch([0, 1])[0])


def test_folder_splits_grey_and_refusals(tmp_path):
    save_picture(tmp_path / "train" / "a.png", (5, 5), 7, "L")
    save_picture(tmp_path / "train" / "b.png", (5, 5), (9, 9, 9))
    save_picture(tmp_path / "test" / "c.png", (5, 5), 7, "L")
    train = load(tmp_path)
    assert train.shape == (1, 5, 5)  # as the first image
    assert len(load(tmp_path, "test")) == 1
    save_picture(tmp_path / "train" / "c.png", (6, 5), 7, "L")
    with pytest.raises(ValueError, match=r"c.png is 6x5, the first is 5x5: give a size"):
        load(tmp_path)
    (tmp_path / "train" / "c.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"cannot read .*c\.png"):
        load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images"):
        load(tmp_path / "empty")


def test_folder_takes_pictures_as_they_are_meant(tmp_path):
    """16 bits, transparency, a turned camera; and files that only look like pictures are left."""
    from PIL import Image

    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(tmp_path / "deep.png")
    assert load(tmp_path).images.unique().tolist() == [1000 >> 8]  # not cut off at 255
    (tmp_path / "deep.png").unlink()
    red = np.zeros((4, 4, 4), np.uint8)
    red[..., 0], red[:2, :, 3] = 255, 255
    Image.fromarray(red).save(tmp_path / "b.png")
    Image.fromarray(red[..., ::3]).save(tmp_path / "c.png")  # grey and opaqueness
    both = load(tmp_path).images
    assert both[0, :, 0, 0].tolist() == [255, 0, 0]
    assert both[0, :, 3, 0].tolist() == [255, 255, 255]
    assert torch.equal(both[1], torch.full((3, 4, 4), 255))
    (tmp_path / "._b.png").write_bytes(b"what macOS leaves beside a file")
    save_picture(tmp_path / ".ipynb_checkpoints" / "d.png", (4, 4), 0, "L")
    assert len(load(tmp_path)) == 2
    turned = Image.new("RGB", (6, 4))
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was held upright
    (tmp_path / "turned").mkdir()
    turned.save(tmp_path / "turned" / "1.jpg", exif=exif)
    assert load(tmp_path / "turned").shape == (3, 6, 4)
    with pytest.raises(ValueError, match="size must be a whole number of at least 1, got 0"):
        load(tmp_path, size=0)


def test_labels_mean_the_same_in_both_splits(tmp_path):
    for name in ("train/ant", "train/bee", "train/cat", "test/bee", "test/cat"):
        save_picture(tmp_path / name / "1.png", (4, 4), 7, "L")
    test = load(tmp_path, "test")
    assert test.classes == load(tmp_path).classes == ("ant", "bee", "cat")
    assert test.labels.tolist() == [1, 2]
    save_picture(tmp_path / "test" / "dog" / "1.png", (4, 4), 7, "L")
    with pytest.raises(ValueError, match=r"test/dog is a class that .*train doesn't have"):
        load(tmp_path, "test")


def test_streaming_leaves_the_random_state_of_the_run_alone(tmp_path, monkeypatch):
    """Else dropout would differ after a resume."""
    save_picture(tmp_path / "1.png", (4, 4), 7, "L")
    monkeypatch.setattr(sets, "_IN_MEMORY", 0)
    before = torch.get_rng_state()
    next(load(tmp_path).stream([[0]]))
    assert torch.equal(torch.get_rng_state(), before)


# ---- the real files, where they are ----


def real(folder: str) -> Path:
    root = os.environ.get("MINIDIFF_DATA")
    if not root or not (Path(root) / folder).is_dir():
        pytest.skip(f"the real files need MINIDIFF_DATA with {folder}/ in it")
    return Path(root)


@pytest.mark.parametrize(
    ("name", "folder", "shape"),
    [
        ("mnist", "mnist", (1, 28, 28)),
        ("fashion", "fashion_mnist", (1, 28, 28)),
        ("cifar10", "cifar10", (3, 32, 32)),
    ],
)
def test_real_files(name, folder, shape):
    test = load(name, "test", root=real(folder))
    assert (len(test), test.shape) == (10_000, shape)
    assert test.labels.bincount().sum() == 10_000
    if name != "mnist":  # MNIST alone has classes of different sizes
        assert test.labels.bincount().tolist() == [1000] * 10
