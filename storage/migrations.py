"""From the schema of an older photoseek to the present one, in the order in which versions came.

Only a writer migrates (`Store.create`, under the library's lock), in one transaction with the new number: the
catalog is of one version or the other, whatever kills the process. Readers take older catalogs as they are and do
without what is new.

A step makes what its version had, also when `schema` has moved on: literal SQL, and constants of `schema` that later
versions leave alone.
`tests/storage/test_migrations.py` compares a migrated catalog with a new one.
"""

from __future__ import annotations

import logging

from photoseek.storage import schema, words
from photoseek.storage.catalog import Catalog

log = logging.getLogger(__name__)

STEPS: dict[int, tuple[str, ...]] = {
    # 2: which files changed since a generation's columns were written; fingerprints; texts beside the title.
    2: (
        "ALTER TABLE prepared ADD COLUMN fingerprint INTEGER",
        "ALTER TABLE contents ADD COLUMN captions TEXT",
        "CREATE TABLE changed_files (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, file_id INTEGER NOT NULL UNIQUE)",
        *schema.CHANGE_TRIGGERS,
    ),
}
"""By version, the statements that make it from the one before."""


def migrate(catalog: Catalog) -> bool:
    """Bring the catalog to the present version; returns whether it was older. The caller holds the library's lock.

    `words` is derived: it is made by the present code where it is not there, or behind the files.
    """
    with catalog.database.writing() as connection:
        old = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        for version in range(old + 1, schema.SCHEMA_VERSION + 1):
            for statement in STEPS[version]:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"PRAGMA user_version = {version}")
        if old < schema.SCHEMA_VERSION or words.is_behind(connection):
            words.rebuild(connection)
    catalog.version = schema.SCHEMA_VERSION
    if old < schema.SCHEMA_VERSION:
        log.info("the catalog %s is of version %d now, was %d", catalog.database.path, schema.SCHEMA_VERSION, old)
    return old < schema.SCHEMA_VERSION
