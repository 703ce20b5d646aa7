"""Ids are unique, whatever a program does with Python's random numbers."""

from __future__ import annotations

import random

from pointsman.configs.process.ids import new_id


def test_ids_follow_each_other_in_time_and_differ_where_a_program_seeds_its_random_numbers() -> None:
    ids = []
    for _ in range(100):
        random.seed(7)
        ids.append(new_id())
    assert len({one[12:] for one in ids}) == 100
    assert [one[:12] for one in ids] == sorted(one[:12] for one in ids)
    assert {len(one) for one in ids} == {32}
