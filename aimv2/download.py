"""Downloading a published checkpoint: the only part of photoseek that uses the network.

The Hub is asked once which commit a revision is and which files with which digests it has. Everything is then
fetched from that commit by HTTPS, goes on where an earlier attempt stopped, is compared with its digest, and
becomes visible by one rename once the checkpoint has opened. What was fetched is recorded beside it
(photoseek-download.json). Apple's weights stand under Apple's licence: its text is put before the caller, who
must accept it, and is kept with the weights.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from photoseek.aimv2.checkpoint import Checkpoint, read_checkpoint
from photoseek.aimv2.models import downloaded_folder
from photoseek.errors import CheckpointError, ModelError, StorageFullError, UsageError

HUB = "https://huggingface.co"
RECORD = "photoseek-download.json"
TIMEOUT_S = 60
CHUNK_BYTES = 1 << 20
METADATA_BYTES_MAX = 10_000_000
"""Most bytes of an answer that is read as a whole (a list of files, a licence)."""

WANTED = re.compile(
    r"config\.json|preprocessor_config\.json|processor_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json"
    r"|vocab\.json|merges\.txt|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
    r"|README\.md|LICEN[SC]E(\.txt|\.md)?"
)
"""Plain names only: nothing that could leave the folder, no pickles, no weights of other frameworks."""

Progress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all); may raise to cancel, what was fetched is kept."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a commit."""

    name: str
    size: int
    digest: str
    """`sha256:...` of a large file, `git:...` (SHA-1 of git's blob) of a small one."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a download would bring, before anything is fetched."""

    name: str
    revision: str
    """The commit: 40 hexadecimal digits."""
    files: tuple[RemoteFile, ...]
    licence: str
    """Full text of the licence file, or a sentence that says which licence the model card names."""
    hub: str = HUB

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)


def offer_download(name: str, *, revision: str = "main", hub: str = HUB) -> Offer:
    """Ask the Hub for a checkpoint's files and licence.

    Args:
        name: "apple/aimv2-large-patch14-224-lit", or any AIMv2 checkpoint of the Hub.
        revision: a commit, for exactly the same weights again; a branch or tag is resolved to its commit now.
    Raises:
        UsageError: this is no Hub name.
        ModelError: the Hub cannot be reached, or knows no such model.
        CheckpointError: the repository holds no safetensors checkpoint.
    """
    downloaded_folder(name)  # checks the name
    quoted = urllib.parse.quote(revision, safe="")
    answer = _get_json(f"{hub}/api/models/{name}/revision/{quoted}?blobs=true")
    commit = answer.get("sha")
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise ModelError(f"the Hub did not say which commit {name} at {revision} is")
    files = tuple(_remote_file(entry) for entry in answer.get("siblings", []) if _is_wanted(entry))
    names = {file.name for file in files}
    if "config.json" not in names or not any(file.endswith(".safetensors") for file in names):
        raise CheckpointError(f"{name} at {commit} holds no safetensors checkpoint")
    licence_file = next((file.name for file in files if file.name.startswith("LICEN")), None)
    if licence_file:
        licence = _get(f"{hub}/{name}/resolve/{commit}/{licence_file}").decode("utf-8", "replace")
    else:
        card = answer.get("cardData")
        stated = card.get("license") if isinstance(card, dict) else None
        licence = f"The model card of {name} names the licence: {stated or 'none'}"
    return Offer(name, commit, files, licence, hub)


