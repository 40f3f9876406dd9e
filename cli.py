"""The command line. Every command is a few calls of the public library; no other file exits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from photoseek import __version__
from photoseek.common_options import engine_options, json_option, library_option, open_library, verbose_option
from photoseek.errors import PhotoseekError
from photoseek.filter_options import NAMES as FILTER_NAMES
from photoseek.filter_options import condition_of, filter_options, filters_said, folders_elsewhere
from photoseek.look_options import NAMES as LOOK_NAMES
from photoseek.look_options import look_options, terminal_for
from photoseek.question_options import NAMES as QUESTION_NAMES
from photoseek.question_options import FiniteRange, query_of, question_options
from photoseek.speaking import FriendlyGroup, put, results, say

if TYPE_CHECKING:
    from photoseek import IndexReport, LibraryStatus, Photo, PhotoLibrary, Results
    from photoseek.search.groups import DuplicateKind
    from photoseek.search.ranking import Order
    from photoseek.show_matches import Listing, Shown

EPILOG = """\b
Exit codes: 0 done · 1 failed · 2 wrong usage · 3 the library cannot be used ·
4 another process is writing it · 5 verify found damage · 130 stopped with Ctrl-C
"""


@click.group(cls=FriendlyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="photoseek")
@library_option
def cli() -> None:
    """Find your photos by words, on your own machine.

    \b
      photoseek index ~/Pictures
      photoseek search "a red car"
    """


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[PATH]...")
@click.option("--model", metavar="NAME_OR_FOLDER", help="Model of a new library: auto, builtin, a name, a folder.")
@click.option("--retry-failed", is_flag=True, help="Read broken and skipped files again, though unchanged.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--strict", is_flag=True, help="End with 1 when some photo could not be read.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Decoding processes (default: one a core).")
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Photos embedded together.")
@click.option(
    "--ivf-from", type=click.IntRange(1), metavar="ROWS", help="Use an IVF index from this many photos on (kept)."
)
@engine_options
@json_option
@library_option
def index(
    paths: tuple[str, ...],
    model: str | None,
    retry_failed: bool,
    dry_run: bool,
    strict: bool,
    workers: int | None,
    batch_size: int | None,
    ivf_from: int | None,
    as_json: bool,
    **engine: str,
) -> None:
    """Index folders of photos, or look again at all known ones.

    Without PATH every known folder is looked at. Only new and changed photos are read. Photos on a drive that is
    away stay as they are.
    """
    from photoseek import IndexSettings
    from photoseek.show import IndexView, report_json, report_lines

    with open_library(model=model, **engine) as library:
        known = library.exists
        with IndexView() as view:
            report = library.index(
                [os.fsencode(path).decode(errors="surrogateescape") for path in paths] or None,
                retry_failed=retry_failed,
                dry_run=dry_run,
                workers=workers,
                batch_size=batch_size,
                settings=IndexSettings(ivf_min_rows=ivf_from) if ivf_from else None,
                on_progress=view,
            )
        if as_json:
            put(report_json(report))
        else:
            put("\n".join(report_lines(report, dry_run=dry_run)))
            if not known and not dry_run:
                tell_model(library)
    ended_badly(report, strict=strict)


def tell_model(library: PhotoLibrary) -> None:
    """After a first run: which model serves, and how to get a better one."""
    status = library.status()
    say(f"Model: {status.model}.", err=True)
    if status.model == "builtin":
        click.echo('  It is small. "photoseek models list" shows larger ones that find more.', err=True)


def ended_badly(report: IndexReport, *, strict: bool) -> None:
    """Exit with 1 where the run did not do what it was asked for."""
    nothing_reached = bool(report.offline) and not report.seen
    if report.cancelled:
        sys.exit(130)
    if nothing_reached or (strict and report.failed):
        sys.exit(1)


@cli.command()
@question_options
@click.option("--limit", default=20, type=click.IntRange(1), show_default=True, metavar="N", help="At most N.")
@click.option("--offset", default=0, type=click.IntRange(0), metavar="N", help="Leave out the first N.")
@click.option("--after", metavar="PLACE", help='Go on after a page: what "next" of its JSON says.')
@click.option(
    "--order", default="relevance", type=click.Choice(["relevance", "newest"]), help="newest: of those likely enough."
)
@click.option("--min-confidence", type=FiniteRange(0, 1), metavar="P", help="Only photos at least this likely, 0 to 1.")
@click.option("--all", "show_all", is_flag=True, help="On a terminal: also those that are not likely.")
@click.option("--collapse", is_flag=True, help="One photo of each moment: of bursts, copies and edits the best.")
@click.option("--missing", is_flag=True, help="Also photos whose files are gone.")
@click.option("--exact", is_flag=True, help="Score every photo, also where the index would be faster.")
@filter_options
@look_options
@json_option
@click.option("--paths", "only_paths", is_flag=True, help="Only paths, one a line.")
@click.option("-0", "--null", is_flag=True, help="With --paths: end each with a zero byte, as xargs -0 wants it.")
@engine_options
@library_option
def search(
    limit: int,
    offset: int,
    after: str | None,
    order: Order,
    min_confidence: float | None,
    show_all: bool,
    collapse: bool,
    missing: bool,
    exact: bool,
    as_json: bool,
    only_paths: bool,
    null: bool,
    **others: Any,
) -> None:
    """Find photos by words, by example, or both. With filters alone: list what they leave, newest first.

    Words in quotes must stand in the photo's name, folder, camera, lens, title, captions or keywords.
    """
    from photoseek.gallery import check_target
    from photoseek.hints import hints_for
    from photoseek.show import counted
    from photoseek.show_matches import Listing, answer_json, nothing_said, shown
    from photoseek.show_page import save_page
    from photoseek.viewer import open_file

    if as_json and (only_paths or null):
        raise click.UsageError("--json and --paths exclude each other")
    looks = {name: others.pop(name) for name in LOOK_NAMES}
    if (looks["preview"] or looks["preview_as"]) and (as_json or only_paths or null):
        raise click.UsageError("--preview excludes --json and --paths")
    if looks["html"] is not None:
        check_target(looks["html"], force=looks["force"])
    filters = {name: others.pop(name) for name in FILTER_NAMES}
    condition = condition_of(filters)
    asked = {name: others.pop(name) for name in QUESTION_NAMES}
    query = query_of(asked)
    for_scripts = as_json or only_paths or null
    options: dict[str, Any] = {
        "limit": limit,
        "offset": offset,
        "after": after,
        "collapse": "similar" if collapse else None,
        "where": condition,
        "include_missing": missing,
        "exact": exact,
    }
    found: Listing | Results
    with open_library(**others) as library:
        if condition is not None and not query.parts and not asked["query"]:
            refuse_for_lists(after=after, min_confidence=min_confidence, collapse=collapse, missing=missing)
            found = Listing.of(library, condition, limit, offset)
        else:
            found = library.search(query, order=order, min_confidence=min_confidence, **options)
            if not found and found.verdict == "nothing" and min_confidence is None and not for_scripts:
                found = library.search(query, **options)  # none is likely enough for an order by date
        nothing = nothing_said(found, query)
        if as_json:
            put(answer_json(found))
        elif only_paths or null:
            print_paths(found, end=b"\0" if null else b"\n")
        elif found and (looks["html"] is None or looks["preview"] or looks["preview_as"]):
            likely: Callable[[float], Results] | None = None
            if sys.stdout.isatty() and not show_all and after is None:
                likely = lambda least: library.search(query, order=order, min_confidence=least, **options)  # noqa: E731
            show_photos(library, shown(found, query, likely), looks)
        hints = (
            [] if for_scripts else hints_for(query, library, nothing=bool(nothing), dated=filters["taken"] is not None)
        )
        if looks["html"] is not None:
            save_page(library, looks["html"], found, str(query), [filters_said(filters), nothing], found.threshold)
            say(f"Wrote {looks['html']} with {counted(len(found), 'photo')}.", err=True)
        elsewhere = folders_elsewhere(filters["folders"], library.roots()) if filters["folders"] else []
    for folder in elsewhere:
        say(f"{folder} lies in no indexed folder, and holds none.", err=True)
    if not found:
        least = [f"at least {min_confidence:.0%} likely"] if min_confidence else []
        said = " · ".join([*filter(None, [filters_said(filters)]), *least])
        say(f"No photos found that fit: {said}." if said else "No photos found.", err=True)
    elif nothing and not as_json and not sys.stdout.isatty():
        click.echo(nothing, err=True)
    for hint in hints:
        say(hint, err=True)
    if found.undated:
        click.echo(f"{counted(found.undated, 'photo')} without a date left out.", err=True)
    if looks["open_first"] and looks["html"] is not None:
        open_file(looks["html"])
    elif looks["open_first"] and found:
        open_photo(found[0])


def refuse_for_lists(**options: Any) -> None:
    """Options that mean nothing where filters alone list photos; silence would hide that."""
    for name, value in options.items():
        if value not in (None, False):
            raise click.UsageError(f"--{name.replace('_', '-')} needs words or an example; filters alone list photos")


def print_paths(photos: Sequence[Photo], *, end: bytes) -> None:
    """The paths as the file system has them, whatever their encoding."""
    with results():
        for photo in photos:
            if photo.path is not None:
                sys.stdout.buffer.write(os.fsencode(photo.path) + end)
        sys.stdout.buffer.flush()


def show_photos(library: PhotoLibrary, part: Shown, looks: dict[str, Any]) -> None:
    """A table of photos, or their pictures where these are asked for and can be shown."""
    from photoseek.show_matches import match_table, preview_rows

    if part.above is not None:
        put(part.above)
    if part.photos and (terminal := terminal_for(looks)) is not None:
        pictures = lambda side: library.iter_thumbnails(part.photos, side=side)  # noqa: E731
        for row in preview_rows(part.photos, part.threshold, terminal, pictures):
            put(row, newline=False, color=True)
    elif part.photos:
        put(match_table(part.photos, part.first))
    if part.below is not None:
        put(part.below)


def open_photo(photo: Photo) -> None:
    """Show a photo in the system's viewer."""
    from photoseek.viewer import open_file

    if photo.path is None:
        raise PhotoseekError(f"{photo.id} cannot be opened: an app keeps it, not in a file")
    if photo.offline:
        raise PhotoseekError(f"{photo.path} cannot be opened: its drive is away")
    open_file(photo.path)


