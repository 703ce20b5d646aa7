"""The statements of a shell: the order in which their commands run, and what is known at each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from .calls import Judge
from .environment import sets, sums
from .evaluation import expanded_again, subscripts
from .expansion import array_of, fields, text_of
from .redirects import Walker, redirected
from .values import UNKNOWN

__all__ = ["STATEMENTS", "Reader"]

_ITEMS = 6  # items of a list for which the loop's body is read one by one


class Reader(Walker, Judge, Protocol):
    """Reads a whole text."""

    def statements(self, node: Any, stdin: str | None) -> str:
        """Read the statements among a node's children, and the substitutions in the other children."""

    def substitutions(self, node: Any) -> None:
        """Read every substitution in an expression, at any depth."""

    def called(self, node: Any, words: list[str], stdin: str | None) -> str:
        """Judge a simple command; return what it prints."""

    def function_run(self, name: str, parameters: list[str] | None) -> str:
        """Read a function's body."""


def _any(reader: Reader, node: Any, stdin: str | None) -> str:
    return reader.statements(node, stdin)


def _compound(reader: Reader, node: Any, stdin: str | None) -> str:
    if node.children[0].type == "((":
        sums(reader, node.text.decode(), node)
    return reader.statements(node, stdin)


_TEXTS = ("string", "raw_string", "ansi_c_string", "word")


def _test(reader: Reader, node: Any, stdin: str | None) -> str:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.type in _TEXTS and not any(
            "expansion" in part.type or "subst" in part.type for part in one.named_children
        ):
            subscripts(reader, text_of(one, reader))
        else:
            waiting += one.named_children[::-1]
    return reader.statements(node, stdin)


def _redirect(reader: Reader, node: Any, stdin: str | None) -> str:
    return redirected(reader, [node], lambda _: "", stdin)


def _branch(reader: Reader, node: Any, stdin: str | None) -> str:
    reader.scope.branch += 1
    try:
        if node.type == "c_style_for_statement":
            sums(reader, node.text.decode().partition("))")[0], node)
        return reader.statements(node, stdin)
    finally:
        reader.scope.branch -= 1


def _list(reader: Reader, node: Any, stdin: str | None) -> str:
    """Read ``a && b || c``, which nests to the left."""
    parts: list[tuple[Any, str]] = []
    while node.type == "list" and len(node.children) == 3:
        parts.append((node.children[2], node.children[1].type))
        node = node.children[0]
    printed = reader.walk(node, stdin)
    branched = 0
    for part, sign in parts[::-1]:
        if sign == "||" and not branched:
            branched = 1
            reader.scope.branch += 1
        printed += reader.walk(part, stdin)
    reader.scope.branch -= branched
    return printed


def _pipeline(reader: Reader, node: Any, stdin: str | None) -> str:
    for child in node.named_children:
        stdin = reader.walk(child, stdin)
    return stdin or ""


def _redirected(reader: Reader, node: Any, stdin: str | None) -> str:
    body = node.child_by_field_name("body")
    parts = [child for child in node.named_children if child != body]
    printed = ""
    # The grammar attaches a redirection to the whole pipe or list, where bash attaches it to the last command.
    while body is not None and body.type in ("pipeline", "list"):
        *before, last = body.named_children
        for child in before:
            said = reader.walk(child, stdin)
            if body.type == "pipeline":
                stdin = said
            else:
                printed += said
        body = last
    return printed + redirected(
        reader, parts, lambda piped: reader.walk(body, piped) if body is not None else "", stdin
    )


def _assignment(reader: Reader, node: Any, stdin: str | None) -> str:
    _assigned(reader, node)
    return ""


def _assigned(reader: Reader, node: Any) -> tuple[str, str]:
    name_node, value_node = node.child_by_field_name("name"), node.child_by_field_name("value")
    name = name_node.text.decode()
    adds = any(child.type == "+=" for child in node.children)
    if value_node is None:
        sets(reader, name, "", node=node, adds=adds)
        return name, ""
    if value_node.type == "array":
        sets(reader, name, array_of(value_node, reader), node=node, adds=adds)
        return name, ""
    value = text_of(value_node, reader)
    if name_node.type == "subscript":
        reader.substitutions(name_node)
        _element(reader, node, name, value)
    else:
        sets(reader, name, value, node=node, adds=adds, plainly=True)
    return name, value


