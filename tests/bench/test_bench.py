"""Every benchmark script runs from the command line at a tiny size, and its figures are there and plausible."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_library import write_photos

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of the form that bench/retrieval.py reads: 120 photos, 40 captions."""
    folder = tmp_path_factory.mktemp("data")
    photos = write_photos(folder / "photos", 120)
    captions = [f"{photo.name}\ta photo of something, number {number}" for number, photo in enumerate(photos)]
    write_tar(folder / "train" / "flickr8k.tar", captions[:1], photos)
    write_tar(folder / "eval" / "flickr8k-test.tar", captions[:40], photos[:20])
    return folder


def write_tar(path: Path, captions: list[str], photos: list[Path]) -> None:
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        table = "\n".join(["filename\tcaption", *captions]).encode()
        member = tarfile.TarInfo("captions.tsv")
        member.size = len(table)
        tar.addfile(member, io.BytesIO(table))
        for photo in photos:
            tar.add(photo, f"images/{photo.name}")


def bench(script: str, work: Path, *arguments: object) -> list[dict[str, Any]]:
    """Run a script; returns the rows it writes."""
    figures = work / "figures.json"
    command = [sys.executable, BENCH / script, "--work", work, "--json", figures, *arguments]
    subprocess.run(list(map(str, command)), check=True, env=os.environ, cwd=work, stdout=subprocess.DEVNULL)
    rows: list[dict[str, Any]] = json.loads(figures.read_text())["rows"]
    return rows


def test_grown_vectors_have_the_local_dimension_of_the_real_ones(tiny_checkpoint: Path, data: Path, tmp_path: Path):
    rows = bench("vectors.py", tmp_path, "--data", data, "--checkpoint", tiny_checkpoint, "--rows", 2000)
    real, grown = (row["local dimension"] for row in rows)
    assert real / 2 < grown < real * 2


@pytest.mark.slow
def test_eyes_get_two_sheets_of_answers(tiny_checkpoint: Path, data: Path, tmp_path: Path):
    command = [sys.executable, BENCH / "eyes.py", "--checkpoint", tiny_checkpoint, "--data", data, "--out", tmp_path]
    written = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout.split()
    assert [Path(line).name for line in written] == ["sheet-1.png", "sheet-2.png"]
    for line in written:
        with Image.open(line) as image:
            assert image.size == (1120, 5 * 126)
            assert len(image.getcolors(2**20) or []) > 20, "photos, not white"


@pytest.mark.slow
def test_ann_compares_photoseek_with_exact_search(tiny_checkpoint: Path, data: Path, tmp_path: Path):
    sizes = ["--rows", 400, "--delta", 60, "--engines", "exact", "photoseek"]
    rows = bench("ann.py", tmp_path, "--data", data, "--checkpoint", tiny_checkpoint, *sizes)
    assert [row["engine"] for row in rows] == ["exact", "photoseek", "photoseek + delta"]
    assert all(row["recall@10"] > 0.98 for row in rows)  # float16 may swap neighbours
    assert all(row["p50 ms"] > 0 for row in rows)


@pytest.mark.slow
def test_updates_time_every_step_and_check_what_is_found(tiny_checkpoint: Path, data: Path, tmp_path: Path):
    sizes = ["--rows", 400, "--changed", 20, "--delta", 60, "--grow"]
    rows = bench("updates.py", tmp_path, "--data", data, "--checkpoint", tiny_checkpoint, *sizes)
    assert len(rows) == 6
    assert all(row["seconds"] > 0 for row in rows)
    assert all(row["searches meanwhile"] > 0 for row in rows if "searches" in row["step"])
    (grown,) = json.loads((tmp_path / "grow-figures.json").read_text())["rows"]
    assert grown["photos"] == 400


@pytest.mark.slow
def test_start_compares_cold_processes(tiny_checkpoint: Path, data: Path, tmp_path: Path):
    sizes = ["--rows", 200, "--repeats", 1]
    rows = bench("start.py", tmp_path, "--data", data, "--checkpoint", tiny_checkpoint, *sizes)
    seconds = {row["process"]: row["median s"] for row in rows}
    assert seconds["python, nothing else"] < seconds["photoseek search, new query"]
    cosines = [row["lowest cosine to photoseek's query"] for row in rows]
    assert all(cosine > 0.9999 for cosine in cosines if cosine is not None)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no find -printf")
def test_scan_compares_a_rescan_with_find(tiny_checkpoint: Path, tmp_path: Path):
    (row,) = bench("scan.py", tmp_path, "--checkpoint", tiny_checkpoint, "--files", 600, "--repeats", 1)
    assert row["files"] == 600
    assert 0 < row["find s"] < row["rescan s"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_memory_watches_a_run_with_its_workers(tmp_path: Path):
    rows = bench("memory.py", tmp_path, "--photos", 20, 40)
    assert [row["photos"] for row in rows] == ["trial", 20, 40]
    assert all(row["private MB"] > 30 for row in rows)


@pytest.mark.slow
def test_index_cpu_computes_what_the_plain_loop_computes(tiny_checkpoint: Path, tmp_path: Path):
    pytest.importorskip("transformers")
    sizes = ["--photos", 14, "--loop-photos", 2, "--size", 320, 240, "--peak-side", 64]
    rows = bench("index_cpu.py", tmp_path, "--checkpoint", tiny_checkpoint, *sizes)
    figures = {row["what"]: row["value"] for row in rows}
    assert figures["lowest cosine between the two"] > 0.99
    assert figures["index, photos/s"] > 0


@pytest.mark.slow
def test_index_gpu_runs_whole_without_a_gpu(tiny_checkpoint: Path, tmp_path: Path):
    pytest.importorskip("transformers")
    sizes = ["--photos", 300, "--loop-photos", 8, "--size", 160, 120, "--peak-side", 64, "--trial-seconds", 0]
    rows = bench("index_gpu.py", tmp_path, "--checkpoint", tiny_checkpoint, "--device", "cpu", *sizes)
    figures = {row["what"]: row["value"] for row in rows}
    assert figures["lowest cosine to float32"] > 0.999
    assert figures["lowest cosine to the plain loop"] > 0.99
    assert figures["index, photos/s, steady"] > 0
    assert figures["trial chose"].startswith("eager, batch")
