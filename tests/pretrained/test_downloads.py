"""Downloads from servers that hang, drip or never end, and locks that other processes have left."""

import hashlib
import http.server
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time

import pytest
import tensorflow as tf

import pixpro_tf
from pixpro_tf import pretrained
from pixpro_tf.data import limits
from pixpro_tf.errors import RunError
from pixpro_tf.pretrained import downloads


class Server(http.server.BaseHTTPRequestHandler):
    """Responds in the way that its path names."""

    def do_GET(self):
        kind = self.path.partition("?")[0].strip("/")
        if kind == "hangs":
            self.server.released.wait()
            return
        self.send_response(200)
        self.end_headers()
        part = b"." if kind == "drips" else bytes(10**6)
        # An archive with a large member.
        member = tarfile.TarInfo("saved_model.pb")
        member.size = 10**10
        try:
            self.wfile.write(member.tobuf())
            while not self.server.released.wait(0.02):
                self.wfile.write(part)
        except OSError:
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "_SILENCE", 0.5)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.daemon_threads = True
        server.released = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.released.set()
        server.shutdown()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("hangs", "the server has not responded for 0 seconds"),
        ("drips", "takes longer than --max_download_minutes=0.02 allows"),
        ("floods", "is larger than --max_download_gigabytes=0.005 allows"),
    ],
)
def test_downloads_end(address, kind, message, monkeypatch):
    minutes = 0.02 if kind == "drips" else 1
    used = limits.Limits(max_download_minutes=minutes, max_download_gigabytes=0.005)
    monkeypatch.setattr(limits, "_current", used)
    before = socket.getdefaulttimeout()
    started = time.monotonic()
    with pytest.raises(RunError) as error:
        pixpro_tf.load_backbone(f"{address}/{kind}")
    assert message in error.value.line and "\n" not in error.value.line
    assert time.monotonic() - started < 10
    assert socket.getdefaulttimeout() == before


def test_downloads_of_keras_end(address, monkeypatch, tmp_path):
    def network(**_):
        return tf.keras.utils.get_file("weights.h5", f"{address}/floods", cache_dir=tmp_path)

    monkeypatch.setattr(tf.keras.applications, "ResNet50", network)
    monkeypatch.setattr(limits, "_current", limits.Limits(max_download_gigabytes=0.005))
    with pytest.raises(RunError, match=r"keras:ResNet50 .*--max_download_gigabytes=0\.005 allows"):
        pretrained.read("keras:ResNet50")


def lock_of(handle, content):
    folder = os.environ["TFHUB_CACHE_DIR"]
    os.makedirs(folder, exist_ok=True)
    name = hashlib.sha1(handle.encode()).hexdigest() + ".lock"
    with open(os.path.join(folder, name), "w") as file:
        file.write(content)
    return file.name


def test_the_lock_of_a_process_that_was_killed_is_removed(address):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    lock = lock_of(address, f"{socket.gethostname()}.{process.pid}.abc")
    downloads.wait_for_others(address)
    assert not os.path.exists(lock)


@pytest.mark.parametrize("host", [socket.gethostname(), "elsewhere.org"])
def test_the_lock_of_another_process_is_named(address, host, monkeypatch, capsys):
    lock = lock_of(address, f"{host}.{os.getpid()}.abc")
    monkeypatch.setattr(limits, "_current", limits.Limits(max_download_minutes=0.01))
    with pytest.raises(RunError, match=f"delete {lock} if that process has ended"):
        downloads.wait_for_others(address)
    assert (
        capsys.readouterr().out
        == f"Another process is downloading {address}; waiting for it to finish\n"
    )


def test_a_lock_that_disappears_is_waited_for(address):
    lock = lock_of(address, f"{socket.gethostname()}.{os.getpid()}.abc")
    threading.Timer(0.5, os.remove, [lock]).start()
    downloads.wait_for_others(address)
    assert not os.path.exists(lock)
