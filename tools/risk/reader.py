"""Reading a shell text: its commands in the order in which they run, with what is known at each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ...configs.words import Effect, Risk
from ..base import CallRisk
from .base import CommandRisk, Reason, SimpleCommand
from .calls import Call
from .characters import readable
from .expansion import text_of
from .judge import judged
from .places import Place, place_of
from .rules import RULES
from .scope import Scope
from .statements import STATEMENTS
from .values import DATA, UNKNOWN, known

if TYPE_CHECKING:
    from tree_sitter import Language

__all__ = ["LONGEST", "command_effect", "read_command"]

LONGEST = 16_384
"""Characters of a text that are read; the rest of a longer text is ``unknown``."""
_DEEPEST = 48  # nesting depth of statements and texts
_MOST = 20_000  # statements and words that are read, counting each repeated reading
_MENDED = 2_000_000  # bytes that are scanned again for error recovery, about 0.5 s
_SEPARATED = 8  # passes of separating lines


def read_command(text: str, *, home: str | None = None, variables: Mapping[str, str] = {}) -> CommandRisk:
    """Return what a text would do if bash ran it in the workspace; nothing is run, and no path is looked up.

    Args:
        text: As for ``bash -c``.
        home: The user's home folder, to recognize it in absolute paths; ``/home/NAME``, ``/Users/NAME`` and
            ``/root`` always count as homes.
        variables: Variables the shell will have, which the text may use.
    """
    reader = _Reader(Scope.first(variables, home or ""))
    try:
        reader.whole(text)
    except RecursionError:
        reader.note("too-deep", (0, len(text)))
    except _Enough:
        reader.note("too-much", (0, len(text)))
    except Exception:  # noqa: BLE001 - whatever fails here, a command that was not read must be asked about
        reader.note("fault", (0, len(text)))
    return reader.result()


def command_effect(arguments: Mapping[str, Any]) -> CallRisk:
    """Judge a tool call whose argument ``command`` is run by a shell; an `EffectRule` for tools.

    Args:
        arguments: Validated arguments of the call.

    Returns:
        The worst effect of the command, ``destructive`` if a person must be asked about it, with every reason.
    """
    said = read_command(arguments["command"])
    return CallRisk(said.effect, said.told)


class _Enough(Exception):
    """The text has more parts than the limit."""


@cache
def _language() -> Language:
    import tree_sitter_bash
    from tree_sitter import Language

    return Language(tree_sitter_bash.language())


_FOREIGN = re.compile(rb"[\xc4-\xf7][\x80-\xbf]+")
"""Characters above U+00FF in UTF-8: tree-sitter-bash 0.25.1 looks them up beyond the end of a C table, which can
crash the process. While the text is parsed, one letter per byte replaces each, so that all positions stay the same."""


_OPENED = re.compile(rb"(?m)((?:^|[;&|(])[ \t]*[A-Za-z_]\w*)\[(?=[^]\s]{0,500}\s)(?![^]]{0,500}\]\+?=)")
"""A command whose name has a bracket that its first word does not close; the grammar takes it for an assignment to an
array element. Bash looks for a program with the name up to the closing bracket; other shells stop at the blank."""


def _parsed(data: bytes, instead: bytes = b"") -> Any:
    """Return the root of a text's tree, or None if it has too many errors.

    Args:
        data: The text.
        instead: A text of the same length to parse in its place.

    Tree-sitter's error recovery takes time that grows with the rest of the text, so that work is counted and limited.
    """
    from tree_sitter import Parser

    spent = 0
    source = given = _FOREIGN.sub(lambda found: b"Z" * len(found[0]), instead or data)

    def stops(_: int, errs: bool) -> bool:
        nonlocal spent
        spent += len(given) if errs else 1
        return spent > _MENDED

    def some(offset: int, _: object) -> bytes:
        return source[offset:]

    try:
        tree = Parser(_language()).parse(some, progress_callback=stops)
    except ValueError:  # the parse was stopped
        return None
    # From here on, nodes return the original text.
    source = data
    return tree.root_node


def _separated(data: bytes) -> bytes:
    """Return the text with a semicolon at each line end where the grammar would join the line with the next.

    tree-sitter-bash 0.25 reads the words of a line after a pipe of three as arguments of the previous line if a
    redirection follows, and does the same for a line that begins with a backslash.
    """
    for _ in range(_SEPARATED):
        root = _parsed(data) if b"\n" in data.strip() else None
        places = [] if root is None else _swallowed(root, data)
        if not places:
            break
        changed = bytearray(data)
        for place in places:
            changed[place] = ord(";")
        data = bytes(changed)
    return data


def _swallowed(root: Any, data: bytes) -> list[int]:
    """Return the positions of line ends inside simple commands."""
    places = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        waiting += node.named_children
        if node.type not in ("command", "declaration_command", "unset_command"):
            continue
        end, comment = node.start_byte, False
        for child in node.children:
            begin = child.start_byte + (data[child.start_byte : child.start_byte + 1] == b"\n")
            found = re.search(rb"(?<!\\)\n", data[end:begin])
            if found and not comment:  # the line end of a comment must stay
                places.append(end + found.start())
            end, comment = child.end_byte, child.type == "comment"
    return places


class _Reader:
    """Walks the tree of a text, and of the texts inside it."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._found: dict[tuple[str, str], tuple[int, int]] = {}
        self._effects: set[Effect] = set()
        self._commands: list[SimpleCommand] = []
        self._depth = 0
        self._steps = 0
        self._ascii = True
        self._data = b""
        self._whole = (0, 0)
        self._redirects: list[str] = []
        """Rules that match the redirections of the next command."""
        self._span: tuple[int, int] | None = None
        """The span of the text being read, if it is in an argument of another command."""

    # The result.

    def result(self) -> CommandRisk:
        ordered = sorted(self._found.items(), key=lambda one: -RULES[one[0][0]].risk.rank)
        reasons = tuple(
            Reason(code, RULES[code].text + (f": {_shown(detail)}" if detail else ""), span)
            for (code, detail), span in ordered
        )
        risk = max((RULES[code].risk for code, _ in self._found), default=Risk.LOW)
        return CommandRisk(risk, frozenset(self._effects), reasons, tuple(self._commands))

    def note(self, code: str, span: tuple[int, int], detail: str = "") -> None:
        """Record that a rule matches a part."""
        self._found.setdefault((code, detail), span)
        self._effects.add(RULES[code].effect)

    def whole(self, text: str) -> None:
        """Read the text itself."""
        self._whole = (0, len(text))
        if len(text) > LONGEST:
            self.note("too-long", (LONGEST, len(text)))
        clean, odd = readable(text[:LONGEST])
        for code in odd:
            self.note(code, (0, len(text)))
        self._data = clean.encode()
        self._ascii = len(self._data) == len(clean)
        self._text(self._data)
        for later in self.scope.later[:20]:
            self.read(later)

    # Texts inside texts.

    def read(self, text: str, *, parameters: list[str] | None = None, stdin: str | None = None) -> str:
        """Read a text that a command runs as shell, such as the one of ``sh -c``."""
        if self._depth >= _DEEPEST or len(text) > LONGEST:
            self.note("too-deep", self.here())
            return UNKNOWN
        before, held = self.scope.parameters, self._span
        redirects, self._redirects = self._redirects, []
        self._span = self.here()
        self.scope.parameters = parameters
        try:
            return self._text(text.encode("utf-8", "replace"), stdin)
        finally:
            self.scope.parameters, self._span = before, held
            self._redirects = redirects

    def _text(self, data: bytes, stdin: str | None = None) -> str:
        root = _parsed(_separated(data))
        if root is not None and root.has_error and b"((" in data:
            # A "((" that is not arithmetic is a nested subshell, which the grammar does not parse.
            other = _parsed(data.replace(b"((", b"( ("))
            if other is not None and not other.has_error:
                held, self._span = self._span, self.here(root)
                self.walk(other, stdin)
                self._span = held
        if root is None:
            self.note("unknown-text", self.here())
            return UNKNOWN
        if root.has_error and (instead := _OPENED.sub(rb"\1Z", data)) != data:
            other = _parsed(data, instead)
            root = root if other is None or other.has_error else other
        if root.has_error:
            self.note("unknown-text", self.here(root))
        return self.walk(root, stdin)

    def here(self, node: Any = None) -> tuple[int, int]:
        if self._span is not None:
            return self._span
        if node is None:
            return self._whole
        if self._ascii:
            return node.start_byte, node.end_byte
        start = len(self._data[: node.start_byte].decode("utf-8", "ignore"))
        return start, start + len(node.text.decode("utf-8", "ignore"))

    # Walking.

    def walk(self, node: Any, stdin: str | None = None) -> str:
        """Read a statement; return what it prints."""
        if self._depth >= _DEEPEST:
            self.note("too-deep", self.here(node))
            return UNKNOWN
        self._step()
        self._depth += 1
        try:
            return STATEMENTS.get(node.type, STATEMENTS["program"])(self, node, stdin)
        finally:
            self._depth -= 1

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST:
            raise _Enough

    def statements(self, node: Any, stdin: str | None) -> str:
        """Read the statements among a node's children, and the substitutions in the other children."""
        printed = []
        for child in node.named_children:
            if child.type in STATEMENTS:
                printed.append(self.walk(child, stdin))
            elif child.named_child_count:
                self.substitutions(child)
        return "".join(printed)

    def substitutions(self, node: Any) -> None:
        """Read every substitution in an expression, at any depth."""
        waiting = [node]
        while waiting:
            one = waiting.pop()
            if one.type in ("command_substitution", "process_substitution"):
                self.substituted(one)
            elif one.type in STATEMENTS:
                self.walk(one)
            else:
                waiting += one.named_children[::-1]

    def substituted(self, node: Any) -> str:
        """Read the commands in a substitution; return what they print."""
        if node.type not in ("command_substitution", "process_substitution"):
            self.substitutions(node)
            return UNKNOWN
        held, self._redirects = self._redirects, []
        text = node.text.decode()
        if text.startswith("`") and "\\" in text:
            inner = text[1:-1].replace("\\`", "`").replace("\\$", "$").replace("\\\\", "\\")
            printed = self.read(inner, parameters=self.scope.parameters)
        else:
            printed = self._file_named(node) or self.statements(node, None)
        self._redirects = held
        if node.type == "command_substitution":
            return printed
        path = f"/dev/fd/{len(self.scope.files) + 63}"
        self.scope.write(path, printed)
        return path

    def _file_named(self, node: Any) -> str:
        """Return the contents of FILE for ``$(< FILE)``, or "" for any other substitution."""
        inner = node.named_children
        if len(inner) == 1 and inner[0].type in ("file_redirect", "redirected_statement"):
            self.walk(inner[0])
            return self.scope.files.get(self.scope.path(text_of(inner[0].named_children[-1], self)), DATA)
        return ""

    def function_run(self, name: str, parameters: list[str] | None) -> str:
        scope = self.scope
        if name in scope.stack:
            self.note("exhausts", self.here(), name)
            return UNKNOWN
        before = scope.parameters, scope.stack
        scope.parameters, scope.stack = parameters, (*scope.stack, name)
        try:
            return self.walk(scope.functions[name])
        finally:
            scope.parameters, scope.stack = before

    # Simple commands.

    def run(self, words: list[str], stdin: str | None = None) -> str:
        """Judge a command that another command runs."""
        if self._depth >= _DEEPEST:
            self.note("too-deep", self.here())
            return UNKNOWN
        self._depth += 1
        held, self._span = self._span, self.here()
        try:
            return self.called(None, words, stdin)
        finally:
            self._depth -= 1
            self._span = held

    def called(self, node: Any, words: list[str], stdin: str | None) -> str:
        if not words:
            return ""
        self._step()
        name = words[0]
        span = self.here(node)
        if name in self.scope.functions:
            held, self._span = self._span, span
            printed = self.function_run(name, words[1:])
            self._span = held
            return printed
        if name in self.scope.aliases and name not in self.scope.stack:
            return self._alias(name, words, stdin, span)
        held, self._span = self._span, span
        redirects, self._redirects = self._redirects, []
        call, printed = judged(words, stdin, self)
        self._span = held
        self._record(call, span, redirects)
        return printed

    def _alias(self, name: str, words: list[str], stdin: str | None, span: tuple[int, int]) -> str:
        before = self.scope.stack
        self.scope.stack = (*before, name)
        held, self._span = self._span, span
        try:
            return self.read(" ".join([self.scope.aliases[name], *words[1:]]), stdin=stdin)
        finally:
            self.scope.stack, self._span = before, held

    def _record(self, call: Call, span: tuple[int, int], redirects: list[str]) -> None:
        found = call.found or [("reads", "")]
        for code, detail in found:
            if code != "reads":
                self.note(code, span, " ".join(filter(None, (call.name, detail))))
        rules = [RULES[code] for code in [*(code for code, _ in found), *redirects]]
        self._effects.update(rule.effect for rule in rules)
        self._commands.append(
            SimpleCommand(call.name, span, max(rule.risk for rule in rules), max(rule.effect for rule in rules))
        )

    def redirect(self, node: Any, target: str, *, writes: bool) -> None:
        """Record the rules for a redirection to or from a path."""
        call = Call(">" if writes else "<", [target], None, self)
        if place_of(self.scope.path(target)) is Place.NETWORK or target.startswith(("/dev/tcp/", "/dev/udp/")):
            call.find("reverse-shell", target)
        elif writes:
            call.writes(target)
        else:
            call.reads(target)
        for code, detail in call.found:
            self.note(code, self.here(node), detail)
            self._redirects.append(code)


def _shown(detail: str) -> str:
    """Return a detail on one line, with an ellipsis for each unknown part."""
    if not known(detail):
        detail = "".join("…" if 0xF8F0 <= ord(one) <= 0xF8F2 else one for one in detail)
    detail = " ".join(detail.split())
    return detail if len(detail) <= 120 else detail[:119] + "…"
