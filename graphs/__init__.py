"""Graphs: agents composed into LangGraph workflows."""
