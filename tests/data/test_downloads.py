"""Downloads, from a server on this machine."""

import hashlib
import http.server
import threading

import pytest

from kgan.data import downloads
from kgan.errors import UserError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def address(tmp_path, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file.bin").write_bytes(CONTENT)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path / "served")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_is_fetched_once_with_a_bar_where_people_look(address, tmp_path, monkeypatch):
    moved, update = [], downloads._Bar.update
    monkeypatch.setattr(downloads._Bar, "update", lambda bar, amount: (moved.append(amount), update(bar, amount)))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    target = downloads.fetch(f"{address}/file.bin", tmp_path / "cache" / "file.bin", SHA256)
    assert target.read_bytes() == CONTENT and sum(moved) >= len(CONTENT)
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]
    (tmp_path / "served" / "file.bin").unlink()
    assert downloads.fetch(f"{address}/file.bin", target, SHA256) == target


@pytest.mark.parametrize(
    "name, sha256, words",
    [("file.bin", "0" * 64, "hash"), ("nowhere", SHA256, "404"), ("file.bin", SHA256, "exists|directory")],
)
def test_what_fails_is_one_line_and_leaves_nothing(address, tmp_path, name, sha256, words):
    target = tmp_path / "cache" / "file.bin"
    if words == "exists|directory":
        target.parent.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=words) as error:
        downloads.fetch(f"{address}/{name}", target, sha256)
    assert str(error.value).isprintable()
    assert not target.parent.is_dir() or not list(target.parent.iterdir())