def download_model(offer: Offer, *, accept_licence: bool, on_progress: Progress | None = None) -> Checkpoint:
    """Fetch what `offer_download` offered; a checkpoint already there at that commit is returned at once.

    Args:
        accept_licence: the caller has shown `offer.licence` and it was accepted.
        on_progress: called after every chunk.
    Raises:
        UsageError: the licence was not accepted.
        ModelError: the connection broke; the next call goes on where this one stopped.
        CheckpointError: a file does not have its digest (it is fetched anew next time), or the checkpoint
            does not open.
        StorageFullError: the disk is too small.
    """
    if not accept_licence:
        raise UsageError(f"the licence of {offer.name} was not accepted", hint="its weights may be used only under it")
    target = downloaded_folder(offer.name)
    if recorded_revision(target) == offer.revision:
        return read_checkpoint(target, offer.name)
    staging = target.with_name(f".{target.name}.{offer.revision[:12]}.download")
    try:
        staging.mkdir(parents=True, exist_ok=True)
        _check_space(staging, offer)
        done = 0
        for file in offer.files:
            _fetch(offer, file, staging / file.name, functools.partial(_report, on_progress, offer, done))
            done += file.size
        checkpoint = read_checkpoint(staging, offer.name)
        record = {"name": offer.name, "revision": offer.revision, "files": [asdict(file) for file in offer.files]}
        (staging / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
        _replace(staging, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(f"no space left for {offer.name} in {target.parent}") from error
        raise ModelError(f"{offer.name} cannot be stored in {target.parent}: {error.strerror}") from error
    return read_checkpoint(target, checkpoint.name)


def recorded_revision(folder: Path) -> str | None:
    """The commit that a downloaded checkpoint came from; None where nothing says so."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    revision = record.get("revision") if isinstance(record, dict) else None
    return revision if isinstance(revision, str) else None


def _fetch(offer: Offer, file: RemoteFile, target: Path, on_bytes: Callable[[int], None]) -> None:
    """One file, from where an earlier attempt stopped; renamed from `.part` only with its digest right."""
    if target.is_file() and target.stat().st_size == file.size:
        on_bytes(file.size)
        return
    part = target.with_name(target.name + ".part")
    kept = part.stat().st_size if part.is_file() else 0
    if kept > file.size:
        kept = 0
    digest = _new_digest(file)
    with part.open("r+b" if kept else "wb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK_BYTES), b"") if kept else ():
            digest.update(chunk)
        if kept < file.size:
            url = f"{offer.hub}/{offer.name}/resolve/{offer.revision}/{file.name}"
            with _open(url, {"Range": f"bytes={kept}-"} if kept else {}) as response:
                if kept and response.status != http.client.PARTIAL_CONTENT:  # the server starts over
                    kept, digest = 0, _new_digest(file)
                    stream.seek(0)
                    stream.truncate()
                while chunk := _read(response, CHUNK_BYTES, url):
                    stream.write(chunk)
                    digest.update(chunk)
                    kept += len(chunk)
                    if kept > file.size:
                        break
                    on_bytes(kept)
        stream.flush()
        os.fsync(stream.fileno())
    if kept < file.size:
        raise ModelError(f"the connection ended early: {file.name} has {kept} of {file.size} bytes")
    if kept > file.size or file.digest.split(":")[1] != digest.hexdigest():
        part.unlink()
        raise CheckpointError(f"{file.name} of {offer.name} arrived damaged: its digest is wrong")
    part.replace(target)


def _new_digest(file: RemoteFile) -> Any:
    if file.digest.startswith("sha256:"):
        return hashlib.sha256()
    # Git's name of a blob, not a protection of ours.
    return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)


def _replace(staging: Path, target: Path) -> None:
    """Put the new folder in the place of an older download, which is gone only after."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    staging.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _check_space(folder: Path, offer: Offer) -> None:
    there = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    needed = offer.total_bytes - there
    if shutil.disk_usage(folder).free < needed:
        raise StorageFullError(f"{offer.name} needs {needed / 1e9:.1f} GB in {folder.parent}, which has less free")


def _report(on_progress: Progress | None, offer: Offer, before: int, of_this_file: int) -> None:
    if on_progress is not None:
        on_progress(before + of_this_file, offer.total_bytes)


def _is_wanted(entry: object) -> bool:
    name = entry.get("rfilename") if isinstance(entry, dict) else None
    return isinstance(name, str) and WANTED.fullmatch(name) is not None


def _remote_file(entry: dict[str, Any]) -> RemoteFile:
    large = entry.get("lfs")
    digest = f"sha256:{large.get('sha256')}" if isinstance(large, dict) else f"git:{entry.get('blobId')}"
    size = entry.get("size")
    if type(size) is not int or size < 0 or not re.fullmatch(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}", digest):
        raise ModelError(f"the Hub gave no size and digest of {entry['rfilename']}")
    return RemoteFile(entry["rfilename"], size, digest)


def _get_json(url: str) -> dict[str, Any]:
    try:
        answer = json.loads(_get(url))
    except ValueError as error:
        raise ModelError(f"the answer of {url} is not valid JSON") from error
    if not isinstance(answer, dict):
        raise ModelError(f"the answer of {url} is no JSON object")
    return answer


def _get(url: str) -> bytes:
    with _open(url, {}) as response:
        return _read(response, METADATA_BYTES_MAX, url)


def _read(response: Any, size: int, url: str) -> bytes:
    try:
        content: bytes = response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(f"the connection to {_host(url)} broke", hint="run the same command again to go on") from error
    return content


def _open(url: str, headers: dict[str, str]) -> Any:
    """An open response.

    Raises:
        ModelError: no connection, or an answer that is no success.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "photoseek", **headers})  # noqa: S310
    _check_scheme(url)
    try:
        return urllib.request.build_opener(_SafeRedirects).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            missing = "there is no such model or revision" if error.code in (401, 404) else "the Hub refused"
            raise ModelError(f"{missing}: {url} answered {error.code}") from error
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise ModelError(
            f"{_host(url)} cannot be reached", hint="downloading a model is the one thing that needs the network"
        ) from error


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Large files lie on other hosts; a redirection must not lead to plain HTTP."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    # A mirror on this very machine may speak plain HTTP.
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        raise ModelError(f"{parts.scheme}://{parts.hostname} is no HTTPS address")


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or url
