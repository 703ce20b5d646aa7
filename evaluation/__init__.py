"""Replaying recorded decisions, training routers, and measuring both."""
