"""Searches: encodes a query with the library's model, asks storage, and ranks."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from photoseek import indexing
from photoseek.binding import ModelBinding
from photoseek.conditions import Condition, Ids, mentions_date, replace_ids
from photoseek.contracts import Embeddings, Picture, Preprocessing
from photoseek.errors import PhotoUnreadableError, UsageError, check_ids, check_list
from photoseek.paths import absolute, absolute_path
from photoseek.picture_reader import PictureReader, picture_bytes
from photoseek.search.asked import Asked
from photoseek.search.confidence import confidences, found_from
from photoseek.search.query import Part, PictureLike, Query, Term, Words, combine
from photoseek.search.ranking import FILE_ID_PREFIX, PageOptions, Question, fold, photo_of, rank
from photoseek.search.results import Photo, Results
from photoseek.search.similar import rule_for
from photoseek.storage.store import Store, View

log = logging.getLogger(__name__)

_FILE_ID = re.compile(re.escape(FILE_ID_PREFIX) + r"[1-9][0-9]{0,17}")


class Searcher:
    """The reading side of one library; threads may share it."""

    def __init__(self, store: Store, binding: ModelBinding, reader: PictureReader) -> None:
        self._store = store
        self._binding = binding
        self._reader = reader
        self._guard = threading.RLock()  # model loading
        self._banks: dict[int, Embeddings] = {}

    # Searching

    def search(
        self,
        query: Query,
        options: PageOptions,
        *,
        where: Condition | None = None,
        ids: Sequence[str] | None = None,
    ) -> Results:
        """`PhotoLibrary.search`."""
        started = time.monotonic()
        asked = _asked(query, where=where)
        view = self._store.view()
        if view is None:
            return Results([], exact=True)
        if ids is not None:
            among = Ids(tuple(sorted(set(check_ids(ids, "ids")))))
            where = among if where is None else where & among
        vectors = self._words(view, asked.texts)
        page = self._page(view, asked, vectors, options, _digest(view, query, options, where), where)
        log.debug(
            "%d matches of model %s (checkpoint %s) in %.0f ms",
            len(page),
            view.space.model,
            view.space.checkpoint_digest[:12],
            (time.monotonic() - started) * 1000,
        )
        return page

    def search_many(self, texts: Sequence[str], options: PageOptions) -> list[Results]:
        """`PhotoLibrary.search_many`."""
        check_list(texts, "search_many", "texts")
        queries = [Query(text) for text in texts]
        each = [_asked(query) for query in queries]
        view = self._store.view()
        if view is None:
            return [Results([], exact=True) for _ in texts]
        vectors = iter(self._words(view, [text for asked in each for text in asked.texts]))
        return [
            self._page(view, asked, [next(vectors) for _ in asked.texts], options, _digest(view, query, options, None))
            for query, asked in zip(queries, each, strict=True)
        ]

    def _question(self, view: View, asked: Asked, vectors: Sequence[NDArray[np.float32]], digest: str) -> Question:
        """The encoded query; `vectors` are those of its texts."""
        reasons = functools.partial(view.words_in, asked.wanted) if asked.wanted else None
        if not asked.parts:
            return Question(None, reasons=reasons, digest=digest)
        terms = self._terms(view, asked.parts, vectors)
        vector = combine(terms)
        # What a photo should show, in words.
        wished = [
            (term, part.text)
            for term, part in zip(terms, asked.parts, strict=True)
            if isinstance(part, Words) and part.weight > 0
        ]
        calibrated = self._binding.calibration(view.space) if wished else None
        if calibrated is None:
            return Question(vector, tuple(terms), reasons=reasons, digest=digest)
        calibration, logit_scale = calibrated
        if view.space.id not in self._banks:
            self._banks[view.space.id] = self._store.spaces.text_vectors(view.space)
        wanted, bank = combine([term for term, _ in wished]), self._banks[view.space.id]
        words = sum(len(text.split()) for _, text in wished)
        return Question(
            vector,
            tuple(terms),
            confidence=lambda photos: confidences(calibration, wanted, photos, bank, logit_scale),
            threshold=found_from(calibration, wanted, bank, words),
            reasons=reasons,
            digest=digest,
        )

    def _page(
        self,
        view: View,
        asked: Asked,
        vectors: Sequence[NDArray[np.float32]],
        options: PageOptions,
        digest: str,
        where: Condition | None = None,
    ) -> Results:
        question = self._question(view, asked, vectors, digest)
        where = self._in_storage(asked.condition(where))
        return rank(
            view,
            question,
            options,
            allowed=view.allowed(where, include_missing=options.include_missing),
            fitting=view.fitting(where),
            online=functools.cache(_is_folder),
            rule=rule_for(view.space.model),
            undated=view.count_undated() if where is not None and mentions_date(where) else 0,
        )

    def classify(self, picture: PictureLike, labels: Sequence[str], template: str) -> list[tuple[str, float]]:
        """`PhotoLibrary.classify`."""
        if len(labels) < 2:
            raise UsageError("classifying needs at least two labels")
        if "{}" not in template:
            raise UsageError(f'the template {template!r} has no place for the label: "a photo of a {{}}" has one')
        space = self._store.spaces.active() if self._store.exists else None
        with self._guard:
            towers = self._binding.towers(space)
        vector = towers.vision.encode([self._prepared(picture, towers.checkpoint.preprocessing)])[0]
        texts = towers.text.encode([template.replace("{}", label) for label in labels])
        logits = (texts @ vector) * (towers.checkpoint.logit_scale or 1.0)
        odds = np.exp(logits - logits.max())
        ranked = sorted(zip(labels, (odds / odds.sum()).tolist(), strict=True), key=lambda pair: -pair[1])
        return [(label, float(share)) for label, share in ranked]

    # Photos without a query

    def newest(self, where: Condition | None, options: PageOptions) -> list[Photo]:
        """`PhotoLibrary.photos`."""
        view = self._store.view()
        if view is None:
            return []
        where = self._in_storage(where)
        page = view.newest_first(where, options.limit, options.offset)
        groups = fold(view.rows(page), _is_folder, view.fitting(where))
        return [photo_of(groups[id], _is_folder) for id in page]

    def count(self, where: Condition | None) -> int:
        """`PhotoLibrary.count`."""
        view = self._store.view()
        if view is None:
            return 0
        allowed = view.allowed(self._in_storage(where), include_missing=False)
        return len(allowed) if allowed is not None else view.snapshot.visible()

    def photo(self, id: str) -> Photo | None:
        """`PhotoLibrary.get`: the file that was asked for first, then its copies."""
        view = self._store.view()
        if view is None:
            return None
        found = self._store.rows(view.space).of_files(self.file_ids([id]))
        if not found:
            return None
        asked = found[0]
        shown = fold(view.rows([asked.embedding_id]), _is_folder).get(asked.embedding_id, [])
        return photo_of([asked, *(row for row in shown if row.file_id != asked.file_id)], _is_folder)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """`PhotoLibrary.vectors`."""
        ids = check_ids(ids, "vectors")
        view = self._store.view()
        if view is None:
            raise KeyError(ids[0] if ids else "")
        numbers = {id: self.file_ids([id]) for id in ids}
        rows = self._store.rows(view.space).of_files([number for found in numbers.values() for number in found])
        embedding_of = {row.file_id: row.embedding_id for row in rows}
        try:
            return view.vectors([embedding_of[numbers[id][0]] for id in ids])
        except (KeyError, IndexError) as error:
            raise KeyError(f"no vector for some of {list(ids)[:5]}") from error

    def file_ids(self, ids: Sequence[str]) -> list[int]:
        """Row numbers of photos by their ids; unknown ids are left out."""
        numbers = [int(id[len(FILE_ID_PREFIX) :]) for id in ids if _FILE_ID.fullmatch(id)]
        names = [name for id in ids if not _FILE_ID.fullmatch(id) and (name := indexing.app_name(id)) is not None]
        return numbers + (self._store.catalog.app_file_ids(indexing.APP_ROOT, names) if names else [])

    def _in_storage(self, where: Condition | None) -> Condition | None:
        return replace_ids(where, self.file_ids) if where is not None else None

    # Encoding

    def _terms(self, view: View, parts: Sequence[Part], vectors: Sequence[NDArray[np.float32]]) -> list[Term]:
        of_texts = iter(vectors)
        return [
            Term(part.text, next(of_texts), part.weight)
            if isinstance(part, Words)
            else Term(_name(part.picture), self._example(view, part.picture), part.weight)
            for part in parts
        ]

    def _words(self, view: View, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Vectors of texts: from the cache, otherwise from the text tower, which is loaded only then."""
        digest = view.space.checkpoint_digest
        # A command line may hand over bytes that are no text, as lone surrogates.
        texts = [" ".join(text.split()).encode(errors="replace").decode() for text in texts]
        found = {text: self._store.queries.get(digest, text) for text in texts}
        new = [text for text, vector in found.items() if vector is None]
        if new:
            with self._guard:
                tower = self._binding.text(view.space)
            started = time.monotonic()
            for text, vector in zip(new, tower.encode(new), strict=True):
                self._store.queries.put(digest, text, vector)
                found[text] = vector
            log.debug("texts encoded: %d, in %.0f ms", len(new), (time.monotonic() - started) * 1000)
        if len(found) > len(new):
            log.debug("texts asked before, whose vectors the cache has: %d", len(found) - len(new))
        return [vector for text in texts if (vector := found[text]) is not None]

    def _example(self, view: View, picture: PictureLike) -> NDArray[np.float32]:
        """The vector of an example: the stored one where it is a photo of this library, else computed."""
        stored = self._stored_vector(view, picture)
        if stored is not None:
            return stored
        with self._guard:
            tower = self._binding.vision(view.space)
            preprocessing = self._binding.preprocessing(view.space)
        vectors = tower.encode([self._prepared(picture, preprocessing)])
        return np.asarray(vectors[0], dtype=np.float32)

    def _stored_vector(self, view: View, picture: PictureLike) -> NDArray[np.float32] | None:
        """The vector of a photo of this library; None where the view, which may be older than its row, has none."""
        if isinstance(picture, Photo):
            file_ids = self.file_ids([picture.id])
        elif isinstance(picture, str | os.PathLike):
            file_ids = self._store.catalog.file_ids_unchanged(absolute(picture))
        else:
            return None
        rows = self._store.rows(view.space).of_files(file_ids)
        if not rows:
            return None
        try:
            vector = view.vectors([rows[0].embedding_id])[0]
        except KeyError:
            return None
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    def _prepared(self, picture: PictureLike, preprocessing: Preprocessing) -> Picture:
        if isinstance(picture, Photo):
            if picture.path is None:
                raise PhotoUnreadableError(f"the picture {picture.id!r} is no file; give its bytes")
            picture = picture.path
        if isinstance(picture, str | os.PathLike):
            return self._reader.read(absolute_path(picture), os.fspath(picture), preprocessing).picture
        return self._reader.read(picture_bytes(picture), "the example picture", preprocessing).picture


