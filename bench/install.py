"""What an install takes: seconds and MB in a fresh virtual environment, photoseek's light one beside rclip's.

    python bench/install.py --work WORK
    python bench/install.py --work WORK --packages ".[cpu]" rclip

Each package is installed with pip, and all that it needs. "MB" is what the files of the environment take (1,000,000
bytes), "of it" what those of a bare one take, "largest" the largest packages in it. pip's own cache is left out, so
that the seconds include the download: they tell as much of the network as of the package.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

from report import Row, folder_mb, show

REPOSITORY = Path(__file__).parents[1]
LARGEST = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the environments are made, one after the other")
    parser.add_argument("--packages", nargs="+", default=[f"{REPOSITORY}[cpu]", "rclip"], help="what pip is given")
    parser.add_argument("--keep", action="store_true", help="leave the last environment there")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    folder = options.work / "environment"
    rows = [measure(package, folder) for package in options.packages]
    if not options.keep:
        shutil.rmtree(folder)
    show("fresh virtual environments", rows, options.json)


def measure(package: str, folder: Path) -> Row:
    venv.create(folder, with_pip=True, clear=True)
    bare = folder_mb(folder)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    started = time.perf_counter()
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check", package],
        check=True,
    )
    seconds = time.perf_counter() - started
    packages = next(folder.rglob("pip/__init__.py")).parents[1]
    parts = sorted(((folder_mb(part), part.name) for part in packages.iterdir() if part.is_dir()), reverse=True)
    return {
        "package": package.replace(str(REPOSITORY), "."),
        "seconds": seconds,
        "MB": folder_mb(folder),
        "of it": bare,
        "largest": ", ".join(f"{name} {size:.0f}" for size, name in parts[:LARGEST]),
    }


if __name__ == "__main__":
    main()
