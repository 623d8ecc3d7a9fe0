"""Blocks of work in threads: in order, all of them, and nothing left behind when it ends early."""

import time

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from kgan.searching.threads import in_threads


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
        time.sleep(0.01)
        done.append(item)

    with pytest.raises(ValueError, match="three"):
        list(in_threads(work, range(1_000), most=2))
    assert len(done) < 999


def test_products_take_one_thread_within_and_as_many_as_before_afterwards():
    def count() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        inside, before = [], count()
        items = in_threads(lambda _: inside.append(count()), range(10_000), most=3)
        next(items)
        items.close()
        assert set(before) <= {2}
        assert all(threads == 1 for counts in inside for threads in counts)
        assert len(inside) < 10_000
        assert count() == before
