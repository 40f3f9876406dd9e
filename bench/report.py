"""What every benchmark prints: the machine it ran on, and Markdown tables for docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]


def machine() -> str:
    """One line: date, processor, cores this process may use, memory, Python."""
    model = platform.processor() or platform.machine()
    memory = ""
    if Path("/proc/cpuinfo").exists():
        facts = Path("/proc/cpuinfo").read_text()
        names = [line.split(":", 1)[1].strip() for line in facts.splitlines() if line.startswith("model name")]
        extensions = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {name}" in facts]
        model = " ".join([names[0] if names else model, *extensions])
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"{today}; {model}; {cores()} cores{memory}; Python {platform.python_version()}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiled_environment() -> dict[str, str]:
    """For processes whose start is timed: Python may keep what it compiles, as it does for an installed package."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def private_mb() -> float | None:
    """Memory of this process that no file backs, in MB; None where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024 / 1e6


def folder_mb(folder: Path) -> float:
    """Bytes of all files below a folder, in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def table(title: str, rows: list[Row]) -> str:
    """A Markdown table whose columns are the keys of the rows, in the order they first appear."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"\n{title}\n", "| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def show(title: str, rows: list[Row], path: Path | None = None) -> None:
    """Print machine and table; with a path, keep the figures as JSON as well."""
    print(machine())
    print(table(title, rows), flush=True)
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), "title": title, "rows": rows}, indent=2) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
