"""An agent that names the tools of an installed package.

pointsman run examples/plugin/clerk.py:clerk 'Please parcel_status "P-7"'
"""

from pointsman import Agent

clerk = Agent(
    "clerk",
    instructions="Answer questions about parcels, and have one brought back where you are told to.",
    tools=["parcel_status", "parcel_return"],
    kind="act",
)
