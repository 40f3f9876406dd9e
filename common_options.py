"""Options that many commands have: the library, the engine, `-v` and `--json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from photoseek.speaking import log_to_stderr

if TYPE_CHECKING:
    from photoseek import PhotoLibrary


def verbose_option(command: Callable[..., None]) -> Callable[..., None]:
    """`-v`, which may stand before or after the command's name."""

    def tell(_ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        log_to_stderr(verbose=value)

    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=tell,
        help="Tell on standard error what is going on.",
    )(command)


def library_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--library`, which may stand before or after the command's name, as `-v` may."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.find_root().meta["library"] = value

    return click.option(
        "--library",
        metavar="PATH",
        expose_value=False,
        callback=remember,
        help="The library's folder (or PHOTOSEEK_LIBRARY; default: your user data).",
    )(verbose_option(command))


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Where the model runs."""
    for option in (
        click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps."),
        click.option(
            "--precision",
            default="auto",
            type=click.Choice(["auto", "float32", "bfloat16", "float16", "int8"]),
            help="Precision of the vision tower.",
        ),
        click.option("--engine", default="auto", metavar="ENGINE", help="auto, openvino, torch, numpy."),
    ):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")


def open_library(**options: Any) -> PhotoLibrary:
    """The library that the command line names."""
    from photoseek.library import PhotoLibrary

    return PhotoLibrary.open(click.get_current_context().find_root().meta.get("library"), **options)
