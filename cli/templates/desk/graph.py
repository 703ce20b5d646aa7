"""The workflow that LangGraph's own server opens, as langgraph.json says: a plain LangGraph graph.

pip install "langgraph-cli[inmem]"
langgraph dev                                   POINTSMAN_OFFLINE=1 before it simulates the models

The server brings checkpoints of its own, so this graph has none. Acts that wait are answered in its inbox.
"""

from desk import service
from pointsman import Workflow

graph = Workflow("service", agents=[service]).compile()