@cli.command()
@click.argument("photo", type=click.Path())
@click.option("--label", "labels", multiple=True, required=True, metavar="WORDS", help="A candidate; at least two.")
@click.option("--template", default="{}", show_default=True, help='How a label is asked, as "a photo of a {}".')
@json_option
@engine_options
@library_option
def classify(photo: str, labels: tuple[str, ...], template: str, as_json: bool, **engine: str) -> None:
    """Say which of some labels fits a photo best."""
    from photoseek.show import shares_json, shares_lines

    with open_library(**engine) as library:
        shares = library.classify(photo, list(labels), template=template)
    put(shares_json(shares) if as_json else "\n".join(shares_lines(shares)))


@cli.command()
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(["bytes", "pictures", "near"]),
    help="Only copies of files, other files with the same picture, or photos of one moment (may be repeated).",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N groups, those that save most.")
@json_option
@library_option
def duplicates(kinds: tuple[DuplicateKind, ...], limit: int | None, as_json: bool) -> None:
    """List files of which one would do, the best of each group first.

    Copies of files, files with the same picture, and photos of one moment: bursts, resized copies, edits, JPEG beside
    RAW or HEIC. Nothing is deleted.
    """
    from photoseek.show import IndexView
    from photoseek.show_groups import duplicates_json, duplicates_lines, duplicates_sum

    with open_library() as library, IndexView() as view:
        found = library.duplicates(kinds or ("bytes", "pictures", "near"), limit=limit, on_progress=view)
    if as_json:
        put(duplicates_json(found))
        return
    if found.groups:
        put("\n".join(duplicates_lines(found)))
    click.echo(duplicates_sum(found), err=True)


