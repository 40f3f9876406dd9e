"""Positions of ids: with gaps between them and without."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from photoseek.storage.idset import positions_of

IDS = st.lists(st.integers(1, 60), unique=True, max_size=40).map(sorted)
RUNS = st.tuples(st.integers(1, 30), st.integers(0, 30)).map(lambda run: list(range(run[0], run[0] + run[1])))


@given(stored=IDS | RUNS, wanted=st.lists(st.integers(-5, 70), max_size=30))
def test_positions_are_those_of_the_ids_that_are_there(stored: list[int], wanted: list[int]) -> None:
    expected = [stored.index(id) for id in wanted if id in stored]
    assert positions_of(wanted, np.array(stored, dtype=np.int64)).tolist() == expected


@given(stored=RUNS, data=st.data())
def test_ids_without_gaps_keep_their_order_and_repeats(stored: list[int], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(stored), max_size=30)) if stored else []
    positions = positions_of(np.array(wanted, dtype=np.int64), np.array(stored, dtype=np.int64))
    assert [stored[position] for position in positions] == wanted
