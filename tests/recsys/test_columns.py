"""Growing columns, and views of them."""

from __future__ import annotations

import pickle
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.columns import Column, StringColumn, Strings, find
from tests.support.any_text import any_text


@given(st.lists(st.lists(st.integers(-5, 5), max_size=40), max_size=12))
def test_a_column_is_the_concatenation_of_what_was_added(parts):
    """And every view taken on the way still shows what it showed. Single values may be added by themselves."""
    column, views, so_far = Column(np.int64), [], []
    for part in parts:
        if len(part) == 1:
            column.append(part[0])
        else:
            column.extend(part)
        so_far = so_far + part
        views.append((column.view, so_far))
    assert len(column) == len(so_far)
    for view, expected in views:
        assert view.tolist() == expected


def test_a_column_of_vectors_keeps_its_width():
    """Rows may be arrays."""
    column = Column(np.float32, (3,))
    column.extend(np.ones((20, 3)))
    column.extend(np.zeros((0, 3)))
    column.extend(np.full((20, 3), 2.0))
    assert column.view.shape == (40, 3)
    assert column.view[:20].max() == 1
    assert column.view[20:].min() == 2


@given(st.lists(st.lists(any_text(), max_size=10), max_size=10))
def test_strings_grow(parts):
    """Each string is found at its row, and a column taken earlier is unchanged."""
    strings, expected = Strings(), []
    for part in parts:
        earlier, before = strings.column, list(expected)
        strings.extend(part)
        expected += part
        assert [earlier[i] for i in range(len(earlier))] == before
    assert len(strings) == len(expected)
    assert [strings[i] for i in range(len(strings))] == expected


@pytest.fixture
def hasty_threads():
    """Threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_a_reader_never_sees_unfilled_rows(hasty_threads):
    """While one thread appends 7s, every view of another holds nothing but 7s, in full length."""
    for _ in range(30):
        column, ended, wrong = Column(np.int64), threading.Event(), []

        def read(column=column, ended=ended, wrong=wrong) -> None:
            while not ended.is_set():
                least = len(column)
                view = column.view
                if len(view) < least or (view != 7).any():
                    wrong.append(view)

        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(100):
            column.extend(np.full(13, 7))
        ended.set()
        reader.join()
        assert not wrong


@pytest.mark.parametrize("look", [1, 2])
def test_a_view_is_taken_of_one_moment(look):
    """The column grows after one of the two looks that a view takes: it is the earlier length, fully filled."""
    looks: list[str] = []

    class Growing(Column):
        """Once looks are counted, it grows past its room after one, as a writer in another thread may make it."""

        counted = False

        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if type(self).counted and name in super().__getattribute__("__dict__"):
                looks.append(name)
                if len(looks) == look:
                    type(self).counted = False
                    self.extend(np.full(20, 7))
            return value

    column = Growing(np.int64)
    column.extend(np.full(10, 7))
    Growing.counted = True
    view = column.view
    assert len(column) == 30
    assert len(looks) == look
    assert view.tolist() == [7] * 10


def test_keys_are_found_among_sorted_ones():
    """Where each stands, and -1 for one that does not; nothing stands in an empty column."""
    known = np.array([2, 5, 9], np.uint64)
    assert find(known, np.array([9, 1, 5, 10, 2], np.uint64)).tolist() == [2, -1, 1, -1, 0]
    assert find(known[:0], known).tolist() == [-1, -1, -1]
    assert find(known, known[:0]).tolist() == []


@given(st.lists(any_text(), min_size=1, max_size=10), st.data())
def test_rows_of_a_column_read_as_if_they_were_taken(strings, data):
    """Some rows in any order, rows of these, and a column of several such."""
    column, places = StringColumn.of(strings), st.lists(st.integers(0, len(strings) - 1), max_size=12)
    rows = np.array(data.draw(places), np.int64)
    there, taken = column.at(rows), column.take(rows)
    assert (len(there), there.strings()) == (len(taken), taken.strings())
    assert [there[i] for i in range(len(there))] == taken.strings()
    assert there.take(np.arange(len(there))[::-1]).strings() == taken.strings()[::-1]
    assert StringColumn.concat([there, column, there]).strings() == [*taken.strings(), *strings, *taken.strings()]


def test_rows_of_a_column_travel_without_the_rest_of_it():
    """Pickled, and as the two arrays of a message."""
    column = StringColumn.of([f"item {i}" for i in range(5000)])
    rows = column.at(np.array([4000, 7, 4000]))
    sent = pickle.dumps(rows)
    assert len(sent) < 2000
    assert pickle.loads(sent).strings() == StringColumn(*rows.buffers).strings() == ["item 4000", "item 7", "item 4000"]
    assert len(rows.buffers[1]) == 4
    assert StringColumn(*column.buffers).strings() == column.strings()
