"""The pages agree with the code, and their examples run."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import click
import pytest
from cli_page import page
from console import commands, run_on_terminal
from small_library import write_photo, write_photos

import photoseek
from photoseek import IndexSettings, PhotoLibrary, errors
from photoseek.cli import cli
from photoseek.storage import schema, words

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def public_errors() -> list[type[errors.PhotoseekError]]:
    return [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.PhotoseekError)
    ]


def test_help_texts_are_those_of_the_program():
    assert text_of("docs/cli.md") == page(), "python tests/docs/cli_page.py > docs/cli.md"


def test_every_error_is_listed_with_its_exit_code():
    listed = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", text_of("docs/errors.md"), re.MULTILINE))
    assert listed == {error.__name__: str(error.exit_code) for error in public_errors()}


def test_the_tree_at_the_head_of_the_module_is_the_real_one():
    drawn = re.findall(r"^( +)([A-Z]\w+) +(?:\(exit code\)|(\d+))", errors.__doc__, re.MULTILINE)
    parents: dict[int, str] = {}
    found = {}
    for indent, name, code in drawn:
        parents[len(indent)] = name
        found[name] = (parents.get(len(indent) - 2), code or "1")
    assert found == {
        error.__name__: (
            error.__base__.__name__ if error is not errors.PhotoseekError else None,
            str(error.exit_code),
        )
        for error in public_errors()
    }


def test_every_table_and_column_is_described():
    described = text_of("docs/on-disk-format.md")
    sections = re.split(r"^\*\*(\w+)\*\*", described, flags=re.MULTILINE)
    by_table = dict(zip(sections[1::2], sections[2::2], strict=True))
    columns = {name: [column.name for column in table.columns] for name, table in schema.metadata.tables.items()}
    columns["words"] = list(words.FIELDS)
    assert set(by_table) == set(columns)
    for name, names in columns.items():
        assert not [column for column in names if f"`{column}`" not in by_table[name]], name
    assert f"{schema.APPLICATION_ID:#010X}".replace("X", "x") in described


def test_every_public_name_and_verb_is_documented():
    described = text_of("docs/api.md")
    names = [name for name in photoseek.__all__ if not name.startswith("__")]
    verbs = [name for name, _ in inspect.getmembers(PhotoLibrary, callable) if not name.startswith("_")]
    assert [name for name in [*names, *verbs] if not re.search(rf"\b{name}\b", described)] == []


def test_signatures_name_the_arguments_that_there_are():
    described = re.findall(r"`((?:PhotoLibrary\.)?\w+)\(([^`]*)\)`", text_of("docs/api.md"))
    for name, arguments in described:
        verb = getattr(PhotoLibrary, name.removeprefix("PhotoLibrary."), None)
        if verb is None or (name == "search" and not arguments.startswith("query")):
            continue  # a condition, or an example of a call
        there = inspect.signature(verb).parameters
        named = [re.match(r"\w*", argument)[0] for argument in re.split(r",\s+", arguments)]
        assert [each for each in named if each and each not in there] == [], name
        assert name != "search" or set(named) - {""} == set(there) - {"self"}
    assert "search" in dict(described)


def test_every_decision_is_listed():
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", text_of("docs/decisions/README.md"))
    assert listed == sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, heading = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", text).strip().lower().replace(" ", "-") for text in headings]


def test_versions_agree():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    newest = re.search(r"^## \[(.+?)\]", text_of("CHANGELOG.md"), re.MULTILINE)
    assert project["version"] == photoseek.__version__ == newest[1]


@pytest.mark.parametrize("name", ["README.md", "docs/api.md", "docs/errors.md"])
def test_python_examples_run(name, tmp_path, monkeypatch, tiny_checkpoint):
    shutil.copytree(tiny_checkpoint, tmp_path / "package" / "builtin")
    monkeypatch.setattr("photoseek.aimv2.models.__file__", str(tmp_path / "package" / "models.py"))
    for folder in ("photos", "examples/photos"):
        (tmp_path / folder).mkdir(parents=True)
        for photo in ("cat.jpg", "clouds.jpg"):
            shutil.copyfile(ROOT / "examples" / "photos" / photo, tmp_path / folder / photo)
    monkeypatch.chdir(tmp_path)
    examples = PYTHON.findall(text_of(name))
    assert examples
    for code in examples:
        exec(compile(code, name, "exec"), {})


def command_lines() -> list[str]:
    """Every line of a code block in the pages that calls photoseek, without comments and pipes."""
    found = []
    for path in PAGES:
        if path.name in ("cli.md", "aimv2.md"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            match = re.match(r"(?: {4}|\$ | {2}\.venv/bin/)photoseek (.+)", line)
            if match:
                found.append(re.split(r" [|#&]", match[1])[0])
    return found


@pytest.mark.parametrize("line", command_lines())
def test_commands_in_the_pages_are_understood(line):
    command, arguments = cli, shlex.split(line)
    with click.Context(cli, **cli.context_settings) as context:
        while isinstance(command, click.Group):
            while arguments[0].startswith("-"):
                arguments.pop(0)  # -v
            command = command.commands[arguments.pop(0)]
        assert command.make_context(command.name, arguments, parent=context).params is not None


def test_questions_to_the_catalog_can_be_asked(tmp_path, open_library):
    write_photo(tmp_path / "photos" / "red.png", "red")
    with open_library() as library:
        library.index(tmp_path / "photos")
    statements = re.search(r"^```sql\n(.*?)^```$", text_of("docs/on-disk-format.md"), re.DOTALL | re.MULTILINE)[1]
    with closing(sqlite3.connect(tmp_path / "library" / "catalog.sqlite")) as connection:
        rows = [connection.execute(statement).fetchall() for statement in statements.split(";") if statement.strip()]
    assert [len(found) for found in rows] == [0, 1, 0, 1]
    assert rows[3][0][1:] == ("active", 1)


def test_a_manifest_and_an_export_hold_what_is_described(tmp_path, open_library):
    write_photos(tmp_path / "photos", 8)
    with open_library() as library:
        library.index(tmp_path / "photos", settings=IndexSettings(generation_min_rows=1, ivf_min_rows=4))
        library.export_vectors(tmp_path / "export")
    described = text_of("docs/on-disk-format.md")
    generation = next((tmp_path / "library" / "index").glob("*/*"))
    shown = json.loads(re.search(r"^```json\n(.*?)^```$", described, re.DOTALL | re.MULTILINE)[1])
    manifest = json.loads((generation / "manifest.json").read_bytes())
    assert manifest.keys() == shown.keys()
    assert manifest["files"]["ids.npy"].keys() == shown["files"]["ids.npy"].keys()
    written = {
        f"{path.name}/" if path.is_dir() else path.name
        for folder in (generation, tmp_path / "export")
        for path in folder.iterdir()
    }
    assert written == {name for name in written if f"`{name}`" in described or f"    {name} " in described}
    columns = {path.name.split(".")[0] for path in (generation / "columns").glob("*.npy")}
    assert all(f"`{name}`" in described or f"`{name}.npy`" in described for name in columns)
    contract = json.loads((tmp_path / "export" / "space.json").read_bytes())
    assert all(f"`{key}`" in described for key in contract)


@pytest.mark.slow
def test_the_commands_of_the_readme_work_with_the_builtin_model(tmp_path):
    lines = commands(text_of("README.md"))
    assert len(lines) >= 6
    for line in lines:
        code, output = run_on_terminal(line, tmp_path)
        assert code == 0, output