def _asked(query: Query, *, where: Condition | None = None) -> Asked:
    """What the query asks for; `where` only says what a person may have meant.

    Raises:
        UsageError: nothing.
    """
    asked = Asked.of(query)
    if not asked.wanted and not any(part.weight > 0 for part in asked.parts):
        hint = 'give words, as in "a red car", or an example picture'
        if where is not None and not query.parts:
            hint += "; library.photos(where=...) lists photos without a question"
        raise UsageError("nothing to search for", hint=hint)
    return asked


def _name(picture: PictureLike) -> str:
    """How an example is called in `Match.why`."""
    if isinstance(picture, Photo):
        return f"like {picture.path or picture.id}"
    return f"like {os.fspath(picture)}" if isinstance(picture, str | os.PathLike) else "like the example picture"


def _digest(view: View, query: Query, options: PageOptions, where: Condition | None) -> str:
    """Stands for everything that decides the order of an answer, the same in every process.

    So does the model, whose vectors have ids of their own: a cursor names what was shown by these.
    """
    parts = [(_identity(part), part.weight) for part in query.parts]
    asked = (parts, repr(where), view.space.id, view.space.checkpoint_digest)
    how = (options.order, options.min_confidence, options.collapse, options.exact, options.include_missing)
    return hashlib.sha256(repr((asked, how)).encode(errors="surrogatepass")).hexdigest()[:16]


def _identity(part: Part) -> str:
    if isinstance(part, Words):
        return f"words {part.text}"
    picture = part.picture
    if isinstance(picture, Photo):
        return f"photo {picture.id}"
    if isinstance(picture, str | os.PathLike):
        return f"path {absolute(picture)!r}"
    return f"bytes {hashlib.sha256(picture_bytes(picture)).hexdigest()}"


def _is_folder(root: bytes) -> bool:
    return os.path.isdir(root)