def _element(reader: Reader, node: Any, name: str, value: str) -> None:
    base, _, place = name.rstrip("]").partition("[")
    elements = list(reader.scope.elements(base) or [])
    if place.isdigit() and int(place) < 1000:
        elements += [""] * (int(place) + 1 - len(elements))
        elements[int(place)] = value
        sets(reader, base, elements, node=node)
    else:
        sets(reader, base, [value, UNKNOWN], node=node)


def _refers(words: list[str]) -> bool:
    return any(re.match(r"-\w*n", word) for word in words[1:])


def _declaration(reader: Reader, node: Any, stdin: str | None) -> str:
    words = [node.children[0].type]
    for child in node.named_children:
        if child.type == "variable_assignment" and words[0] not in ("export", "readonly") and _refers(words):
            words.append(text_of(child, reader))
        elif child.type == "variable_assignment":
            _, value = _assigned(reader, child)
            if value.startswith("("):
                expanded_again(reader, value)
        else:
            words += fields(child, reader)
    reader.called(node, words, None)
    return ""


def _function(reader: Reader, node: Any, stdin: str | None) -> str:
    name = node.child_by_field_name("name").text.decode()
    body = node.child_by_field_name("body")
    reader.note("functions", reader.here(node))
    reader.scope.functions[name] = body
    reader.function_run(name, None)
    return ""


def _for(reader: Reader, node: Any, stdin: str | None) -> str:
    name = node.child_by_field_name("variable").text.decode()
    body = node.child_by_field_name("body")
    items: list[str] = []
    for child in node.children_by_field_name("value"):
        items += fields(child, reader)
    if len(items) > _ITEMS:
        items = [*items[:_ITEMS], UNKNOWN]
    elif not items:
        items = list(reader.scope.elements("@") or [UNKNOWN])
    printed = []
    reader.scope.branch += 1
    for item in items:
        reader.scope.forget(name)
        sets(reader, name, item, node=node)
        printed.append(reader.walk(body, stdin))
    reader.scope.branch -= 1
    return "".join(printed)


def _command(reader: Reader, node: Any, stdin: str | None) -> str:
    words: list[str] = []
    redirects = []
    before = dict(reader.scope.variables) if node.children[0].type == "variable_assignment" else None
    for child in node.children:
        if child.type == "variable_assignment":
            _assigned(reader, child)
        elif child.type.endswith("_redirect"):
            redirects.append(child)
        elif child.type == "command_name":
            words += fields(child.children[0], reader)
        else:
            words += fields(child, reader)

    def call(piped: str | None) -> str:
        return reader.called(node, words, piped)

    printed = redirected(reader, redirects, call, stdin) if redirects else call(stdin)
    if before is not None and words:
        reader.scope.variables = before
    return printed


_BRANCHES = ("c_style_for_statement", "while_statement", "if_statement", "case_statement")
_GROUPS = (
    *("program", "variable_assignments", "case_item", "elif_clause", "else_clause", "do_group"),
    *("subshell", "negated_command", "ERROR"),
)
STATEMENTS: dict[str, Callable[[Reader, Any, str | None], str]] = {
    **dict.fromkeys(_GROUPS, _any),
    **dict.fromkeys(_BRANCHES, _branch),
    "command": _command,
    "compound_statement": _compound,
    "list": _list,
    "pipeline": _pipeline,
    "redirected_statement": _redirected,
    "file_redirect": _redirect,
    "variable_assignment": _assignment,
    "declaration_command": _declaration,
    "unset_command": _declaration,
    "function_definition": _function,
    "for_statement": _for,
    "test_command": _test,
}
"""Kind of node in the grammar -> how to read it, given its input; returns what it prints."""
