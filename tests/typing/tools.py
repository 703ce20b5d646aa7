"""What a type checker says of a user's program with tools, a stop for a person, events and a graph of its own."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=error
from __future__ import annotations

from typing import assert_type

from pointsman import Agent, Effect, Pending, RoutedChatModel, RunResult, Stepped, Workflow, tool


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up an order."""
    return f"{order_id} is on its way"


@tool(effect="read", trust="tool")
def add(one: int, other: int) -> int:
    """Add two numbers."""
    return one + other


@tool(effect=Effect.DESTRUCTIVE)
async def delete(order_id: str) -> str:
    """Delete an order."""
    return order_id


async def asked() -> None:
    """A run stops for a person, is answered and goes on."""
    keeper = Agent("keeper", tools=[order_status, delete], tier="standard", kind="act")
    flow = Workflow("keep", [keeper])
    result = await flow.arun("Delete order 7.", max_cost=1.0, max_steps=9)
    assert_type(result.pending, tuple[Pending, ...])
    answers = {stop.id: "approve" for stop in result.pending}
    assert_type((await flow.aresume(result.run, answers)).cost, float)
    async for event in flow.astream("Look again."):
        if isinstance(event, Stepped):
            print(event.record.output)


def alone() -> None:
    """A routed model is a LangChain model, and an agent runs alone."""
    model = RoutedChatModel(kind="gather", tier="economy", temperature=0.2)
    print(model.invoke("Hello").text)
    assert_type(Agent("alone", tools=[order_status]).run("Where is 7?"), RunResult[str])


def mistaken() -> None:
    """What is misspelt is an error before anything runs."""

    @tool(effect="reads")  # type: ignore[call-overload, untyped-decorator]
    def look() -> str:
        return ""

    Agent("a", tools=[look], kind="gathers")  # type: ignore[call-overload]
    RoutedChatModel(tier="top")  # type: ignore[arg-type]
