"""A decode worker: `python -m photoseek.indexer.worker`, started and spoken to by `workers` only.

It reads jobs from standard input and writes answers to standard output (`frames`), one at a time, until its
input ends. A process of its own, so that a decoder that crashes, hangs or eats memory costs one photo: that is
also why settings of the whole process, such as Pillow's, may be changed here and nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import queue
import signal
import sys
import threading
import warnings
from importlib import import_module
from io import BufferedReader, BufferedWriter
from typing import cast

from PIL import AvifImagePlugin, Image

from photoseek.contracts import PhotoKnown, Preprocessing, ReadFailure, ReadResult, Trouble
from photoseek.indexer.decode import PIXELS_MAX, read_photo
from photoseek.indexer.frames import FrameError, Header, encode_result, read_frame, write_frame
from photoseek.indexer.photo_file import FILE_BYTES_MAX, read_photo_file

_ALARM_GRACE_S = 10
"""Time beyond the pool's own limit after which a worker ends itself: its pool is gone then."""

_Message = tuple[Header, bytearray]


def main() -> None:
    """Answer jobs until standard input ends."""
    requests, answers = _take_pipes()
    messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, messages), daemon=True).start()
    setup, _ = messages.get()
    try:
        _limit_process(setup["memory_bytes"])
        preprocessing = _make_preprocessing(setup["factory"], setup["fields"])
    except Exception as error:  # whatever it is, the pool has to hear of it
        write_frame(answers, {"kind": "error", "message": f"{type(error).__name__}: {error}"})
        return
    write_frame(answers, {"kind": "ready"})
    while True:
        header, payload = messages.get()
        _set_alarm(setup["timeout_s"] + _ALARM_GRACE_S)
        write_frame(answers, *encode_result(_answer(header, payload, preprocessing)))
        _set_alarm(0)


def _take_pipes() -> tuple[BufferedReader, BufferedWriter]:
    """The pool's pipes under new numbers, so that a decoder that prints writes into nothing."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return requests, answers


def _receive(requests: BufferedReader, messages: queue.SimpleQueue[_Message]) -> None:
    """Hand on the pool's messages; end the process when the pool is gone, even in the middle of a photo."""
    try:
        while (message := read_frame(requests, payload_bytes_max=FILE_BYTES_MAX)) is not None:
            messages.put(message)
    except (OSError, FrameError, MemoryError):
        os._exit(1)
    os._exit(0)


def _limit_process(memory_bytes: int) -> None:
    """Bound memory where the system can, leave Ctrl-C to the pool, and set Pillow up for hostile files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # macOS accepts the limit and ignores it; Windows has none
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX // 2  # Pillow refuses a picture at twice this number
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one photo, one core: the other cores have workers of their own
    os.environ["OMP_NUM_THREADS"] = "1"  # so does LibRaw


def _make_preprocessing(factory: str, fields: dict[str, object]) -> Preprocessing:
    """Make the value that `Preprocessing.spec` described."""
    module, _, name = factory.partition(":")
    return cast(Preprocessing, getattr(import_module(module), name)(**fields))


def _answer(header: Header, payload: bytearray, preprocessing: Preprocessing) -> ReadResult:
    """Read the photo of one job; every mishap becomes a failure of this photo."""
    try:
        return _read(header, payload, preprocessing)
    except MemoryError:
        return ReadFailure(Trouble.SURROUNDINGS, "needs more memory than there is for one photo")
    except Exception as error:  # a mistake of ours must not end the run either
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        return ReadFailure(Trouble.SURROUNDINGS, f"could not be prepared ({detail})")


def _read(header: Header, payload: bytearray, preprocessing: Preprocessing) -> ReadResult:
    path = header["path"].encode("latin-1")
    if header["is_file"]:
        photo = read_photo_file(path)
        if isinstance(photo, ReadFailure):
            return photo
        data, mtime_ns = photo.data, photo.mtime_ns
    else:
        data, mtime_ns = bytes(payload), 0
    digest = hashlib.sha256(data).digest()
    if digest.hex() in header["known"]:
        return PhotoKnown(digest, len(data), mtime_ns)
    return read_photo(data, preprocessing, name=path, mtime_ns=mtime_ns, digest=digest)


def _set_alarm(seconds: float) -> None:
    """Let the system end this process after a time, however deep a decoder hangs; 0 takes that back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
