"""Data sets: what is loaded, what is refused, and what a broken download leaves behind."""

import gzip
import hashlib
import os
import re
import ssl
import stat
import threading
import warnings
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from minidiff.data import download, pictures, sets
from minidiff.data.download import DownloadError, check, fetch
from minidiff.data.files import check_writable, whole, write_whole
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
        if self.path in ("/endless", "/crawling"):
            self.send_response(200)
            self.end_headers()
            piece = BODY if self.path == "/endless" else b"x"
            with suppress(OSError):  # the client has had enough
                while True:
                    self.wfile.write(piece)
            return None
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


def test_a_server_without_an_end_is_given_up(server, tmp_path, monkeypatch):
    url, _ = server
    monkeypatch.setattr(download, "LARGEST", 1_000_000)
    with pytest.raises(DownloadError, match=r"sends 1,\d{3},\d{3} bytes or more, .* 1,000,000"):
        fetch(f"{url}/endless", tmp_path / "file", SHA256)
    monkeypatch.setattr(download, "LARGEST", 299_999)
    with pytest.raises(DownloadError, match="sends 300,000 bytes or more"):  # before they come
        fetch(f"{url}/whole", tmp_path / "file", SHA256)
    assert os.listdir(tmp_path) == []


def test_a_server_that_crawls_is_given_up(server, tmp_path, monkeypatch):
    """Every byte comes within the time-out of a connection, and the file never would."""
    url, _ = server
    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr(download.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(download, "SLOWEST", 1 << 40)
    with pytest.raises(DownloadError, match=r"bytes in 40 seconds; run again to continue.*offline"):
        fetch(f"{url}/crawling", tmp_path / "file", SHA256)
    assert os.listdir(tmp_path) == ["file.part"]


def test_an_error_of_tls_is_none_of_the_disk(server, tmp_path, monkeypatch):
    url, _ = server
    with pytest.raises(DownloadError, match=r"cannot reach https://.*SSL.*offline"):
        fetch(f"{url.replace('http', 'https')}/whole", tmp_path / "file", SHA256)

    def broken(self, n=-1):
        raise ssl.SSLError(1, "[SSL] record layer failure")

    monkeypatch.setattr(HTTPResponse, "read1", broken)
    with pytest.raises(DownloadError, match=r"cannot reach http.*record layer failure"):
        fetch(f"{url}/whole", tmp_path / "file", SHA256)


def test_a_user_without_a_home(monkeypatch):
    """As in a container that runs under a bare number."""
    monkeypatch.delenv("MINIDIFF_DATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert len(load("digits", "test")) == 297
    with pytest.raises(DownloadError, match=r"no home folder .*: set MINIDIFF_DATA to a folder$"):
        load("mnist")
    with pytest.raises(ValueError, match="or a folder; got '~nobody'"):
        load("~nobody")


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
    with pytest.raises(ValueError, match="cifar10, creatures, creatures_varied, or a folder"):
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


@contextmanager
def one_sentence(*words: str):
    """Exactly one warning, of one line, with all these words in it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    (said,) = [str(w.message) for w in caught]
    assert "\n" not in said
    assert [w for w in words if w not in said] == [], said


@contextmanager
def no_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def grey(folder: Path, *files: str) -> Path:
    """Small grey pictures of these names."""
    for file in files:
        save_picture(folder / file, (4, 4), 7, "L")
    return folder


def test_folder_of_images(tmp_path, monkeypatch):
    save_picture(tmp_path / "cat" / "1.png", (8, 6), (255, 0, 0))
    save_picture(tmp_path / "cat" / "2.png", (8, 6), (0, 255, 0))
    save_picture(tmp_path / "dog" / "a" / "3.webp", (8, 6), (0, 0, 0))
    with no_word():
        images = load(tmp_path)
    assert isinstance(images, Images)
    assert images.shape == (3, 6, 8)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 1]
    assert images.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert load(str(tmp_path), size=np.int64(4)).shape == (3, 4, 4)
    with pytest.raises(ValueError, match="no test images"):
        load(tmp_path, "test")

    monkeypatch.setattr(sets, "_IN_MEMORY", 0)  # too big: streamed
    folder = load(tmp_path)
    assert isinstance(folder, Folder)
    x0, labels = folder.batch([0, 2])
    assert torch.equal(x0, images.batch([0, 2])[0])
    assert labels.tolist() == [0, 1]
    for few in (5, np.int64(5)):
        drawn = folder.batch(few, generator=torch.Generator().manual_seed(0))[0]
        assert drawn.shape == (5, 3, 6, 8)
    streamed = list(folder.stream([[0, 1], [2]]))
    assert [y.tolist() for _, y in streamed] == [[0, 0], [1]]
    assert torch.equal(streamed[0][0], images.batch([0, 1])[0])


def test_a_layout_is_told_in_one_line(tmp_path, caplog):
    with caplog.at_level("INFO", "minidiff"), no_word():
        load(grey(tmp_path, "cat/1.png", "cat/2.PNG", "dog/3.png"))
    assert caplog.messages == [f"{tmp_path}: 3 pictures in 2 classes (cat 2, dog 1)"]


@pytest.mark.parametrize(
    ("files", "counts", "told"),
    [
        # a class that is called like a split
        ("bus/1 car/2 train/3", {"bus": 1, "car": 1, "train": 1}, "train is taken for a class"),
        ("bus/1 car/2 Test/3", {"Test": 1, "bus": 1, "car": 1}, "Test is taken for a class"),
        ("train/1 2 3", {"": 2, "train": 1}, "train is taken for a class"),
        # splits under other names
        ("training/a/1 testing/a/2", {"a": 1}, ""),
        ("TRAIN/a/1 VAL/a/2", {"a": 1}, ""),
        ("train/a/1 val/a/2 test/a/3", {"a": 1}, "left out: 1 in val"),
        ("train/a/1 training/a/2 training/a/3", {"a": 1}, "left out: 2 in training"),
        ("train/1 test/2 unlabeled/3 4", {"": 1}, "left out: 1 beside the folders, 1 in unlabeled"),
        # files beside folders, deep and empty folders
        ("1 2 cat/3", {"": 2, "cat": 1}, "those beside the folders are a class of their own"),
        ("images/cat/1 images/dog/2", {"images": 2}, "its 2 folders are one class: to have them"),
        ("cat/1 dog/", {"cat": 1}, "left out: 1 without pictures (dog)"),
        ("cat/1 cat/deep/2 dog/3", {"cat": 2, "dog": 1}, ""),
        # what is no picture, or hidden
        ("a/1 a/2.txt a/3.TXT b.csv a/README", {"a": 1}, "left out: 2 .txt, 1 .csv, 1 without an"),
        ("a/1 a/._1 .cache/2 __MACOSX/._3", {"a": 1}, "left out: 3 hidden, 1 without pictures"),
    ],
)
def test_nothing_in_a_folder_is_passed_over_in_silence(tmp_path, files, counts, told):
    for file in files.split():
        if file.endswith("/"):
            (tmp_path / file).mkdir()
        elif re.search(r"[.]\w{3}$|README", file):
            (tmp_path / file).write_text("no picture")
        else:
            grey(tmp_path, f"{file}.png")
    with one_sentence(told) if told else no_word():
        data = load(tmp_path)
    names = [data.classes[y] for y in data.labels]
    assert {name: names.count(name) for name in data.classes} == counts


@pytest.mark.parametrize("name", ["test", "testing", "val", "valid", "Validation"])
def test_the_other_split_under_its_names(tmp_path, name):
    grey(tmp_path, "train/a/1.png", "train/b/2.png", f"{name}/b/3.png")
    guess = name.lower()[:3] == "val"
    with one_sentence(f"{name} is taken for the test split") if guess else no_word():
        data = load(tmp_path, "test")
    assert (data.labels.tolist(), data.classes) == ([1], ("a", "b"))


def test_pictures_of_every_known_ending_are_read(tmp_path):
    for i, ending in enumerate(sorted(pictures.SUFFIXES)):
        save_picture(tmp_path / f"{i}{ending.upper() if i % 2 else ending}", (4, 4), 7, "L")
    assert len(load(tmp_path)) == len(pictures.SUFFIXES)


def test_links_are_followed_and_no_circle_is(tmp_path):
    grey(tmp_path, "disk/cat/1.png", "disk/cat/2.png", "data/dog/3.png", "other.png")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "disk" / "cat")
    (tmp_path / "data" / "dog" / "4.png").symlink_to(tmp_path / "other.png")
    with no_word():
        assert load(tmp_path / "data").labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "data" / "dog" / "again").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "dog" / "5.png").symlink_to(tmp_path / "nothing")
    with one_sentence("1 linked in a circle", "1 linked to nothing"):
        assert len(load(tmp_path / "data")) == 4


def test_a_link_to_itself_is_counted(tmp_path):
    grey(tmp_path, "1.png")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "2.png").symlink_to(tmp_path / "2.png")
    with one_sentence("left out: 2 linked in a circle"):
        assert len(load(tmp_path)) == 1


def test_two_forms_of_an_accent_are_one_class(tmp_path):
    """A folder that was packed on a Mac beside one that was not."""
    grey(tmp_path, "train/caf\u00e9/1.png", "train/tea/2.png", "test/cafe\u0301/3.png")
    with no_word():
        assert load(tmp_path).classes == ("caf\u00e9", "tea")
        assert load(tmp_path, "test").labels.tolist() == [0]


@pytest.mark.parametrize("name", [None, 3, b"digits", ["digits"], "", "a\0b"])
def test_what_names_no_data_is_refused(name):
    with pytest.raises(ValueError, match=r"^data must be one of digits, .*, or a folder; got "):
        load(name)


def test_what_is_no_file_never_hangs(tmp_path):
    grey(tmp_path, "1.png")
    os.mkfifo(tmp_path / "2.png")
    with one_sentence("left out: 1 no regular file"):
        assert len(load(tmp_path)) == 1
    with pytest.raises(ValueError, match=r"cannot read .*2\.png: it is no regular file$"):
        pictures.decode(tmp_path / "2.png")


def test_folder_splits_grey_and_refusals(tmp_path, monkeypatch):
    save_picture(tmp_path / "train" / "a.png", (5, 5), 7, "L")
    save_picture(tmp_path / "test" / "c.png", (5, 5), 7, "L")
    assert load(tmp_path).shape == (1, 5, 5)
    save_picture(tmp_path / "train" / "b.png", (5, 5), (9, 0, 9))
    assert load(tmp_path).shape == (3, 5, 5)  # one in colour makes all so, and loses nothing
    assert load(tmp_path, "test").shape == (3, 5, 5)  # what was trained on decides
    save_picture(tmp_path / "train" / "c.png", (6, 5), 7, "L")
    for memory in (1 << 30, 0):  # at the start, also of a folder that will be streamed
        monkeypatch.setattr(sets, "_IN_MEMORY", memory)
        with pytest.raises(ValueError, match=r"c.png is 6x5, the first is 5x5: give a size"):
            load(tmp_path)
    (tmp_path / "train" / "c.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"cannot read .*c\.png: it is none of BMP, GIF, JPEG"):
        load(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "1.heic").touch()
    with pytest.raises(ValueError, match=r"no images \(\.bmp .*; left out: 1 \.heic$"):
        load(tmp_path / "empty")


def test_many_classes_are_numbered_in_no_time(tmp_path, monkeypatch):
    """Each picture's class was looked up in the list of all: 10,000 x 10,000 comparisons."""
    names = [f"{i:05d}" for i in range(3000)]
    monkeypatch.setattr(Folder, "_pixels", lambda self, i: (torch.zeros(1, 4, 4).byte(), set()))
    header = pictures.Header(4, 4, True)
    monkeypatch.setattr("minidiff.data.folder.header", lambda file: header)
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    compared = 0

    class Name(str):
        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    of = sets.Folder.__init__.__globals__["Layout"].of
    with monkeypatch.context() as patch:
        patch.setattr(
            "minidiff.data.layout.Layout.of",
            lambda self, split: (of(self, split)[0], [Name(n) for n in of(self, split)[1]]),
        )
        folder = Folder(tmp_path)
    assert folder.targets == list(range(3000))
    assert compared < 30 * 3000


# ---- pictures of every kind ----


def test_folder_takes_pictures_as_they_are_meant(tmp_path):
    """16 bits, transparency, a turned camera."""
    from PIL import Image

    Image.fromarray(np.full((4, 4), 10_000, np.uint16)).save(tmp_path / "deep.png")
    assert load(tmp_path).images.unique().tolist() == [10_000 >> 8]  # not cut off at 255
    (tmp_path / "deep.png").unlink()
    red = np.zeros((4, 4, 4), np.uint8)
    red[..., 0], red[:2, :, 3] = 255, 255
    Image.fromarray(red).save(tmp_path / "b.png")
    Image.fromarray(red[..., ::3]).save(tmp_path / "c.png")  # grey and opaqueness
    with one_sentence("b.png and 1 more of 2 have transparent parts: they become white"):
        both = load(tmp_path).images
    assert both[0, :, 0, 0].tolist() == [255, 0, 0]
    assert both[0, :, 3, 0].tolist() == [255, 255, 255]
    assert torch.equal(both[1], torch.full((3, 4, 4), 255))
    for orientation, shape in ((6, (3, 6, 4)), (3, (3, 4, 6)), (1, (3, 4, 6)), (99, (3, 4, 6))):
        turned = Image.new("RGB", (6, 4))
        exif = turned.getexif()
        exif[0x0112] = orientation  # how the camera was held
        for name in ("1.jpg", "2.png", "3.webp", "4.tiff"):
            (tmp_path / name).mkdir(exist_ok=True)
            turned.save(tmp_path / name / name, exif=exif)
            assert load(tmp_path / name).shape == shape
    for size in (0, -1, 2.5, True, "4"):
        with pytest.raises(ValueError, match="size must be a whole number of at least 1, got"):
            load(tmp_path, size=size)
    for data in (tmp_path, "digits"):  # one picture of it would take the memory of many machines
        with pytest.raises(ValueError, match="size must be at most 8192, got 1000000"):
            load(data, size=10**6)


def test_each_orientation_is_turned_as_pillow_turns_it(tmp_path):
    from PIL import Image, ImageOps

    pixels = np.random.RandomState(0).randint(0, 256, (5, 7, 3)).astype(np.uint8)
    for orientation in range(10):
        picture = Image.fromarray(pixels)
        picture.getexif()[0x0112] = orientation
        picture.save(tmp_path / "1.png", exif=picture.getexif())
        with Image.open(tmp_path / "1.png") as stored:
            expected = np.asarray(ImageOps.exif_transpose(stored))
        assert np.array_equal(np.asarray(pictures.decode(tmp_path / "1.png")[0]), expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I"])
def test_every_mode_becomes_grey_or_rgb(tmp_path, mode):
    from PIL import Image

    file = tmp_path / ("1.tif" if mode in ("CMYK", "I") else "1.png")
    Image.new(mode, (4, 4), 40_000 if mode in ("I", "I;16") else 1 if mode == "1" else 0).save(file)
    data = load(tmp_path).images
    is_grey = mode in ("1", "L", "LA", "I", "I;16")
    assert data.shape == (1, 1 if is_grey else 3, 4, 4)
    white = {"1", "RGBA", "LA", "CMYK"}  # no ink, and nothing but paper
    expected = 255 if mode in white else 40_000 >> 8 if "I" in mode else 0
    assert set(data.unique().tolist()) == {expected}


@pytest.mark.parametrize("channels", [1, 3])
def test_twelve_bits_in_sixteen_are_told_of(tmp_path, channels):
    import struct
    import zlib

    from PIL import Image

    values = np.linspace(0, 4095, 64).reshape(8, 8).astype(np.uint16)
    if channels == 1:
        Image.fromarray(values).save(tmp_path / "1.png")
    else:  # Pillow writes no such file
        rows = values[..., None].repeat(3, 2).astype(">u2").reshape(8, -1)
        raw = b"".join(b"\0" + row.tobytes() for row in rows)
        chunks = {
            b"IHDR": struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0),
            b"IDAT": zlib.compress(raw),
        }
        data = b"\x89PNG\r\n\x1a\n"
        for kind, body in {**chunks, b"IEND": b""}.items():
            crc = struct.pack(">I", zlib.crc32(kind + body))
            data += struct.pack(">I", len(body)) + kind + body + crc
        (tmp_path / "1.png").write_bytes(data)
    with one_sentence("1.png has 16 bits, of which the highest 4 are never used"):
        assert load(tmp_path).images.max() == 4095 >> 8


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_eight_bits_in_sixteen_are_told_of(tmp_path, ending):
    from PIL import Image

    path = tmp_path / f"1.{ending}"
    Image.fromarray(np.arange(64).reshape(8, 8).astype(np.uint16) * 4).save(path)
    with one_sentence(f"1.{ending} has 16 bits, of which the highest 4 are never used"):
        assert load(tmp_path).images.max() == 0
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(path)
    with no_word():  # black is black
        load(tmp_path)


def test_values_of_an_unknown_range_are_refused(tmp_path):
    from PIL import Image

    for values, words in (
        (np.ones((4, 4), np.float32), "it holds floats, of an unknown range"),
        (np.full((4, 4), 70_000, np.int32), r"its values are in 70000\.\.70000: save it in 8 or"),
        (np.full((4, 4), -1, np.int32), r"its values are in -1\.\.-1"),
    ):
        Image.fromarray(values).save(tmp_path / "1.tif")
        with pytest.raises(ValueError, match=rf"cannot read .*1\.tif: {words}"):
            load(tmp_path)


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_of_an_animation_the_first_frame_is_taken_and_told(tmp_path, ending):
    from PIL import Image

    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"1.{ending}", save_all=True, append_images=frames[1:])
    with one_sentence("has several frames: only the first is taken"):
        red = load(tmp_path).images[0, :, 0, 0]
    assert int(red[0]) > 200 > 50 > int(red[2])


def test_the_content_picks_the_decoder_from_a_short_list(tmp_path):
    """An EPS would start Ghostscript, whatever it is called."""
    from PIL import Image

    save_picture(tmp_path / "a" / "1.jpg", (4, 4), 7, "L")
    (tmp_path / "a" / "1.jpg").rename(tmp_path / "a" / "1.png")
    assert load(tmp_path / "a").shape == (1, 4, 4)
    for kind in ("EPS", "TGA", "PCX", "ICO", "PDF"):
        Image.new("RGB", (16, 16)).save(tmp_path / "x", format=kind)
        (tmp_path / "x").rename(tmp_path / "2.png")
        with pytest.raises(
            ValueError, match=r"2\.png: it is none of BMP, GIF, JPEG, PNG, PPM, TIFF"
        ):
            pictures.decode(tmp_path / "2.png")


def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    from PIL import Image

    for side in (8200, 10_000, 14_000):  # beyond our limit, Pillow's warning, Pillow's refusal
        Image.new("1", (side, side)).save(tmp_path / "1.png")
        with no_word(), pytest.raises(ValueError, match="more than 67,108,864: make it smaller"):
            load(tmp_path, size=32)


def test_damaged_pictures_and_damaged_notes(tmp_path):
    """A note (EXIF) that can't be read costs nothing but itself; a picture is read or named."""
    import io
    import random

    from PIL import Image

    buffer, random_ = io.BytesIO(), random.Random(0)
    picture = Image.new("RGB", (16, 12), "red")
    exif = picture.getexif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72
    exif.get_ifd(0x8769)[0x829A] = (1, 100)
    picture.save(buffer, "JPEG", exif=exif)
    sound = buffer.getvalue()
    at = sound.find(b"Exif\0\0")
    end = at - 2 + int.from_bytes(sound[at - 2 : at], "big")
    file = tmp_path / "1.jpg"
    for start, stop in ((at + 6, end), (0, len(sound))) * 500:
        data = bytearray(sound)
        for _ in range(random_.randint(1, 4)):
            data[random_.randrange(start, stop)] = random_.choice([0, 255, random_.randrange(256)])
        file.write_bytes(data)
        with no_word(), suppress(ValueError) if start == 0 else no_word():
            assert pictures.decode(file)[0].mode == "RGB"
    word = b"\x01\x12\x00\x02"  # the number that says how to turn it, as a text
    file.write_bytes(sound.replace(b"\x01\x12\x00\x03", word))
    with one_sentence("1.jpg has a damaged note on how to turn it (EXIF): taken as stored"):
        assert load(tmp_path).shape == (3, 12, 16)
    file.write_bytes(sound[:-40])
    with pytest.raises(ValueError, match=r"cannot read .*1\.jpg: (?i:.*truncated)"):
        load(tmp_path)


def test_a_streamed_picture_is_told_of_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sets, "_IN_MEMORY", 0)
    for i in range(3):
        save_picture(tmp_path / f"{i}.png", (4, 4), (1, 2, 3, 4), "RGBA")
    folder = load(tmp_path)
    with one_sentence("0.png has transparent parts: they become white (as may others)"):
        folder.batch([0, 1, 2])
    with no_word():
        folder.batch([0, 1, 2])


