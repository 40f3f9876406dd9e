"""What the storage makes of errors and interruptions inside SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from photoseek.errors import LibraryError
from photoseek.storage import database
from photoseek.storage.database import Database


def test_ctrl_c_while_sqlite_calls_a_function_of_ours_stays_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed() -> str:
        raise KeyboardInterrupt  # as Python does where it next can, once the signal has come

    monkeypatch.setitem(database.FUNCTIONS, "pressed", (0, pressed))
    catalog = Database(tmp_path / "catalog.sqlite", new=True)
    with pytest.raises(KeyboardInterrupt), catalog.writing() as connection:
        connection.execute(sa.text("CREATE TABLE kept AS SELECT pressed() AS pressed"))
    with catalog.reading() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM sqlite_master")).scalar() == 0
    catalog.close()


def test_what_a_function_of_ours_raises_is_named(tmp_path: Path) -> None:
    catalog = Database(tmp_path / "catalog.sqlite", new=True)
    with pytest.raises(LibraryError, match="refused a statement: Expecting value"), catalog.reading() as connection:
        connection.execute(sa.text("SELECT photoseek_list('no JSON')"))
    catalog.close()
