"""Downloads from a small Hub on this machine: digests, resuming, licence, and what a bad server can do."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from checkpoints import make_checkpoint

from photoseek.aimv2 import download_model, list_models, offer_download, open_checkpoint
from photoseek.aimv2.download import RECORD, recorded_revision
from photoseek.aimv2.models import downloaded_folder
from photoseek.errors import CheckpointError, ModelError, StorageFullError, UsageError

NAME = "apple/aimv2-tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves one repository; `cut`, `damage` and `ignore_range` make it misbehave."""

    def __init__(self, folder):
        self.folder = folder
        self.requests = []
        self.cut = self.damage = None
        self.ignore_range = False
        self.redirect = None
        self.extra_siblings = []

    def siblings(self):
        for file in sorted(self.folder.iterdir()):
            content = file.read_bytes()
            entry = {"rfilename": file.name, "size": len(content)}
            entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            if file.suffix == ".safetensors":
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            yield entry
        yield from self.extra_siblings

    def answer(self, path, range_header):
        """(status, body)."""
        if path.startswith(f"/api/models/{NAME}/revision/"):
            body = {"sha": COMMIT, "siblings": list(self.siblings()), "cardData": {"license": "apple-amlr"}}
            return 200, json.dumps(body).encode()
        match = re.fullmatch(rf"/{NAME}/resolve/{COMMIT}/([\w.-]+)", path)
        file = self.folder / match[1] if match else None
        if file is None or not file.is_file():
            return 404, b""
        content = file.read_bytes()
        if self.damage == file.name:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(range_header.removeprefix("bytes=").rstrip("-")) if range_header and not self.ignore_range else 0
        return (206 if start else 200), content[start:]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("PHOTOSEEK_MODELS", str(tmp_path / "models"))
    folder = make_checkpoint(tmp_path / "remote", layout="apple")
    (folder / "LICENSE").write_text("Research only.")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "mlx_model.safetensors").write_bytes(b"of another framework")
    served = Hub(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            served.requests.append((self.path.split("/")[-1].split("?")[0], asked))
            if served.redirect:
                self.send_response(302)
                self.send_header("Location", served.redirect)
                self.end_headers()
                return
            status, body = served.answer(self.path.split("?")[0], asked)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: served.cut] if self.path.endswith("model.safetensors") else body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def offered(hub, **options):
    return offer_download(NAME, hub=hub.url, **options)


def test_an_offer_shows_licence_commit_and_size_before_anything_is_fetched(hub, tmp_path):
    offer = offered(hub)
    assert offer.revision == COMMIT
    assert offer.licence == "Research only."
    names = {file.name for file in offer.files}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "LICENSE"} <= names
    assert not {"pytorch_model.bin", "mlx_model.safetensors"} & names
    assert offer.total_bytes == sum((hub.folder / name).stat().st_size for name in names)
    assert not (tmp_path / "models").exists()


def test_a_download_opens_is_listed_and_says_where_it_came_from(hub):
    seen = []
    checkpoint = download_model(offered(hub), accept_licence=True, on_progress=lambda *now: seen.append(now))
    assert checkpoint.name == NAME
    assert checkpoint.digest == open_checkpoint(hub.folder).digest == open_checkpoint(NAME).digest
    assert open_checkpoint(checkpoint.folder).name == NAME
    assert NAME in [model.name for model in list_models()]
    assert recorded_revision(checkpoint.folder) == COMMIT
    record = json.loads((checkpoint.folder / RECORD).read_text())
    assert {file["name"] for file in record["files"]} == {file.name for file in offered(hub).files}
    total = offered(hub).total_bytes
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)
    assert [folder.name for folder in checkpoint.folder.parent.iterdir()] == ["aimv2-tiny"]


def test_nothing_is_fetched_twice(hub):
    download_model(offered(hub), accept_licence=True)
    offer = offered(hub)
    before = len(hub.requests)
    assert download_model(offer, accept_licence=True).name == NAME
    assert len(hub.requests) == before


def test_without_accepting_the_licence_nothing_is_fetched(hub, tmp_path):
    with pytest.raises(UsageError, match="licence"):
        download_model(offered(hub), accept_licence=False)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("ignore_range", [False, True])
