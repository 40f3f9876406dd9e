"""Writes docs/cli.md from the commands themselves: python tests/docs/cli_page.py > docs/cli.md"""

from __future__ import annotations

from collections.abc import Iterator

import click

from photoseek.cli import cli

WIDTH = 100
INTRODUCTION = """\
# Command line

The help text of every command, as the program prints it (written by `tests/docs/cli_page.py`). `-v` and
`--library` may stand before or after a command's name. [Exit codes](errors.md).
"""


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """(full name, command) of a command and all below it."""
    yield name, command
    if isinstance(command, click.Group):
        for below in sorted(command.commands):
            yield from commands(command.commands[below], f"{name} {below}")


def page() -> str:
    parts = [INTRODUCTION]
    settings = {**cli.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    for name, command in commands(cli, "photoseek"):
        context = click.Context(command, info_name=name, **settings)
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    click.echo(page(), nl=False)
