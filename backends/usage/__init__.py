"""Convert the usage that providers report into one form, and check in one place whether it is plausible."""

from .counting import Doubt, believed, counted
from .seen import StreamUsage

__all__ = ["Doubt", "StreamUsage", "believed", "counted"]