@cli.command()
@json_option
@library_option
def status(as_json: bool) -> None:
    """Show what is in the library, and what is not searchable and why."""
    from photoseek.show import status_json, status_lines

    with open_library() as library:
        found: LibraryStatus = library.status()
    put(status_json(found) if as_json else "\n".join(status_lines(found)))


@cli.command()
@click.option("--repair", is_flag=True, help="Rebuild what can be rebuilt.")
@library_option
def verify(repair: bool) -> None:
    """Check everything that is stored."""
    with open_library() as library:
        report = library.verify(repair=repair)
    for text in report.repaired:
        say(f"Repaired: {text}")
    for path in report.litter:
        say(f"Left over from an interrupted run, removed by the next one: {path}")
    for text in report.problems:
        say(f"Damaged: {text}")
    if report.problems:
        click.echo('Run "photoseek verify --repair", then "photoseek index".', err=True)
        sys.exit(5)
    put(f"The library is whole: {report.vectors:,} vectors checked.")


@cli.command()
@click.argument("target", type=click.Path())
@library_option
def backup(target: str) -> None:
    """Copy the library to the new folder TARGET, at any time.

    The folder that TARGET lies in must exist.
    """
    with open_library() as library:
        library.backup(target)
    say(f"Backed up to {target}")


@cli.group()
def roots() -> None:
    """List, move or remove indexed folders."""


@roots.command("list")
@json_option
@library_option
def roots_list(as_json: bool) -> None:
    """List the indexed folders."""
    from photoseek.show import roots_json, roots_lines

    with open_library() as library:
        found = library.roots()
    put(roots_json(found) if as_json else "\n".join(roots_lines(found)))


@roots.command("move")
@click.argument("old", type=click.Path())
@click.argument("new", type=click.Path())
@library_option
def roots_move(old: str, new: str) -> None:
    """Say that the folder OLD is found at NEW now."""
    with open_library() as library:
        library.move_root(old, new)
    say(f"{old} is now {new}")


