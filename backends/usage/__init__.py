"""How providers count: what each tells of a call's usage, read to one form and believed or not at one door."""

from .counting import Doubt, believed, counted
from .seen import StreamUsage

__all__ = ["Doubt", "StreamUsage", "believed", "counted"]
