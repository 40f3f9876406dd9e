"""How the command line speaks: errors as a sentence, a hint and an exit code, results that arrive or say why not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import click

from photoseek.errors import PhotoseekError, UsageError
from photoseek.show import one_line


class _Shown(click.ClickException):
    """One of photoseek's errors, as click shows errors."""

    def __init__(self, error: PhotoseekError) -> None:
        super().__init__("\n  ".join(one_line(text) for text in (error, error.hint) if text))
        self.exit_code = error.exit_code  # type: ignore[misc] # click declares it on the class


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Errors as click shows them, with nothing in them that a terminal would obey."""
    try:
        yield
    except PhotoseekError as error:
        raise _Shown(error) from error
    except click.ClickException as error:
        lines = error.message.split("\n")  # help, too, is such a message
        error.message = "\n".join(map(one_line, lines))  # type: ignore[misc] # click declares it final
        raise


@contextmanager
def results() -> Iterator[None]:
    """Around all that is written to standard output. A reader that went away (`| head`) is left to click: it is quiet.

    Raises:
        PhotoseekError: it cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would try the rest again when it ends, and complain.
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), sys.stdout.fileno())
        raise PhotoseekError(f"standard output cannot be written: {error.strerror}") from error


def put(text: str, *, newline: bool = True, color: bool | None = None) -> None:
    """Write results, with the names in them escaped already."""
    with results():
        click.echo(text, nl=newline, color=color)


def say(sentence: str, *, err: bool = False) -> None:
    """Tell a person something that has names in it."""
    with nullcontext() if err else results():
        click.echo(one_line(sentence), err=err)


def log_to_stderr(*, verbose: bool) -> None:
    """Log lines go to standard error, with the names in them escaped: warnings, and with `verbose` what is going on."""
    import logging

    class Escaped(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
            record.message = one_line(record.message)
            return super().formatMessage(record)

    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(Escaped("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[lines])
    if verbose:
        logging.getLogger("photoseek").setLevel(logging.DEBUG)


class CarefulCommand(click.Command):
    """Takes no empty values: in a script they come from a variable that is not set, and would drop a filter unseen."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with errors_for_people(), results():  # it may write help
            return super().make_context(*arguments, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            given, _rest, parameters = self.make_parser(ctx).parse_args(list(args))
            for parameter in parameters:
                values = given.get(parameter.name)
                for value in values if isinstance(values, list | tuple) else (values,):
                    refuse_empty(parameter, value)
        return super().parse_args(ctx, args)


def refuse_empty(parameter: click.Parameter, value: object) -> None:
    """Refuse an empty text; a path may be called by blanks alone, nothing else may."""
    if not isinstance(value, str) or (value if isinstance(parameter.type, click.Path) else value.strip()):
        return
    kind = (parameter.metavar or parameter.type.name.upper()).strip("[].")
    if isinstance(parameter, click.Option):
        hint = f"leave it out, or give {kind}: {parameter.help}"
        raise UsageError(f"{max(parameter.opts, key=len)} is empty", hint=hint)
    name = kind if parameter.metavar else parameter.human_readable_name
    raise UsageError(f"{name} is empty", hint="in a script: is a variable not set?")


class FriendlyGroup(CarefulCommand, click.Group):
    """Turns photoseek's errors into a sentence, a hint and an exit code, once for all commands."""

    command_class = CarefulCommand
    group_class = type  # the same as this one

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with errors_for_people():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nStopped; everything done so far is kept. Run the same command again to go on.", err=True)
            ctx.exit(130)
