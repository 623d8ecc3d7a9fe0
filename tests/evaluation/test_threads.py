"""Blocks of work in threads: in order, all of them, and nothing left behind when it ends early."""

import ctypes
import threading

import numpy as np
import pytest

from kgan.evaluation import threads
from kgan.evaluation.threads import in_threads


def test_all_is_done_and_comes_back_in_order():
    done = []
    assert list(in_threads(done.append, range(100), most=4)) == list(range(100))
    assert sorted(done) == list(range(100))
    assert list(in_threads(done.append, range(0), most=4)) == []


def test_a_mistake_comes_out_and_stops_the_rest():
    done = []

    def work(item):
        if item == 3:
            raise ValueError("three")
        done.append(item)

    with pytest.raises(ValueError, match="three"):
        list(in_threads(work, range(10_000), most=2))
    assert len(done) < 9_999


def test_products_take_one_thread_within_and_as_many_as_before_afterwards():
    library = ctypes.CDLL(np.linalg._umath_linalg.__file__)
    if not hasattr(library, "scipy_openblas_get_num_threads64_"):
        pytest.skip("NumPy is not linked with its own OpenBLAS")
    count, inside = library.scipy_openblas_get_num_threads64_, []
    before = count()
    items = in_threads(lambda _: inside.append(count()), range(10_000), most=3)
    next(items)
    items.close()
    assert set(inside) == {1}
    assert len(inside) < 10_000
    assert count() == before


def test_where_products_cannot_be_kept_to_one_thread_there_is_one_worker(monkeypatch):
    monkeypatch.setattr(threads.ctypes, "CDLL", lambda _: object())
    seen = set()
    assert list(in_threads(lambda _: seen.add(threading.get_ident()), range(50), most=4)) == list(range(50))
    assert len(seen) == 1
