"""What a shell word expands to: quotes, variables, substitutions, braces and splitting, as in bash."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from typing import Any, Protocol

from .environment import Noting, sets, sums
from .scope import Scope, Value
from .values import HOLES, UNKNOWN, known, merged, names

__all__ = ["Shell", "array_of", "fields", "text_of", "unquoted_ansi"]

_TICKS = re.compile(r"(?<!\\)`((?:[^`\\]|\\.)*)`", re.DOTALL)
_LONGEST_CUT = 1000  # characters of a value that a pattern may be cut from; the time grows with its square
_MOST = 64  # words that one word with braces may become


class Shell(Noting, Protocol):
    """Reads the commands that words contain."""

    def substituted(self, node: Any) -> str:
        """Read the commands in a node, and return what they print as far as that can be known."""


# A piece of a word: its text, and whether it is quoted ("q"), plain ("p"), or the value of an unquoted expansion ("s").
Piece = tuple[str, str]

_ANSI = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "v": "\v"}


def unquoted_ansi(text: str) -> str:
    """Replace the escapes of ``$'...'``, ``printf`` and ``echo -e``."""
    if "\\" not in text:
        return text

    def one(found: re.Match[str]) -> str:
        two, four, eight, octal, control, letter = found.groups()
        if octal:
            return chr(int(octal, 8) & 0xFF)
        if control:
            return chr(ord(control) & 0x1F)
        if letter:
            return _LETTERS.get(letter, letter if letter in "\\'\"?" else "\\" + letter)
        code = int(two or four or eight, 16)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else UNKNOWN

    return _ANSI.sub(one, text)


def text_of(node: Any, shell: Shell) -> str:
    """Return what a word expands to where it is not split, as in an assignment."""
    return "".join(text for text, _ in _pieces(node, shell))


def fields(node: Any, shell: Shell) -> list[str]:
    """Return the words that one word expands to."""
    kind = node.type
    if kind == "word":
        text = node.text.decode()
        if "\\" not in text and "`" not in text:
            return [text]
    elif kind == "raw_string":
        return [_tame(node.text.decode()[1:-1])]
    if (many := _elements(node, shell)) is not None:
        return many
    pieces = _pieces(node, shell)
    words = [pieces]
    if any(kind == "p" and "{" in text for text, kind in pieces):
        words = [
            _joined(word) for word in _braced([(one, kind) for text, kind in pieces for one in (text or ("",))])[:_MOST]
        ]
    made: list[str] = []
    for word in words:
        made += _split(word, shell.scope.value("IFS"))
    return made


def _elements(node: Any, shell: Shell) -> list[str] | None:
    """Return the elements of ``"$@"``, ``${a[@]}`` and the like, each as its own word; None for any other node."""
    inner = node
    if node.type == "string" and node.named_child_count == 1 and node.named_children[0].type != "string_content":
        inner = node.named_children[0]
    if inner.type not in ("simple_expansion", "expansion") or (
        inner is not node and len(inner.text) + 2 != len(node.text)
    ):
        return None
    found = re.fullmatch(r"\$(?:([@*])|\{([@*])\}|\{(\w+)\[[@*]\]\})", inner.text.decode())
    if found is None:
        return None
    elements = shell.scope.elements(found[1] or found[2] or found[3])
    return [UNKNOWN] if elements is None else list(elements)


def _tame(text: str) -> str:
    """Mark a quoted text whose leading tilde does not mean a home folder."""
    return "./" + text if text.startswith("~") else text


def _joined(word: list[Piece]) -> list[Piece]:
    made: list[Piece] = []
    for text, kind in word:
        if made and made[-1][1] == kind:
            made[-1] = (made[-1][0] + text, kind)
        else:
            made.append((text, kind))
    return made


def _split(word: list[Piece], separators: str | None) -> list[str]:
    """Split the text of unquoted expansions; a word that is only an empty expansion becomes no word."""
    blanks = " \t\n" if separators is None else separators
    made: list[str] = []
    current: str | None = None
    for text, kind in word:
        if kind != "s":
            current = (current or "") + (_tame(text) if kind == "q" and not current else text)
            continue
        for one in text:
            if one in blanks:
                if current is not None:
                    made.append(current)
                current = None
            else:
                current = (current or "") + one
    if current is not None:
        made.append(current)
    return made


def _braced(word: list[Piece]) -> list[list[Piece]]:
    """Expand the first group of braces in a word of single characters, and then the rest."""
    depth, start = 0, -1
    commas: list[int] = []
    for place, (one, kind) in enumerate(word):
        if kind != "p":
            continue
        if one == "{":
            depth += 1
            if depth == 1:
                start, commas = place, []
        elif one == "," and depth == 1:
            commas.append(place)
        elif one == "}" and depth:
            depth -= 1
            inner = word[start + 1 : place]
            choices = _choices(inner, [comma - start - 1 for comma in commas]) if depth == 0 else None
            if choices is not None:
                rests = _braced(word[place + 1 :])
                ahead = word[:start]
                made = [
                    [*ahead, *first, *rest] for choice in choices for first in _braced(choice) for rest in rests[:_MOST]
                ]
                return made[:_MOST]
    return [word]


def _choices(inner: list[Piece], commas: list[int]) -> list[list[Piece]] | None:
    if commas:
        ends = [*commas, len(inner)]
        begins = [0, *(comma + 1 for comma in commas)]
        return [inner[begin:end] for begin, end in zip(begins, ends, strict=True)]
    found = re.fullmatch(r"(-?\d+|\w)\.\.(-?\d+|\w)(?:\.\.-?\d+)?", "".join(text for text, _ in inner))
    if found is None:
        return None
    first, last = found[1], found[2]
    if first.lstrip("-").isdigit() and last.lstrip("-").isdigit():
        low, high = sorted((int(first), int(last)))
        return [[(str(number), "p")] for number in range(low, min(high, low + _MOST) + 1)]
    low, high = sorted((ord(first[0]), ord(last[0])))
    return [[(chr(code), "p")] for code in range(low, min(high, low + _MOST) + 1)]


_WORDS = names("word number extglob_pattern regex test_operator special_variable_name variable_name")


def _pieces(node: Any, shell: Shell) -> list[Piece]:
    kind = node.type
    if kind in _WORDS:
        # Inside a default (${x:-`id`}) the grammar does not parse backticks.
        text = node.text.decode()
        return _plain(text) if "`" not in text else [(_backticked(text, shell), "s")]
    if (one := _PIECES.get(kind)) is not None:
        return [one(node, shell)]
    if kind in ("concatenation", "command_name"):
        made: list[Piece] = []
        for child in node.children:
            made += _pieces(child, shell)
        return made
    if kind == "heredoc_body" and b"`" in node.text:
        _document(node, shell)
    if node.named_child_count:
        shell.substituted(node)
    return _plain(node.text.decode())


def _summed(node: Any, shell: Shell) -> Piece:
    shell.substituted(node)
    sums(shell, node.text.decode(), node)
    return _sum(node.text.decode()), "s"


_PIECES: dict[str, Callable[[Any, Shell], Piece]] = {
    "raw_string": lambda node, shell: (node.text.decode()[1:-1], "q"),
    "ansi_c_string": lambda node, shell: (unquoted_ansi(node.text.decode()[2:-1]), "q"),
    "string": lambda node, shell: (_quoted(node, shell), "q"),
    "translated_string": lambda node, shell: (_quoted(node, shell), "q"),
    "simple_expansion": lambda node, shell: (_variable(node.text.decode()[1:], shell.scope), "s"),
    "expansion": lambda node, shell: (_expansion(node, shell), "s"),
    "command_substitution": lambda node, shell: (shell.substituted(node).rstrip("\n"), "s"),
    "process_substitution": lambda node, shell: (shell.substituted(node), "q"),
    "arithmetic_expansion": _summed,
}
"""Kind of node in the grammar -> the piece it becomes."""


def _plain(text: str) -> list[Piece]:
    if "\\" not in text:
        return [(text, "p")]
    made: list[Piece] = []
    place = 0
    while place < len(text):
        end = text.find("\\", place)
        if end < 0:
            made.append((text[place:], "p"))
            break
        if end > place:
            made.append((text[place:end], "p"))
        if text[end + 1 : end + 2] != "\n":
            made.append((text[end + 1 : end + 2] or "\\", "q"))
        place = end + 2
    return made


def _quoted(node: Any, shell: Shell) -> str:
    """Return the text in double quotes or of a here-document, expanded."""
    raw: bytes = node.text
    start = node.start_byte
    made, place = [], 0
    if node.type == "translated_string":
        return _quoted(node.named_children[0], shell)
    ends = len(raw)
    if node.type == "string":
        place, ends = 1, ends - 1 if raw.endswith(b'"') and ends > 1 else ends
    for child in node.named_children:
        if child.type in ("string_content", "heredoc_content"):
            continue
        begin = child.start_byte - start
        made.append(_unescaped(raw[place:begin].decode()))
        made.append("".join(text for text, _ in _pieces(child, shell)))
        place = child.end_byte - start
    made.append(_unescaped(raw[place:ends].decode()))
    return "".join(made)


def _document(node: Any, shell: Shell) -> None:
    """Read the commands between backticks in a here-document, which the grammar does not parse there."""
    text = bytearray(node.text)
    for child in node.named_children:
        if child.type == "command_substitution":
            begin, end = child.start_byte - node.start_byte, child.end_byte - node.start_byte
            text[begin:end] = b" " * (end - begin)
    _backticked(text.decode("utf-8", "replace"), shell)


def _backticked(text: str, shell: Shell) -> str:
    """Replace the commands between backticks in a text with what they print."""

    def one(found: re.Match[str]) -> str:
        inner = re.sub(r"\\([`$\\])", r"\1", found[1])
        return shell.read(inner, parameters=shell.scope.parameters).rstrip("\n")

    return _TICKS.sub(one, text)


def _unescaped(text: str) -> str:
    return re.sub(r'\\([$`"\\\n])', lambda found: "" if found[1] == "\n" else found[1], text) if "\\" in text else text


def _sum(text: str) -> str:
    """Return the result of simple arithmetic, such as ``$((6 * 7))``."""
    inner = re.fullmatch(r"\$(?:\(\(|\[)([\d\s+*()-]{1,40})(?:\)\)|\])", text)
    if inner is None or "**" in inner[1]:
        return UNKNOWN
    numbers = re.fullmatch(r"\s*(\d+)\s*([+*-])\s*(\d+)\s*|\s*(\d+)\s*", inner[1])
    if numbers is None:
        return UNKNOWN
    if numbers[4]:
        return str(int(numbers[4]))
    one, other = int(numbers[1]), int(numbers[3])
    return str({"+": one + other, "-": one - other, "*": one * other}[numbers[2]])


def _variable(name: str, scope: Scope) -> str:
    if name in ("@", "*"):
        return " ".join(scope.elements(name) or [])
    if name == "#" and scope.parameters is not None:
        return str(len(scope.parameters))
    held = scope.value(name)
    return UNKNOWN if held is None else held


def _expansion(node: Any, shell: Shell) -> str:
    """Expand ``${...}``, with the substitutions in it."""
    signs: list[str] = []
    name, rest = "", []
    for child in node.children[1:-1]:
        if not name and child.type in ("variable_name", "subscript", "special_variable_name"):
            name = child.text.decode()
            if child.type == "subscript":
                shell.substituted(child)
        elif child.is_named and name:
            rest.append(text_of(child, shell))
        else:
            signs.append(child.type)
    before = signs[0] if signs and node.text.startswith(("${" + signs[0]).encode()) else ""
    sign = "".join(signs[len(before) > 0 :])
    held = _held(name, shell.scope)
    if before == "#":
        return UNKNOWN if held is None or not known(held) else str(len(held))
    if before == "!":
        if held is None or not known(held):
            return UNKNOWN
        name, held = held, shell.scope.value(held)
        if not sign:
            return held or UNKNOWN
    if held is not None and node.text.endswith(b"@P}"):
        shell.read(f'echo "{held}"', parameters=shell.scope.parameters)  # a prompt runs its substitutions
    return _changed(held, name, sign, rest, shell)


def _held(name: str, scope: Scope) -> str | None:
    found = re.fullmatch(r"(\w+)\[(.*)\]", name, re.DOTALL)
    if found is None:
        return " ".join(scope.elements(name) or []) if name in ("@", "*") else scope.value(name)
    elements = scope.elements(found[1])
    if elements is None:
        return None
    if found[2] in ("@", "*"):
        return " ".join(elements)
    place = found[2]
    if not re.fullmatch(r"-?\d{1,4}", place):
        return UNKNOWN
    return elements[int(place)] if -len(elements) <= int(place) < len(elements) else ""


def _changed(held: str | None, name: str, sign: str, rest: list[str], shell: Shell) -> str:
    word = rest[0] if rest else ""
    if sign in (":-", "-", ":=", "="):
        value = word if not held or held == UNKNOWN else held
        if "=" in sign and held is None and name.isidentifier():
            sets(shell, name, value)
        return value
    if sign in (":+", "+"):
        return word if held is None or held else ""
    if held is None:
        return UNKNOWN
    change = _CHANGES.get(sign[:1])
    if not known(held):
        return _partly(held, sign, word)
    if not sign or change is None:
        return held if not sign else UNKNOWN
    return change(held, sign, rest)


def _partly(held: str, sign: str, word: str) -> str:
    """Return a partly unknown value after a change; its known beginning tells where a path leads."""
    if not sign or sign[0] in "?:@":
        return held
    if sign == "##" and word == "*/":
        return f"./{merged(held)}"
    head = held[: min(held.find(hole) for hole in HOLES if hole in held)]
    return head + merged(held) if sign[0] in "%/^," else merged(held)


def _cut(held: str, sign: str, rest: list[str]) -> str:
    pattern = rest[0] if rest else ""
    if not known(pattern) or len(held) > _LONGEST_CUT or pattern.count("*") > 3:
        return UNKNOWN
    matches = re.compile(translate(pattern)).match
    ends = [n for n in range(len(held) + 1) if matches(held[:n] if sign[0] == "#" else held[n:])][:4096]
    if not ends:
        return held
    if sign[0] == "#":
        return held[ends[-1] if sign == "##" else ends[0] :]
    return held[: ends[0] if sign == "%%" else ends[-1]]


def _replace(held: str, sign: str, rest: list[str]) -> str:
    pattern, new = (rest[0] if rest else ""), (rest[1] if len(rest) > 1 else "")
    if not known(pattern) or not known(new) or not pattern or len(held) > _LONGEST_CUT or pattern.count("*") > 3:
        return UNKNOWN
    wanted = translate(pattern).removesuffix(r"\Z").removesuffix(r"\z")
    return re.sub(wanted, lambda _: new, held, count=0 if sign.startswith("//") else 1)


def _slice(held: str, sign: str, rest: list[str]) -> str:
    numbers = [one.strip() for one in rest]
    if not numbers or not all(re.fullmatch(r"-?\d{1,6}", one) for one in numbers):
        return UNKNOWN
    begin = int(numbers[0])
    tail = held[begin:] if abs(begin) <= len(held) or begin >= 0 else ""
    return tail if len(numbers) == 1 else tail[: int(numbers[1])] if int(numbers[1]) else ""


def _cased(held: str, sign: str, rest: list[str]) -> str:
    if rest:
        return UNKNOWN
    change = str.upper if sign[0] == "^" else str.lower
    return change(held) if len(sign) == 2 else change(held[:1]) + held[1:]


_CHANGES: dict[str, Callable[[str, str, list[str]], str]] = {
    "#": _cut, "%": _cut, "/": _replace, ":": _slice, "^": _cased, ",": _cased, "?": lambda held, *_: held,
}  # fmt: skip


def array_of(node: Any, shell: Shell) -> Value:
    """Return the elements of ``(a b c)``."""
    made: list[str] = []
    for child in node.named_children:
        made += fields(child, shell)
    return made
