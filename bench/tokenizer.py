"""Reading a tokenizer file and encoding captions, beside the `tokenizers` library.

    python bench/tokenizer.py FOLDER... --texts CAPTIONS.txt

Each folder holds a tokenizer.json. Reading is timed with the imports it needs, each time in a process of its own
(the median of several); encoding one text at a time, which is what a search does, words seen before included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from report import Row, median, show
from tokenizers import Tokenizer as Reference

from photoseek.aimv2.tokenizer import Tokenizer

OURS = "from photoseek.aimv2.tokenizer import Tokenizer; from pathlib import Path; f = Path(sys.argv[1]).parent"
READERS = {
    "photoseek": f"{OURS}; Tokenizer(f, context=77, end_token=int(sys.argv[2]))",
    "tokenizers": "from tokenizers import Tokenizer; Tokenizer.from_file(sys.argv[1])",
}
TIMED = "import sys, time, photoseek.aimv2.weights; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
"""What every search has imported before its tokenizer (NumPy, weights) does not count."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--texts", type=Path, required=True, help="one text a line")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    texts = options.texts.read_text(encoding="utf-8").splitlines()
    show("Tokenizers", [row for folder in options.folders for row in measure(folder, texts, options.repeats)])


def measure(folder: Path, texts: list[str], repeats: int) -> list[Row]:
    file = folder / "tokenizer.json"
    theirs = Reference.from_file(str(file))
    theirs.no_padding()
    theirs.enable_truncation(max_length=77)
    end = theirs.token_to_id("<|endoftext|>")
    ours = Tokenizer(folder, context=77, end_token=end)
    encoders = {"photoseek": lambda text: ours.encode([text])[0], "tokenizers": lambda text: theirs.encode(text).ids}
    answers, seconds = {}, {}
    for name, encode in encoders.items():
        started = time.perf_counter()
        answers[name] = [encode(text) for text in texts]
        seconds[name] = time.perf_counter() - started
    reading = {name: [read_s(code, file, end) for _ in range(repeats)] for name, code in READERS.items()}
    return [
        {
            "entries": theirs.get_vocab_size(),
            "reader": name,
            "read, ms": median(reading[name]) * 1e3,
            "text, ms": seconds[name] / len(texts) * 1e3,
            "texts": len(texts),
            "ids equal": answers[name] == answers["tokenizers"],
        }
        for name in encoders
    ]


def read_s(code: str, file: Path, end: int) -> float:
    command = [sys.executable, "-c", TIMED.format(code), str(file), str(end)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