# ---- numbers of images ----


def test_numbers_of_a_batch(tmp_path):
    data = load("digits")
    for few in (4, np.int64(4), torch.tensor(4)):
        assert len(data.batch(few)[0]) == 4
    for which in ([1, -1], np.array([1, 1499]), torch.tensor([1, 1499], dtype=torch.int32)):
        assert torch.equal(data.batch(which)[1], data.labels[[1, -1]])
    for none in (0, -3, True):
        with pytest.raises(ValueError, match="a batch is of at least 1 image, got"):
            data.batch(none)
    for wrong in (2.5, [0.5], "ab", None, torch.ones(1500, dtype=torch.bool), [[1]]):
        with pytest.raises((ValueError), match="the images of a batch are a whole number"):
            data.batch(wrong)
    with pytest.raises(
        ValueError, match=r"the 1500 images have the numbers 0\.\.1499, got 3\.\.1500"
    ):
        data.batch([3, 1500])


def test_scaling_takes_what_it_says():
    with pytest.raises(ValueError, match=r"from_uint8 takes bytes .* got torch.float32"):
        from_uint8(torch.rand(3))
    with pytest.raises(ValueError, match=r"to_uint8 takes floats in \[-1, 1\], got torch.uint8"):
        to_uint8(torch.zeros(3, dtype=torch.uint8))


