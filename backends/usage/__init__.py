"""How providers count: what each tells of a call's usage, read to one form and believed or not at one door."""

from .counting import Doubt, counted
from .door import believed
from .seen import StreamUsage

__all__ = ["Doubt", "StreamUsage", "believed", "counted"]
