"""A rescan of many known files, beside `find -printf`, which looks at the same files and does nothing with them.

    python bench/scan.py --work WORK --files 100000 1000000

Makes a tree of small files, 500 a folder, and a library that knows them all. Then `photoseek index` in a new
process (nothing has changed: every file costs a stat and a look into the catalog) and find take turns; the
fastest of each counts. What the process costs besides is measured by the same command on ten files. Directory
entries are in the system's cache for both. Peak memory is the whole process's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from grown_library import COMMIT_ROWS, PHOTOS_PER_FOLDER, outcomes, place
from report import Row, compiled_environment, show

from photoseek.binding import EngineOptions, ModelBinding
from photoseek.contracts import Outcome, PhotoRead
from photoseek.indexing import writing
from photoseek.storage.generations import IndexSettings
from photoseek.storage.store import Store

CLI = Path(__file__).parents[1] / "cli.py"
NEVER = 2**40
CONTENT = b"\xff\xd8\xff a rescan opens no known file"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="builtin", help="the library's model; it embeds nothing here")
    parser.add_argument("--work", type=Path, required=True, help="where trees and libraries are made, and kept")
    parser.add_argument("--files", type=int, nargs="+", default=[100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    start_s, _ = fastest_rescan(known_tree(options.work, 10, options.checkpoint), options.repeats)
    rows = []
    for count in options.files:
        library = known_tree(options.work, count, options.checkpoint)
        rows.append(measure(library, count, start_s, options.repeats))
        show("Rescan of known files", rows, options.json)


def known_tree(work: Path, count: int, checkpoint: str) -> Path:
    """A tree of `count` files and the library that knows it, made if not there; returns the library."""
    tree, library = work / f"tree-{count}", work / f"tree-{count}-library"
    if (library / "done").exists():
        return library
    shutil.rmtree(tree, ignore_errors=True)
    shutil.rmtree(library, ignore_errors=True)
    for number in range(count):
        folder, name = place(number)
        path = os.path.join(os.fsencode(tree), folder)
        if number % PHOTOS_PER_FOLDER == 0:
            os.makedirs(path)
        with open(os.path.join(path, name), "wb") as stream:
            stream.write(CONTENT)
    store = Store(library)
    binding = ModelBinding(lambda: store.spaces, checkpoint, EngineOptions())
    with writing(store):
        space = binding.make_space(binding.requested(), state="active")
        IndexSettings(ivf_min_rows=NEVER, generation_min_rows=NEVER, delta_max_rows=NEVER).save(store.catalog)
        root = store.catalog.add_root(os.fsencode(tree))
        vector = np.zeros((1, space.dim), dtype=np.float32)
        vector[0, 0] = 1
        for first in range(0, count, COMMIT_ROWS):
            made = outcomes(root.id, np.repeat(vector, min(COMMIT_ROWS, count - first), axis=0), first)
            store.files(space).record(list(with_real_stats(made, os.fsencode(tree))))
    store.close()
    (library / "done").touch()
    return library


def with_real_stats(made: Sequence[Outcome], tree: bytes) -> Iterator[Outcome]:
    """The same outcomes with the size and time that the files have on the disk."""
    for outcome in made:
        found = os.stat(os.path.join(tree, outcome.item.folder, outcome.item.name))
        size, mtime_ns = found.st_size, found.st_mtime_ns
        assert isinstance(outcome.result, PhotoRead)
        item = replace(outcome.item, size=size, mtime_ns=mtime_ns)
        yield replace(outcome, item=item, result=replace(outcome.result, size=size, mtime_ns=mtime_ns))


def measure(library: Path, count: int, start_s: float, repeats: int) -> Row:
    tree = library.with_name(f"tree-{count}")
    find = ["find", str(tree), "-type", "f", "-printf", "%s %T@\n"]
    find_s = float("inf")
    rescan_s, peak_mb = float("inf"), 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(find, check=True, stdout=subprocess.DEVNULL)
        find_s = min(find_s, time.perf_counter() - started)
        seconds, peak_mb = fastest_rescan(library, 1)
        rescan_s = min(rescan_s, seconds)
    return {
        "files": count,
        "find s": find_s,
        "rescan s": rescan_s,
        "of which start-up s": start_s,
        "times find": rescan_s / find_s,
        "times find, without start-up": (rescan_s - start_s) / find_s,
        "peak MB": peak_mb,
    }


def fastest_rescan(library: Path, repeats: int) -> tuple[float, float]:
    """Seconds of the fastest run, and the last one's peak memory in MB."""
    best, peak_mb = float("inf"), 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, str(CLI), "index", "--library", str(library)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=compiled_environment(),
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"the rescan ended with {process.returncode}")
        best = min(best, time.perf_counter() - started)
        peak_mb = usage.ru_maxrss * 1024 / 1e6
    return best, peak_mb


if __name__ == "__main__":
    main()