# ---- files written whole ----


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "deep" / "a.txt"
    write_whole(file, b"old")
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()):
        with pytest.raises(type(error)) as caught:
            _break(file, error)
        if isinstance(error, OSError):
            assert caught.value.filename == str(file)
    assert os.listdir(file.parent) == ["a.txt"]
    assert file.read_bytes() == b"old"


def _break(file, error):
    with whole(file) as new:
        new.write(b"half of the n")
        raise error


def test_mode_and_links_are_kept(tmp_path):
    file, link = tmp_path / "a.txt", tmp_path / "link"
    write_whole(file, b"old")
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~_umask()
    file.chmod(0o640)
    link.symlink_to(file)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "deep" / "b.txt")
    write_whole(dangling, b"there")
    assert (tmp_path / "deep" / "b.txt").read_bytes() == b"there"
    write_whole(tmp_path / ("ä" * 120), b"a name of nearly the greatest length")


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def test_a_planted_temporary_file_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("minidiff.data.files.secrets.token_hex", lambda n: "known")
    (tmp_path / f".a.txt.{os.getpid()}known.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a.txt", b"new")
    assert victim.read_text() == "precious"


def test_devices_and_pipes_are_written_into(tmp_path):
    null, pipe = Path("/dev/null"), tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    check_writable(pipe)
    write_whole(pipe, b"through")
    reader.join()
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_whole(null, b"gone")
    assert stat.S_ISCHR(null.stat().st_mode)
    for wrong in (tmp_path, tmp_path / "pipe" / "a"):
        for attempt in (check_writable, lambda path: write_whole(path, b"")):
            with pytest.raises((IsADirectoryError, NotADirectoryError)):
                attempt(wrong)


def test_whether_a_file_can_be_written_is_known_before(tmp_path):
    file = tmp_path / "new" / "a.txt"
    check_writable(file)
    assert os.listdir(file.parent) == []
    write_whole(file, b"old")
    check_writable(file)
    assert file.read_bytes() == b"old"


# ---- labels and randomness of a folder ----


def test_labels_mean_the_same_in_both_splits(tmp_path):
    for name in ("train/ant", "train/bee", "train/cat", "test/bee", "test/cat"):
        save_picture(tmp_path / name / "1.png", (4, 4), 7, "L")
    test = load(tmp_path, "test")
    assert test.classes == load(tmp_path).classes == ("ant", "bee", "cat")
    assert test.labels.tolist() == [1, 2]
    save_picture(tmp_path / "test" / "dog" / "1.png", (4, 4), 7, "L")
    with pytest.raises(ValueError, match=r"test images of the class 'dog', which the training"):
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
