"""Candidates into a page: exact order, ties by path, copies folded into one, nothing twice on two pages."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import Candidates, Embeddings, IdSet, PhotoRow, VectorStore
from photoseek.errors import UsageError, check_whole
from photoseek.search.cursor import Cursor
from photoseek.search.query import Term
from photoseek.search.results import Match, Photo, Results, Verdict, taken_time
from photoseek.search.similar import UNMEASURED, Rule, Shots, fold_similar

log = logging.getLogger(__name__)

Order: TypeAlias = Literal["relevance", "newest"]
Collapse: TypeAlias = Literal["similar"]
Fitting: TypeAlias = Callable[[Sequence[int]], set[int]]
"""Of these files, by id, those that satisfy a filter."""

SPARE = 16
"""Candidates beyond the page, so that a tie across its edge is broken by path and not by chance."""
COLLAPSE_DEPTH = 512
"""Where near-duplicates are folded: candidates at least, so that a group does not depend on the page's size."""
READ_DEPTH = 32
"""The verdict looks at this many of the best candidates, whatever the page."""
CONFIDENT_DEPTH = 4096
"""Photos by score among which the confident ones are looked for; beyond, none is expected."""
FILE_ID_PREFIX = "file-"


@dataclass(frozen=True, slots=True)
class Question:
    """A query, encoded."""

    vector: NDArray[np.float32] | None
    """Unit vector (dim,); None where nothing is ranked by: the newest come first."""
    terms: tuple[Term, ...] = ()
    """Its parts, for `Match.why`."""
    confidence: Callable[[Embeddings], NDArray[np.float32]] | None = None
    """How likely each of these photos (n, dim) shows what the words say: (n,); None where nothing can be said."""
    threshold: float | None = None
    """Confidence from which on a photo counts as found; None without `confidence`."""
    reasons: Callable[[Sequence[int]], Mapping[int, Mapping[str, float]]] | None = None
    """More for `Match.why`, by the ids of files."""
    digest: str = ""
    """Stands for the query with its filters, order and model; binds cursors to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """Which part of the answer is wanted, and in which order."""

    limit: int = 20
    offset: int = 0
    after: str | None = None
    """`next` of the page before."""
    order: Order = "relevance"
    min_confidence: float | None = None
    collapse: Collapse | None = None
    exact: bool = False
    """Score every photo, also where inverted lists would serve."""
    include_missing: bool = False

    def __post_init__(self) -> None:
        check_whole(0, limit=self.limit, offset=self.offset)
        if self.after is not None and not isinstance(self.after, str):
            raise UsageError(f"the place to go on from is a text, not {self.after!r}")
        if self.after is not None and self.offset:
            raise UsageError("give either an offset or the place to go on from")
        if self.order not in ("relevance", "newest"):
            raise UsageError(f"there is no order {self.order!r}", hint='orders are "relevance" and "newest"')
        if self.collapse not in (None, "similar"):
            raise UsageError(f"there is no way {self.collapse!r} to collapse an answer", hint='there is "similar"')
        least = self.min_confidence
        if least is not None and not (isinstance(least, Real) and 0 <= least <= 1):
            raise UsageError(f"min_confidence must be a number from 0 to 1, not {least!r}")


def rank(
    store: VectorStore,
    question: Question,
    options: PageOptions,
    *,
    allowed: IdSet | None = None,
    fitting: Fitting | None = None,
    online: Callable[[bytes], bool] = lambda root: True,
    rule: Rule = UNMEASURED,
    undated: int = 0,
) -> Results:
    """One page of the matches for a question.

    Args:
        allowed: embeddings to search among; all visible ones without it.
        fitting: which files satisfy the filter that `allowed` comes from; of copies, one of these is shown.
        online: can files below this root path be opened now?
        rule: which photos are one moment, where near-duplicates are folded.
    Raises:
        UsageError: `options.after` is no place to go on from; the newest confident photos were asked for, and
            nothing can be said about confidence.
    """
    return _Ranking(store, question, options, allowed, fitting, online, rule).page(undated)


class _Ranking:
    """One search; keeps what its steps share."""

    def __init__(
        self,
        store: VectorStore,
        question: Question,
        options: PageOptions,
        allowed: IdSet | None,
        fitting: Fitting | None,
        online: Callable[[bytes], bool],
        rule: Rule,
    ) -> None:
        self._store, self._question, self._options = store, question, options
        self._allowed, self._fitting, self._online, self._rule = allowed, fitting, online, rule
        self._dated: NDArray[np.int64] | None = None
        self._looked_up: dict[int, list[PhotoRow]] = {}
        self._read: dict[int, float] = {}
        self._before = Cursor.decode(options.after, question.digest) if options.after is not None else None
        self._shown = self._before.shown if self._before is not None else frozenset[int]()
        self._newest = self._before.newest if self._before is not None else store.last_id
        self._threshold = options.min_confidence if options.min_confidence is not None else question.threshold
        by_date = question.vector is None
        self._selective = (options.order == "newest" and not by_date) or options.min_confidence is not None
        if self._selective and question.confidence is None:
            raise UsageError(
                "nothing can be said about how likely photos show this: the query has no words, or its model was"
                " never calibrated",
                hint="leave out `min_confidence` and `order` (--min-confidence, --order)",
            )

    def page(self, undated: int) -> Results:
        """The page that the options ask for."""
        wanted = self._options.offset + self._options.limit
        candidates, chosen = self._chosen(len(self._shown) + wanted)
        log.debug("%d candidates, %s", len(candidates.ids), "exact" if candidates.exact else "from inverted lists")
        pool = [id for id in chosen if id not in self._shown]
        scores = dict(zip(candidates.ids.tolist(), candidates.scores.tolist(), strict=True))
        groups = self._ordered(pool, scores, wanted)
        ids = list(groups)[self._options.offset : wanted]
        best = candidates.ids[:READ_DEPTH].tolist()
        confident = self._confident(list({*best, *ids}))
        more = len(pool) > len(groups) or len(groups) > wanted
        return Results(
            self._matches(ids, groups, scores, chosen, confident),
            exact=candidates.exact,
            undated=undated,
            verdict=self._verdict(best, confident),
            threshold=self._threshold,
            next=functools.partial(self._cursor, list(groups)[:wanted] if more and ids else [], candidates.exact),
            count_above=self._count_above,
        )

    def _chosen(self, count: int) -> tuple[Candidates, dict[int, list[int]]]:
        """Candidates, and those that may be shown, best first, each with those that it stands for.

        More than `count` of them, or all there are.
        """
        depth = max(count + SPARE, CONFIDENT_DEPTH if self._selective else READ_DEPTH)
        if self._options.collapse:
            depth = max(depth, COLLAPSE_DEPTH)
        exact = self._options.exact or (self._before is not None and self._before.exact)
        while True:
            candidates = self._search(depth, exact=exact)
            ended = len(candidates.ids) < depth
            ids = candidates.ids.tolist()
            if self._selective:
                ids = self._above(ids)
            chosen = self._folded(ids) if self._options.collapse else {id: [] for id in ids}
            if len(chosen) > count or self._selective or (ended and candidates.exact):
                return candidates, chosen
            if ended:
                exact = True  # the probed lists hold no more; the library may
            else:
                depth *= 4

    def _folded(self, ids: list[int]) -> dict[int, list[int]]:
        files = self._files(ids)
        kept = [id for id in ids if id in files]
        if not kept:
            return {}
        rows = [files[id][0] for id in kept]
        shots = Shots.of(rows, self._store.vectors(kept), self._store.fingerprints(kept))
        groups = fold_similar(shots, self._rule)
        return {kept[group[0]]: [kept[place] for place in group[1:]] for group in groups}

    def _search(self, depth: int, *, exact: bool) -> Candidates:
        """The `depth` best of those that were there at the first page, or all of them."""
        newer = 0
        while True:
            found = self._found(depth + newer, exact=exact)
            old = found.ids <= self._newest
            if len(old) - int(old.sum()) <= newer or len(found.ids) < depth + newer:
                return Candidates(found.ids[old][:depth], found.scores[old][:depth], found.exact)
            newer = len(old) - int(old.sum())

    def _found(self, count: int, *, exact: bool) -> Candidates:
        """The `count` best of all."""
        if self._question.vector is not None:
            return self._store.search(self._question.vector, count, allowed=self._allowed, exact=exact)
        if self._dated is None:
            assert self._allowed is not None, "a question without words or pictures has a condition"
            ids = self._allowed.ids().tolist()
            dated = self._store.by_date(ids, include_missing=self._options.include_missing)
            self._dated = np.array(dated, dtype=np.int64)
        first = self._dated[:count]
        return Candidates(first, np.ones(len(first), dtype=np.float32), exact=True)

    def _ordered(self, pool: list[int], scores: dict[int, float], wanted: int) -> dict[int, list[PhotoRow]]:
        """The files of at least the first `wanted` photos of the pool, in the order of the answer."""
        if self._question.vector is None:
            groups = self._files(pool)
            return {id: groups[id] for id in pool if id in groups}
        if self._options.order == "newest":
            groups = self._files(pool)
            dated = sorted(groups.items(), key=lambda pair: pair[0])
            dated.sort(key=lambda pair: pair[1][0].camera.taken_at or "", reverse=True)
            return dict(dated)
        cut = scores[pool[min(wanted, len(pool)) - 1]] if pool and wanted else np.inf
        groups = self._files([id for id in pool if scores[id] >= cut])
        return dict(sorted(groups.items(), key=lambda pair: (-scores[pair[0]], pair[1][0].path)))

    def _files(self, ids: list[int]) -> dict[int, list[PhotoRow]]:
        """The files of each embedding; each is looked up once. Those without a file that may be shown are left out."""
        new = [id for id in ids if id not in self._looked_up]
        rows = self._store.rows(new, include_missing=self._options.include_missing) if new else []
        found = fold(rows, self._online, self._fitting)
        self._looked_up.update((id, found.get(id, [])) for id in new)
        return {id: self._looked_up[id] for id in ids if self._looked_up[id]}

    # What is said about them

    def _matches(
        self,
        ids: list[int],
        groups: dict[int, list[PhotoRow]],
        scores: dict[int, float],
        chosen: dict[int, list[int]],
        confident: dict[int, float],
    ) -> list[Match]:
        if not ids:
            return []
        others = self._files([other for id in ids for other in chosen[id]]) if self._options.collapse else {}
        cosines = self._cosines(ids)
        reasons = self._reasons([row for id in ids for row in groups[id]])
        labels = [term.label for term in self._question.terms]
        first = len(self._shown) + self._options.offset + 1
        matches = []
        for place, id in enumerate(ids):
            fields = photo_fields(groups[id], self._online)
            # float32; as such it is written, so that a printed score compares equal to a computed one.
            fields["score"] = scores[id]
            fields["confidence"] = confident.get(id)
            fields["why"] = dict(zip(labels, cosines[place], strict=True)) | reasons.get(id, {})
            fields["rank"] = first + place
            fields["similar"] = tuple([photo_id(others[other][0]) for other in chosen[id] if other in others])
            matches.append(Match.of_fields(fields))
        return matches

    def _cosines(self, ids: list[int]) -> list[list[float]]:
        """Of each photo with each term of the question."""
        if not self._question.terms:
            return [[] for _ in ids]
        terms = np.stack([term.vector for term in self._question.terms], axis=1)
        cosines: list[list[float]] = (self._store.vectors(ids) @ terms).tolist()
        return cosines

    def _reasons(self, rows: Sequence[PhotoRow]) -> dict[int, dict[str, float]]:
        """By embedding, what the question knows of the files that show it."""
        if self._question.reasons is None:
            return {}
        of_files = self._question.reasons([row.file_id for row in rows])
        found: dict[int, dict[str, float]] = {}
        for row in rows:
            found.setdefault(row.embedding_id, {}).update(of_files.get(row.file_id, {}))
        return found

    def _confident(self, ids: list[int]) -> dict[int, float]:
        """How likely each of them shows what the words say, each read once; empty where nothing can be said."""
        if self._question.confidence is None:
            return {}
        new = [id for id in ids if id not in self._read]
        if new:
            confident = self._question.confidence(self._store.vectors(new))
            self._read.update(zip(new, confident.tolist(), strict=True))
        return {id: self._read[id] for id in ids}

    def _above(self, ids: list[int]) -> list[int]:
        """Those that reach the threshold, in order."""
        confident, threshold = self._confident(ids), self._threshold or 0.0
        return [id for id in ids if confident[id] >= threshold]

    def _verdict(self, best: list[int], confident: dict[int, float]) -> Verdict:
        if self._threshold is None:
            return "uncalibrated"
        return "found" if any(confident[id] >= self._threshold for id in best) else "nothing"

    def _count_above(self) -> int | None:
        if self._threshold is None:
            return None
        return len(self._above(self._search(CONFIDENT_DEPTH, exact=self._options.exact).ids.tolist()))

    def _cursor(self, shown: list[int], exact: bool) -> str | None:
        if not shown:
            return None
        return Cursor(self._question.digest, self._newest, self._shown.union(shown), exact).encode()


def fold(
    rows: Iterable[PhotoRow], online: Callable[[bytes], bool], fitting: Fitting | None = None
) -> dict[int, list[PhotoRow]]:
    """By embedding, all files that show the picture: those that fit, then those that can be opened, then by path."""
    groups: dict[int, list[PhotoRow]] = {}
    for row in rows:
        groups.setdefault(row.embedding_id, []).append(row)
    several = [group for group in groups.values() if len(group) > 1]
    fit = fitting([row.file_id for group in several for row in group]) if several and fitting is not None else set()

    def place(row: PhotoRow) -> tuple[bool, bool, bool, bool, bytes]:
        reachable = _reachable(row, online)
        return row.file_id not in fit, row.missing, not reachable, row.root_kind == "app", row.path

    for group in several:
        group.sort(key=place)
    return groups


def photo_of(group: Sequence[PhotoRow], online: Callable[[bytes], bool]) -> Photo:
    """The photo that these files show, the first of them standing for it."""
    return Photo.of_fields(photo_fields(group, online))


def photo_fields(group: Sequence[PhotoRow], online: Callable[[bytes], bool]) -> dict[str, Any]:
    """What a `Photo` of these files is made of (`Photo.of_fields`)."""
    first = group[0]
    camera = first.camera
    ids = tuple([photo_id(row) for row in group])
    return {
        "id": ids[0],
        "files": tuple([row.path for row in group if row.root_kind == "folder"]),
        "ids": ids,
        "digest": first.digest.hex(),
        "size": first.size,
        "modified_at": datetime.fromtimestamp(first.mtime_ns / 1e9, UTC) if first.mtime_ns else None,
        "format": first.format,
        "width": first.width,
        "height": first.height,
        "taken_at": taken_time(camera.taken_at, camera.taken_offset_minutes),
        "taken_source": camera.taken_source,
        "camera_make": camera.camera_make,
        "camera_model": camera.camera_model,
        "lens": camera.lens,
        "latitude": camera.latitude,
        "longitude": camera.longitude,
        "orientation": camera.orientation,
        "rating": camera.rating,
        "title": camera.title,
        "captions": camera.captions,
        "keywords": camera.keywords,
        "offline": not _reachable(first, online),
        "missing": first.missing,
    }


def photo_id(row: PhotoRow) -> str:
    """The id that apps see."""
    return os.fsdecode(row.path) if row.root_kind == "app" else f"{FILE_ID_PREFIX}{row.file_id}"


def _reachable(row: PhotoRow, online: Callable[[bytes], bool]) -> bool:
    return row.root_kind == "app" or (row.root_online and online(row.root_path))
