"""The lock that readers share."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from recsys.index.locking import SharedLock

WAIT_S = 30


def test_readers_hold_it_together():
    """Two readers meet inside."""
    lock, inside = SharedLock(), threading.Barrier(2, timeout=WAIT_S)

    def read() -> None:
        with lock.shared():
            inside.wait()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(read), pool.submit(read)]:
            done.result()


def test_a_writer_is_alone():
    """Of 4 writers and 4 readers no one is ever inside together with a writer, and no increment is lost."""
    lock, readers, total = SharedLock(), [0], [0]
    seen: list[int] = []

    def write() -> None:
        for _ in range(200):
            with lock.alone():
                before = total[0]
                seen.append(readers[0])
                total[0] = before + 1

    def read() -> None:
        for _ in range(200):
            with lock.shared():
                readers[0] = 1
                value = total[0]
                assert total[0] == value
                readers[0] = 0

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(f) for f in (write, read) * 4]:
            done.result()
    assert total[0] == 800
    assert not any(seen)


class Entrances:
    """Threads that enter a lock behind a first one, which stays inside until it is told to go, and their order."""

    def __init__(self) -> None:
        self.lock, self.order = SharedLock(), list[str]()
        self.first_in, self.go = threading.Event(), threading.Event()

    def first(self, way: AbstractContextManager[None]) -> None:
        with way:
            self.first_in.set()
            assert self.go.wait(WAIT_S)

    def write(self) -> None:
        with self.lock.alone():
            self.order.append("writer")

    def read(self) -> None:
        with self.lock.shared():
            self.order.append("reader")

    def wait_for(self, readers: int, writers: int) -> None:
        while self.lock.waiting != (readers, writers):
            threading.Event().wait(0.001)


def test_a_waiting_writer_goes_before_later_readers():
    """A reader that comes after a waiting writer is let in behind it."""
    entrances = Entrances()
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(entrances.first, entrances.lock.shared())]
        assert entrances.first_in.wait(WAIT_S)
        done.append(pool.submit(entrances.write))
        entrances.wait_for(0, 1)
        done.append(pool.submit(entrances.read))
        threading.Event().wait(0.05)
        assert entrances.order == []
        entrances.go.set()
        for each in done:
            each.result()
    assert entrances.order == ["writer", "reader"]


def test_waiting_readers_go_before_the_next_writer():
    """Readers that wait while one writes come in when that write ends, though other writers have waited longer."""
    entrances = Entrances()
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(entrances.first, entrances.lock.alone())]
        assert entrances.first_in.wait(WAIT_S)
        done += [pool.submit(entrances.write) for _ in range(2)]
        entrances.wait_for(0, 2)
        done += [pool.submit(entrances.read) for _ in range(3)]
        entrances.wait_for(3, 2)
        entrances.go.set()
        for each in done:
            each.result()
        pool.submit(entrances.write).result(WAIT_S)  # no reader is waited for that came in long ago
    assert entrances.order == ["reader"] * 3 + ["writer"] * 3


def test_readers_without_a_pause_let_a_writer_in():
    """While readers overlap all the time a writer still gets its turn."""
    lock, ended = SharedLock(), threading.Event()

    def read() -> None:
        while not ended.is_set():
            with lock.shared():
                threading.Event().wait(0.002)

    def write() -> None:
        for _ in range(50):
            with lock.alone():
                pass

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            pool.submit(write).result(WAIT_S)
        finally:
            ended.set()
        for done in readers:
            done.result()


def test_an_error_inside_lets_go():
    """What raises inside, reading or writing, leaves the lock free."""
    lock = SharedLock()
    for hold in (lock.shared, lock.alone):
        with contextlib.suppress(ValueError), hold():
            raise ValueError
    with lock.alone():
        pass
