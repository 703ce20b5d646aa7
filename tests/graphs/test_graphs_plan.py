"""Plans: what makes one impossible, and what can run when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pointsman.graphs.supervision.plan import Dependents, Plan, PlanStep, in_order, problem
from pointsman.graphs.supervision.standing import Standing


def _plan(*steps: tuple[str, str, list[str]]) -> Plan:
    return Plan(steps=[PlanStep(id=i, agent=a, needs=n) for i, a, n in steps])


def test_a_plan_with_a_circle_is_refused() -> None:
    assert "circle" in str(problem(_plan(("a", "x", ["b"]), ("b", "x", ["a"])), ["x"]))


def test_a_plan_that_needs_what_it_does_not_have_is_refused() -> None:
    assert "not in the plan" in str(problem(_plan(("a", "x", ["z"])), ["x"]))


def test_a_plan_with_an_unknown_agent_is_refused() -> None:
    assert "does not exist" in str(problem(_plan(("a", "ghost", [])), ["x"]))


def test_a_plan_with_the_same_id_twice_is_refused() -> None:
    assert "same id" in str(problem(_plan(("a", "x", []), ("a", "x", [])), ["x"]))


def test_dependents_are_counted_through_others() -> None:
    steps = _plan(("a", "x", []), ("b", "x", ["a"]), ("c", "x", ["b"])).model_dump()["steps"]
    assert [Dependents(steps)[step] for step in "abc"] == [2, 1, 0]


@given(st.data(), st.integers(1, 12))
def test_what_builds_on_a_step_is_counted_once_in_whatever_order_the_steps_stand(
    data: st.DataObject, count: int
) -> None:
    needs = [data.draw(st.sets(st.integers(0, place - 1))) if place else set() for place in range(count)]
    steps = [{"id": str(place), "needs": sorted(map(str, some))} for place, some in enumerate(needs)]
    built = [{place} for place in range(count)]
    for place in reversed(range(count)):
        built[place] |= {later for other in range(count) if place in needs[other] for later in built[other]}
    found = Dependents(data.draw(st.permutations(steps)))
    asked = data.draw(st.permutations(range(count)))
    assert {place: found[str(place)] for place in asked} == {place: len(built[place]) - 1 for place in asked}


@given(st.integers(1, 12))
def test_the_order_given_is_a_plan_that_runs_one_after_the_other(count: int) -> None:
    names = [f"agent{n}" for n in range(count)]
    plan = in_order(names)
    assert problem(plan, names) is None
    steps = plan.model_dump()["steps"]
    done: list[dict[str, str]] = []
    while now := Standing(steps, done).ready:
        assert len(now) == 1
        done.append({"id": now[0]["id"], "status": "done"})
    assert [step["agent"] for step in steps] == names
    assert len(done) == count


def test_a_step_of_the_plan_that_failed_is_known_by_its_word_after_the_run_is_taken_up_too() -> None:
    done = [{"id": name, "status": status} for name, status in (("a", "failed"), ("b", "done"), ("c", "failed"))]
    standing = Standing([{"id": name, "needs": []} for name in "ab"], done)
    assert [record["id"] for record in standing.failed] == ["a"]