@roots.command("remove")
@click.argument("path", type=click.Path())
@library_option
def roots_remove(path: str) -> None:
    """Forget a folder and its photos (the files stay where they are)."""
    from photoseek.show import counted

    with open_library() as library:
        removed = library.remove_root(path)
    put(f"Forgot {counted(removed, 'photo')}; the files themselves are untouched.")


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[PATH]...")
@click.option("--missing", is_flag=True, help="Every photo whose file is gone.")
@click.option("--dry-run", is_flag=True, help="Say how many photos it would be, and do nothing.")
@library_option
def forget(paths: tuple[str, ...], missing: bool, dry_run: bool) -> None:
    """Take photos or folders out of the library.

    The files stay where they are.
    """
    from photoseek.show import counted

    if not paths and not missing:
        raise click.UsageError("name a PATH, or --missing")
    with open_library() as library:
        removed = library.forget(list(paths), missing=missing, dry_run=dry_run)
    if dry_run:
        put(f"Would forget {counted(removed, 'photo')}; nothing was done.")
        return
    put(f"Forgot {counted(removed, 'photo')}; the files themselves are untouched.")
    if paths:
        put('The next "photoseek index" takes in again what is still there and no .photoseekignore leaves out.')


@cli.group()
def models() -> None:
    """List, download or change models."""


@models.command("list")
@library_option
def models_list() -> None:
    """List the models on this machine, those that can be downloaded, and those that the library uses."""
    from photoseek.show import model_lines

    with open_library() as library:
        spaces = library.spaces() if library.exists else ()
    put("\n".join(model_lines(spaces)))


@models.command("download")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Accept the model's licence without being asked.")
@verbose_option
def models_download(name: str, yes: bool) -> None:
    """Download a model: the only command that uses the network."""
    from photoseek.aimv2.download import download_model, offer_download
    from photoseek.show import DownloadView, offer_lines

    offer = offer_download(name)
    put("\n".join(offer_lines(offer)))
    if not yes:
        click.confirm("Do you accept this licence?", abort=True)
    with DownloadView() as view:
        checkpoint = download_model(offer, accept_licence=True, on_progress=view.tell)
    say(f"Downloaded to {checkpoint.folder}. Use it with: photoseek models use {name}")


@models.command("use")
@click.argument("name")
@click.option("--leave-waiting", is_flag=True, help="Switch although photos on drives that are away wait.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Decoding processes (default: one a core).")
@engine_options
@library_option
def models_use(name: str, leave_waiting: bool, workers: int | None, **engine: str) -> None:
    """Embed the library's photos with another model, then let it answer.

    The old model answers until all is done, and photos may be indexed meanwhile. Can be stopped and started again.
    """
    from photoseek.show import IndexView, change_lines, waiting_lines

    with open_library(**engine) as library, IndexView() as view:
        change = library.use_model(name, leave_waiting=leave_waiting, workers=workers, on_progress=view)
    put("\n".join(change_lines(name, change)))
    if not change.switched:
        click.echo("\n".join(waiting_lines(change)), err=True)
        sys.exit(1)


@models.command("prune")
@click.argument("name", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@library_option
def models_prune(name: str | None, yes: bool) -> None:
    """Remove the vectors of models that no longer answer, to make the library smaller.

    With NAME only those of this model, also where they were never completed. The model that answers keeps its own.
    """
    from photoseek.show import space_lines

    with open_library() as library:
        found = library.prune_models(name, dry_run=True)
        if found:
            put("\n".join(["Vectors that go; searches need none of them:", *space_lines(found)]))
            if not yes:
                click.confirm("Remove them?", abort=True)
        library.prune_models(name)  # also when nothing is left to go: one that was killed leaves free pages
    put("Removed." if found else "There is nothing to remove.")


@cli.command()
@json_option
@library_option
def doctor(as_json: bool) -> None:
    """Show versions, devices, engines and what is missing."""
    from photoseek.doctor import examine
    from photoseek.show import doctor_json, doctor_lines

    path = click.get_current_context().find_root().meta.get("library")
    findings = examine(Path(path) if path else None)
    put(doctor_json(findings) if as_json else "\n".join(doctor_lines(findings)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `photoseek`."""
    if sys.stderr is None:  # `2>&-`: progress and messages go nowhere, and stop nothing
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    if sys.stdout is None:  # a closed descriptor, as in `>&-`
        click.echo("Error: standard output is closed", err=True)
        sys.exit(1)
    cli.main(args=list(arguments) if arguments is not None else None, prog_name="photoseek")


if __name__ == "__main__":
    main()