def test_a_broken_connection_is_taken_up_again(hub, ignore_range):
    hub.cut = 30_000
    with pytest.raises(ModelError, match=r"broke|early"):
        download_model(offered(hub), accept_licence=True)
    with pytest.raises(CheckpointError, match="not on this machine"):
        open_checkpoint(NAME)
    hub.cut, hub.ignore_range = None, ignore_range
    hub.requests.clear()
    checkpoint = download_model(offered(hub), accept_licence=True)
    asked = dict(hub.requests)["model.safetensors"]
    assert asked is not None
    assert 0 < int(asked.removeprefix("bytes=").rstrip("-")) <= 30_000
    assert checkpoint.digest == open_checkpoint(hub.folder).digest


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "merges.txt"])
def test_a_damaged_file_is_refused_and_fetched_anew(hub, name):
    hub.damage = name
    with pytest.raises(CheckpointError, match=f"{name} .*digest"):
        download_model(offered(hub), accept_licence=True)
    hub.damage = None
    assert download_model(offered(hub), accept_licence=True).digest == open_checkpoint(hub.folder).digest


def test_progress_can_cancel_and_the_rest_follows_later(hub):
    class Stop(Exception):
        pass

    def cancel(done, total):
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        download_model(offered(hub), accept_licence=True, on_progress=cancel)
    assert download_model(offered(hub), accept_licence=True).name == NAME


def test_a_newer_commit_replaces_the_older_one(hub, monkeypatch, tmp_path):
    old = download_model(offered(hub), accept_licence=True)
    make_checkpoint(hub.folder, layout="apple", seed=5)
    monkeypatch.setattr(f"{__name__}.COMMIT", "f" * 40)
    new = download_model(offered(hub), accept_licence=True)
    assert new.digest != old.digest
    assert recorded_revision(new.folder) == "f" * 40
    assert [folder.name for folder in new.folder.parent.iterdir()] == ["aimv2-tiny"]


def test_names_that_lead_elsewhere_are_not_fetched(hub):
    evil = {"rfilename": "../../evil/config.json", "size": 5, "blobId": "0" * 40}
    hub.extra_siblings = [evil, {"rfilename": 5}, "text", evil | {"rfilename": "sub/model.safetensors"}]
    assert all("/" not in file.name for file in offered(hub).files)


def test_a_listing_without_digests_is_refused(hub):
    hub.extra_siblings = [{"rfilename": "LICENSE.md", "size": 5}]
    with pytest.raises(ModelError, match="no size and digest"):
        offered(hub)


def test_a_repository_without_safetensors_is_refused(hub):
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no safetensors checkpoint"):
        offered(hub)


def test_a_checkpoint_that_does_not_open_is_never_put_in_place(hub):
    (hub.folder / "config.json").write_text("{}x")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        download_model(offered(hub), accept_licence=True)
    assert not downloaded_folder(NAME).exists()


def test_an_unknown_model_and_an_unreachable_hub_are_one_sentence(hub):
    with pytest.raises(ModelError, match="no such model"):
        offer_download("apple/aimv2-unknown", hub=hub.url)
    with pytest.raises(ModelError, match="cannot be reached"):
        offer_download(NAME, hub="http://127.0.0.1:1")


@pytest.mark.parametrize("name", ["", "apple", "../x/y", "apple/..", "a/b/c", "apple/x y", "apple/", "ä/b"])
def test_a_name_that_is_no_hub_name_is_refused(name):
    with pytest.raises(UsageError, match="no model name"):
        offer_download(name)


@pytest.mark.parametrize("address", ["http://example.org", "ftp://example.org", "file:///etc"])
def test_only_https_is_spoken(hub, address):
    with pytest.raises(ModelError, match="no HTTPS"):
        offer_download(NAME, hub=address)
    hub.redirect = address
    with pytest.raises(ModelError, match=r"no HTTPS|refused"):
        offered(hub)


def test_a_disk_that_is_too_small_is_said_before_fetching(hub, monkeypatch):
    offer = offered(hub)
    hub.requests.clear()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: __import__("types").SimpleNamespace(free=10))
    with pytest.raises(StorageFullError, match="less free"):
        download_model(offer, accept_licence=True)
    assert hub.requests == []
