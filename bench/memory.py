"""Memory while indexing, as the collection grows: it should not.

    python bench/memory.py --work WORK --photos 10000 100000

Makes that many small JPEGs, no two alike, and indexes them with the command line into a new library. The memory of the
command and all its worker processes together is read five times a second: what no file backs ("private"), and what of
files is mapped and present besides ("mapped", the system's to drop). Linux only.

"trial" is the half minute in which the first long run on a machine finds out how to embed fastest, in a process of its
own: a run that does it holds its own tower and workers besides. The runs here find its answer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from report import Row, show

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
SIZE = (256, 192)
FILES_PER_FOLDER = 1000
SECONDS_BETWEEN = 0.2
TRIAL = "from photoseek.aimv2 import open_checkpoint, run_trial; run_trial(open_checkpoint('builtin'))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where photos and libraries are made")
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    # Trials are remembered beside the models: not beside the user's.
    trials = options.work / "trials"
    os.environ["PHOTOSEEK_MODELS"] = str(trials)
    shutil.rmtree(trials, ignore_errors=True)
    trial = {"photos": "trial", **watch(["-c", TRIAL])}
    rows = [measure(options.work, count) for count in options.photos]
    for row in rows[1:]:
        row["of the first"] = row["private MB"] / rows[0]["private MB"]
    show("memory of an index run", [trial, *rows], options.json)


def measure(work: Path, count: int) -> Row:
    folder, library = work / f"small-{count}", work / "library"
    make_photos(folder, count)
    shutil.rmtree(library, ignore_errors=True)
    row = watch(["-m", "photoseek", "index", str(folder), "--library", str(library)])
    shutil.rmtree(library)
    return {"photos": count, "photos/s": count / row["seconds"], **row}


def watch(arguments: list[str]) -> Row:
    """Run Python; its seconds, and the most memory that it and its workers had together."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        private = mapped = 0
        while run.poll() is None:
            memory = [memory_of(process) for process in tree(run.pid)]
            private = max(private, sum(each[0] for each in memory))
            mapped = max(mapped, sum(each[1] for each in memory))
            time.sleep(SECONDS_BETWEEN)
    assert run.returncode == 0, f"{' '.join(arguments)} failed"
    return {"seconds": time.perf_counter() - started, "private MB": private / 1e6, "mapped MB": mapped / 1e6}


def make_photos(folder: Path, count: int) -> None:
    """JPEGs in folders of a thousand: pieces of the examples with grain of their own."""
    if folder.exists():
        return
    rng = np.random.default_rng(0)
    pictures = []
    for source in sorted(EXAMPLES.glob("*.jpg")):
        with Image.open(source) as image:
            pictures.append(np.asarray(image.convert("RGB").resize((2 * SIZE[0], 2 * SIZE[1])), dtype=np.int16))
    making = folder.with_name(f"{folder.name}-half made")
    shutil.rmtree(making, ignore_errors=True)
    for number in range(count):
        if number % FILES_PER_FOLDER == 0:
            part = making / f"{number // FILES_PER_FOLDER:04}"
            part.mkdir(parents=True)
        picture = pictures[number % len(pictures)]
        left, top = rng.integers(0, SIZE[0]), rng.integers(0, SIZE[1])
        grain = rng.integers(-8, 9, (SIZE[1], SIZE[0], 1), dtype=np.int16)
        piece = picture[top : top + SIZE[1], left : left + SIZE[0]] + grain
        Image.fromarray(np.clip(piece, 0, 255).astype(np.uint8)).save(part / f"{number:06}.jpg", quality=80)
    making.rename(folder)


def tree(process: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(file.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        below.setdefault(parent, []).append(int(file.parent.name))
    found = [process]
    for each in found:
        found += below.get(each, [])
    return found


def memory_of(process: int) -> tuple[int, int]:
    """Bytes that no file backs, and bytes of mapped files; none for a process that has ended."""
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        _size, resident, shared, *_ = map(int, Path(f"/proc/{process}/statm").read_text().split())
    except OSError:
        return 0, 0
    return (resident - shared) * page, shared * page


if __name__ == "__main__":
    main()
