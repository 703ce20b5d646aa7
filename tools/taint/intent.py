"""Whether somebody's words ask for what a tool does, by the verbs of both."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

__all__ = ["asked_for"]

_ACTS: Final = (
    "delete remove cancel erase drop clear wipe purge discard unsubscribe revoke kick ban trash uninstall destroy",
    "send mail email message reply respond answer forward tell write post publish share notify contact text dm inform "
    "announce ask say let ping",
    "pay transfer refund wire buy purchase order settle reimburse send give donate tip subscribe checkout",
    "create add make new schedule book reserve set register open start plan put append insert include note write save "
    "generate upload prepare arrange organize organise setup order",
    "update change edit modify adjust rename replace move reschedule correct fix set increase decrease raise lower "
    "switch renew extend amend shift postpone convert mark assign",
    "invite add share grant give let join enroll enrol include",
    "run execute deploy install build restart start stop launch trigger approve merge submit apply enable disable turn "
    "switch lock unlock",
    "visit open read browse fetch look see check go get find download summarize summarise search retrieve view",
)
_CLASSES: Final = tuple(frozenset(words.split()) for words in _ACTS)
_ENDINGS: Final = re.compile(r"(?:ing|ed|es|s|e)$")


def _stem(word: str) -> str:
    if len(word) < 4:
        return word
    stem = _ENDINGS.sub("", word)
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem


_STEMS: Final = tuple(frozenset(_stem(word) for word in words) for words in _CLASSES)


def asked_for(words: Collection[str], name: str, description: str = "") -> bool:
    """Whether words ask for what a tool of this name does.

    Args:
        words: Somebody's, as `tokens` gives them.
        name: The tool's name.
        description: Where neither the name nor the words hold a verb that is known, the first sentence tells.
    """
    said = {_stem(word) for word in words}
    parts = [_stem(part.casefold()) for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    verbs = [part for part in parts if any(part in stems for stems in _STEMS)]
    if not verbs:
        told = re.findall(r"[a-z]+", description.casefold().partition(".")[0])
        verbs = [stem for word in told if any((stem := _stem(word)) in stems for stems in _STEMS)][:1] or parts
    # The first verb of a name says what is done, the rest to what.
    alike = {verbs[0]}.union(*(stems for stems in _STEMS if verbs[0] in stems)) if verbs else set(parts)
    return not said.isdisjoint(alike)
