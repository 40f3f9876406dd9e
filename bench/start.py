"""From the command to the answer in a cold process, beside `import torch` and the same query through transformers.

    python bench/start.py --data DIR --work WORK --rows 100000

The library is the one that bench/ann.py makes. The commands take turns; each new query is one that was never
asked, so no vector is cached. The transformers process does what a short script would do: load model and
tokenizer, encode the query (attention "eager", with which a query alone is computed right), score all vectors
from one npy file, print the best. Its vector is compared with photoseek's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from grown_library import built_library
from report import Row, compiled_environment, median, show
from vectors import add_arguments, grown_vectors, real_vectors

from photoseek.aimv2 import load_text_tower, open_checkpoint

CLI = Path(__file__).parents[1] / "cli.py"
DELTA = 10_000
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "old", "small", "big", "wet", "dark", "golden")
QUERY = "a {} car in front of a house"

TRANSFORMERS = """
import json, sys
import numpy as np
import torch
from transformers import AutoTokenizer, Aimv2Model

folder, vectors, text = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = Aimv2Model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
with torch.inference_mode():
    states = model.text_model(**tokenizer([text], return_tensors="pt")).pooler_output
    query = model.text_projection(states)[0].numpy()
query /= np.linalg.norm(query)
scores = np.load(vectors).astype(np.float32) @ query
print(json.dumps({"vector": query.tolist(), "best": np.argsort(-scores)[:20].tolist()}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7, help=f"at most {len(COLOURS)}")
    options = parser.parse_args()
    real = real_vectors(
        options.checkpoint, options.data, options.work, photos=options.photos, captions=options.captions
    )
    total = options.rows + DELTA
    vectors = grown_vectors(real, total, options.work / f"vectors-{total}.npy")[: options.rows]
    library = options.work / f"library-{options.rows}"
    built_library(library, options.checkpoint, vectors)
    (library / "queries.sqlite").unlink(missing_ok=True)
    alone = options.work / f"vectors-{options.rows}-alone.npy"
    np.save(alone, vectors)
    rows = measure(options.checkpoint, library, alone, options.repeats)
    alone.unlink()
    show(f"Cold start to 20 answers, {options.rows:,} photos", rows, options.json)


def measure(checkpoint_name: str, library: Path, vectors: Path, repeats: int) -> list[Row]:
    checkpoint = open_checkpoint(checkpoint_name)
    search = [sys.executable, str(CLI), "search", "--library", str(library), "--json"]
    asked = "a photo that was asked for before"
    run([*search, asked])
    commands: dict[str, list[str]] = {
        "python, nothing else": [sys.executable, "-c", "pass"],
        "photoseek --help": [sys.executable, str(CLI), "--help"],
        "photoseek search, new query": [*search, QUERY],
        "photoseek search, repeated query": [*search, asked],
    }
    if importlib.util.find_spec("torch"):
        commands["import torch"] = [sys.executable, "-c", "import torch"]
    if importlib.util.find_spec("transformers"):
        command = [sys.executable, "-c", TRANSFORMERS, str(checkpoint.folder), str(vectors), QUERY]
        commands["the same query through transformers"] = command
    times: dict[str, list[float]] = {name: [] for name in commands}
    worst = 1.0
    for colour in COLOURS[:repeats]:
        text = QUERY.format(colour)
        for name, command in commands.items():
            started = time.perf_counter()
            answer = run([text if part == QUERY else part for part in command])
            times[name].append(time.perf_counter() - started)
            if "transformers" in name:
                mine = load_text_tower(checkpoint).encode([text])[0]
                worst = min(worst, float(mine @ np.array(json.loads(answer)["vector"])))
    torch_s = median(times["import torch"]) if "import torch" in times else None
    return [
        {
            "process": name,
            "median s": median(seconds),
            "fastest s": min(seconds),
            "of import torch": median(seconds) / torch_s if torch_s else None,
            "lowest cosine to photoseek's query": worst if "transformers" in name else None,
        }
        for name, seconds in times.items()
    ]


def run(command: list[str]) -> str:
    environment = {**compiled_environment(), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


if __name__ == "__main__":
    main()
