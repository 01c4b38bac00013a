import hashlib
import http.server
import multiprocessing
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from watson_jax.weights import PUBLISHED, CheckpointError, DownloadError, PublishedFile, fetch
from watson_jax.weights import _fetch as fetch_module

CONTENT = bytes(range(256)) * 800
HALF = len(CONTENT) // 2  # more than one chunk of a download
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "folder/weights.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/whole":
            self.wfile.write(CONTENT)
            return
        self.wfile.write(CONTENT[:HALF])
        if self.path == "/slow":
            self.wfile.flush()
            self.server.stop.wait(30)
        # "/cut", and a first request for "/flaky", end here: the connection closes too early
        elif self.path == "/flaky" and len(self.server.requested) > 1:
            self.wfile.write(CONTENT[HALF:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requested, server.stop = [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.delenv("WATSON_JAX_WEIGHTS_DIR", raising=False)
    monkeypatch.delenv("WATSON_JAX_TRUST_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("WATSON_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch_module, "_SECONDS_BETWEEN_ATTEMPTS", 0)
    return tmp_path / "cache"


@pytest.fixture
def publish(monkeypatch):
    def publish(url, sha256=SHA256):
        monkeypatch.setitem(PUBLISHED, NAME, PublishedFile(url, sha256))

    return publish


def files_in(folder):
    return [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]


def test_downloads_once(server, cache, publish):
    publish(f"{server.url}/whole")
    assert fetch(NAME) == cache / NAME
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.requested == ["/whole"]
    assert files_in(cache) == [cache / NAME]


def test_a_prefix_of_the_hash_suffices(server, cache, publish):
    publish(f"{server.url}/whole", SHA256[:8])
    assert fetch(NAME).read_bytes() == CONTENT
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.requested == ["/whole"]


def test_a_broken_cache_entry_is_fetched_again(server, cache, publish):
    publish(f"{server.url}/whole")
    (cache / NAME).parent.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT[:100])
    assert fetch(NAME).read_bytes() == CONTENT


def test_a_connection_that_breaks_once_is_tried_again(server, cache, publish):
    publish(f"{server.url}/flaky")
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.requested == ["/flaky", "/flaky"]


@pytest.mark.parametrize(
    ("path", "sha256", "problem"),
    [
        ("whole", "0" * 64, f"expected SHA-256 {'0' * 64}, got {SHA256}"),
        ("whole", "0" * 8, f"expected SHA-256 {'0' * 8}, got {SHA256}"),
        ("missing", SHA256, "the server answered 404"),
        ("cut", SHA256, "no lasting connection, "),
    ],
)
def test_a_failed_download_leaves_nothing(server, cache, publish, path, sha256, problem):
    publish(f"{server.url}/{path}", sha256)
    with pytest.raises(DownloadError) as info:
        fetch(NAME)
    assert problem in str(info.value)
    assert len(server.requested) == 3
    assert files_in(cache) == []


def test_offline_says_what_to_do(cache, publish):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{free.getsockname()[1]}/weights.pth"
        publish(url)
        with pytest.raises(DownloadError) as info:
            fetch(NAME)
    message = str(info.value)
    for part in [NAME, url, str(cache / NAME), "WATSON_JAX_WEIGHTS_DIR", "ConnectionError"]:
        assert part in message
    assert "\n" not in message
    assert info.value.__context__ is None
    assert files_in(cache) == []


def test_a_cache_that_cannot_be_written(server, cache, publish):
    publish(f"{server.url}/whole")
    cache.touch()
    with pytest.raises(DownloadError, match="Not a directory"):
        fetch(NAME)
    assert server.requested == []


def test_the_folder_of_weights_comes_first(server, cache, publish, monkeypatch, tmp_path):
    publish(f"{server.url}/whole")
    local = tmp_path / "weights" / NAME
    local.parent.mkdir(parents=True)
    monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(tmp_path / "weights"))
    assert fetch(NAME) == cache / NAME  # not in the folder
    local.write_bytes(CONTENT)
    assert fetch(NAME) == local
    local.write_bytes(b"other")
    actual = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(
        CheckpointError, match=f"{local} .* expected SHA-256 {SHA256}, got {actual}"
    ):
        fetch(NAME)
    assert server.requested == ["/whole"]


def test_a_trusted_folder_is_not_checked(cache, publish, monkeypatch, tmp_path):
    publish("http://127.0.0.1/")
    (tmp_path / NAME).parent.mkdir()
    (tmp_path / NAME).write_bytes(b"other")
    monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(CheckpointError, match="set WATSON_JAX_TRUST_WEIGHTS_DIR=1 if you trust it"):
        fetch(NAME)
    monkeypatch.setenv("WATSON_JAX_TRUST_WEIGHTS_DIR", "1")
    assert fetch(NAME) == tmp_path / NAME


def test_a_refused_file_is_not_asked_for_in_its_own_place(server, cache, publish):
    publish(f"{server.url}/missing")
    (cache / NAME).parent.mkdir(parents=True)
    (cache / NAME).write_bytes(b"other")
    with pytest.raises(DownloadError) as info:
        fetch(NAME, instead="ask a friend")
    actual = hashlib.sha256(b"other").hexdigest()
    assert (
        f"{cache / NAME} is not the published file (expected SHA-256 {SHA256}, got {actual})"
        in (str(info.value))
    )
    assert str(info.value).endswith("TRUST_WEIGHTS_DIR=1 if you trust it, or ask a friend.")
    assert "save it as" not in str(info.value)


def test_a_killed_download_leaves_no_entry(server, cache, publish):
    script = f"""
from watson_jax.weights import PUBLISHED, PublishedFile, fetch
PUBLISHED[{NAME!r}] = PublishedFile({server.url + "/slow"!r}, {SHA256!r})
fetch({NAME!r})
"""
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60  # for the first bytes to arrive
            while not any(path.stat().st_size for path in files_in(cache)):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            process.kill()
    assert not (cache / NAME).exists()
    publish(f"{server.url}/whole")
    assert fetch(NAME).read_bytes() == CONTENT


def fetch_and_read(url):
    PUBLISHED[NAME] = PublishedFile(url, SHA256)
    return fetch(NAME).read_bytes()


def test_two_processes_fetch_at_once(server, cache):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(fetch_and_read, [f"{server.url}/whole"] * 2, chunksize=1) == [CONTENT] * 2
    assert files_in(cache) == [cache / NAME]


def test_unknown_name():
    with pytest.raises(ValueError, match=r"nearest is 'rgb_watson_fft_trial0\.pth'"):
        fetch("rgb_watson_fft")


@pytest.mark.parametrize("sha256", ["", "1234567", "0" * 65, "XYZ" * 4])
def test_a_hash_that_checks_nothing_is_refused(sha256):
    with pytest.raises(ValueError, match="`sha256` must be 8 to 64"):
        PublishedFile("http://127.0.0.1/", sha256)


def test_the_table():
    assert len(PUBLISHED) == 16
    for name, published in PUBLISHED.items():
        assert published.url.startswith("https://")
        assert published.url.endswith("/" + name.split("/")[-1])
        # torchvision publishes the first 8 digits, in the file's name.
        assert len(published.sha256) == 64 or name.endswith(f"-{published.sha256}.pth")


@pytest.mark.skipif("WATSON_JAX_REFERENCE" not in os.environ, reason="needs the published files")
@pytest.mark.parametrize("name", [n for n, file in PUBLISHED.items() if len(file.sha256) == 64])
def test_the_table_has_the_hashes_of_the_published_files(name, cache, monkeypatch):
    folder = pathlib.Path(os.environ["WATSON_JAX_REFERENCE"], "weights")
    monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(folder))
    assert fetch(name) == folder / name
