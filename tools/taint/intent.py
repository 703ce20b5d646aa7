"""Whether a text asks for what a tool does, judged by the verbs of both."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

__all__ = ["asked_for", "orders_in", "without_prohibitions"]

_ACTS: Final = (
    "delete remove cancel erase drop clear wipe purge discard unsubscribe revoke kick ban trash uninstall destroy",
    "send mail email message reply respond answer forward tell write post publish share notify contact text dm inform "
    "announce ask say let ping",
    "pay transfer refund wire buy purchase order settle reimburse send give donate tip subscribe checkout",
    "create add make new schedule set register open start plan put append insert include note write save generate "
    "upload prepare arrange setup",
    "book reserve reservation booking order rent hire",
    "update change edit modify adjust rename replace move reschedule correct fix set increase decrease raise lower "
    "switch renew extend amend shift postpone convert mark assign",
    "invite add share grant give let join enroll enrol include",
    "run execute deploy install build restart start stop launch trigger approve merge submit apply enable disable turn "
    "switch lock unlock",
    "visit open read browse fetch look see check go get find download summarize summarise search retrieve view",
)
_CLASSES: Final = tuple(frozenset(words.split()) for words in _ACTS)
_ALL_ACTS: Final[frozenset[str]] = frozenset().union(*_CLASSES)
_OTHER_ACTS: Final = (
    "reset confirm verify validate click login log sign provide disclose reveal expose leak claim redeem scan paste"
    " attach copy enter submit hand supply surrender authorize authorise download"
)
_ASKED_OF_PEOPLE: Final = frozenset(_OTHER_ACTS.split())
"""What a text may ask people to do, whichever tool that takes."""
_SENTENCE: Final = re.compile(r"(?<=[.!?;:])\s+|\n+")
_ADDRESSED: Final = re.compile(
    r"\b(?:please|kindly|you|your|must|should|shall|have to|need to|needs to|make sure|ensure|do not|don't|never|"
    r"always|ignore|disregard|instead|immediately|urgent|urgently|first|then|next|after that|let's|assistant|agent|"
    r"ai|model|system|instruction|instructions|important)\b",
    re.IGNORECASE,
)
_PROHIBITED: Final = re.compile(
    r"\b(?:do not|don['’]?t|never|must not|mustn['’]?t|not to|except|other than|instead of|rather than|not(?=\W+\d))\b"
    r"(?!\s+(?:forget|hesitate|worry|mind|miss|fail)\b)"
    r".*?(?=[,;!?\n]|\.\s|\bbut\b|\.?$)",
    re.IGNORECASE,
)
"""What a text says must not be done, up to the end of the clause."""
_ENDINGS: Final = re.compile(r"(?:ing|ed|es|s|e)$")


def _stem(word: str) -> str:
    if len(word) < 4:
        return word
    stem = _ENDINGS.sub("", word)
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem


_LEFT_TO_OTHERS: Final = "handle fix resolve sort complete process deal manage proceed continue take"
_DELEGATES: Final = frozenset(map(_stem, _LEFT_TO_OTHERS.split()))
"""Verbs that leave it to the reader what to do."""
_STEMS: Final = tuple(frozenset(_stem(word) for word in words) for words in _CLASSES)


def asked_for(words: Collection[str], name: str, description: str = "") -> bool:
    """Whether words ask for what a tool of this name does.

    Args:
        words: The words of a text, as `tokens` returns them.
        name: The tool's name.
        description: If the name has no known verb, the first one in the first sentence of this decides.
    """
    said = {_stem(word) for word in words}
    parts = [_stem(part.casefold()) for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    verbs = [part for part in parts if any(part in stems for stems in _STEMS)]
    if not verbs:
        told = re.findall(r"[a-z]+", description.casefold().partition(".")[0])
        verbs = [stem for word in told if any((stem := _stem(word)) in stems for stems in _STEMS)][:1] or parts
    # The first verb of a name is the action, the rest are its objects.
    alike = {verbs[0]}.union(*(stems for stems in _STEMS if verbs[0] in stems)) if verbs else set(parts)
    if not said.isdisjoint(alike):
        return True
    nouns = [part for part in parts if part not in verbs and len(part) > 3]
    return not (said.isdisjoint(nouns) or said.isdisjoint(_DELEGATES))


def without_prohibitions(text: str) -> str:
    """Return a user's words without their prohibitions, so that a name in a prohibition does not count as named."""
    return _PROHIBITED.sub(" ", text)


def orders_in(text: str) -> list[str]:
    """Return the sentences that tell somebody to do something: they begin with a verb, or address a reader."""
    found = []
    for sentence in _SENTENCE.split(text):
        words = re.findall(r"[a-z']+", sentence.casefold())
        if not words:
            continue
        acts = [word for word in words if _is_act(word)]
        if acts and (_is_act(words[0]) or _ADDRESSED.search(sentence)):
            found.append(sentence)
    return found


def _is_act(word: str) -> bool:
    # Only verbs in their base form: other forms report an action and do not ask for it.
    return word in _ALL_ACTS or word in _ASKED_OF_PEOPLE
