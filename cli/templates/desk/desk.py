"""A support desk for a small plant shop. Change it: it is yours.

pointsman run                                   the sample messages
pointsman run "How long does delivery take?"    one message
pointsman run desk.py:orders "Where is order A-1001?"    an agent with a tool; needs a key or a local model
pointsman run desk.py:service "Cancel order A-1001"     an agent whose act waits for you; likewise
pointsman graph                                 what happens to a message
"""

from pathlib import Path

from pointsman import Agent, support_desk, tool

HERE = Path(__file__).parent

# Every message is classified by example, then answered from knowledge/ with the sentence that holds the answer, or
# handed to a person. Without a key all of that runs on this machine. High-risk steps go to the strongest model that
# there is a key for, or to a person if there is none.
flow = support_desk(
    name="plant-shop",
    intents=HERE / "examples" / "intents.csv",
    urgency=HERE / "examples" / "urgency.csv",
    sentiment=HERE / "examples" / "sentiment.csv",
    knowledge=HERE / "knowledge",
    high_risk=["account_taken_over", "refund_missing"],
)

ORDERS = {
    "A-1001": "sent on Monday with the parcel service, due on Thursday",
    "A-1002": "being packed, leaves tomorrow",
}


# A tool is a function with types, a docstring and an effect: read, write, external or destructive. The effect decides
# which models may use it, and whether a person has to approve a call.
@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up where an order is.

    Args:
        order_id: The order's number, such as A-1001.
    """
    return ORDERS.get(order_id.strip().upper(), "there is no such order")


# An act that cannot be undone is destructive: each call waits for a person, who sees its exact arguments.
@tool(effect="destructive")
def cancel_order(order_id: str) -> str:
    """Cancel an order for good.

    Args:
        order_id: The order's number, such as A-1001.
    """
    found = ORDERS.pop(order_id.strip().upper(), None)
    return f"{order_id} is cancelled" if found else "there is no such order"


orders = Agent(
    "orders",
    tier="economy",
    instructions="Tell the customer where their order is. Look it up; never guess.",
    tools=[order_status],
)
service = Agent(
    "service", kind="act", instructions="Do what the customer asks for with their order.", tools=[cancel_order]
)
