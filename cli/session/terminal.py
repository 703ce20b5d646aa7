"""The session at a terminal: an input line, the answer as it is streamed, and a footer with the cost."""

from __future__ import annotations

import asyncio
import signal
import sys
import termios
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import create_input
from prompt_toolkit.input.typeahead import clear_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import HSplit, Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.output import Output, create_output
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

from ...configs.redact import redact
from ..io.approval import Person, ask
from ..io.fitting import fitted, room
from ..io.live import Live, Printer
from ..io.output import visible
from ..signals import received
from .base import Face, Request
from .history import Kept
from .plain import request_of, unsaid
from .session import COMMANDS
from .spent import Spent, told

if TYPE_CHECKING:
    from ...agents.result import Pending, RunResult
    from ..io.approval import Answers

__all__ = ["Terminal"]

T = TypeVar("T")
_STYLE = Style.from_dict({"bottom-toolbar": "noreverse", "footer": "fg:ansibrightblack", "activity": "italic"})


class _Screen(Printer):
    """The printer of the terminal. During a run it prints above the footer and keeps an unfinished line there.

    Args:
        output: The terminal.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self.begun = ""
        self.app: Application[None] | None = None

    @property
    def columns(self) -> int:
        """Return the width of the terminal."""
        return int(self._output.get_size().columns)

    def say(self, text: str) -> None:
        """Show a line that is not part of the answer."""
        self.end()
        self._above(f"{fitted(redact(text), sys.stdout)}\n")

    def write(self, text: str) -> None:
        """Show a chunk of the answer, broken between words."""
        lines = (self.begun + visible(text)).split("\n")
        over = ""
        for number, one in enumerate(lines):
            rest = one
            while (end := room(rest, self.columns)) < len(rest):
                row, rest = _broken(rest, end)
                over += f"{row}\n"
            if number < len(lines) - 1:
                over += f"{rest}\n"
            else:
                self.begun = rest
        self._above(over)

    def end(self) -> None:
        """End an unfinished line."""
        if self.begun:
            self.write("\n")

    def _above(self, text: str) -> None:
        app = self.app if self.app is not None and self.app.is_running else None
        # A failed write, as to a closed terminal, does not end the run.
        with suppress(OSError):
            if text:
                if app is not None:
                    app.renderer.erase()
                self._output.write_raw(text)
                self._output.flush()
        if app is not None:
            app.invalidate()


def _broken(text: str, end: int) -> tuple[str, str]:
    """Split a text into a row, up to a blank if it has one, and the rest.

    Args:
        text: The text, longer than the row.
        end: How many characters fit in the row.
    """
    blank = text.rfind(" ", 1, end + 1)
    # Do not break a row in its indentation.
    if blank > 0 and text[:blank].strip():
        return text[:blank], text[blank + 1 :]
    return text[:end], text[end:]


class _Live(Live):
    """Shows a run and its current activity."""

    activity = ""

    def show(self, event: Any) -> None:
        """Show one event."""
        from ...graphs.events import Began, Used, Using

        match event:
            case Began(agent=agent):
                self.activity = f"{agent} works"
            case Using(agent=agent, tool=tool):
                self.activity = f"{agent} uses {tool}"
            case Used():
                self.activity = f"{self.activity.partition(' ')[0]} works"
        super().show(event)


class Terminal(Face):
    """The interface to a person at a terminal.

    Args:
        spent: What the session has cost so far.
        state: Folder of the project's state, where the typed lines are kept.
    """

    def __init__(self, spent: Spent, state: Path) -> None:
        super().__init__(spent)
        self._input = create_input(sys.stdin)
        self._output = create_output(sys.stdout)
        self._screen = _Screen(self._output)
        self._person = _Person(self)
        self._live = _Live(printer=self._screen)
        self._gone = False
        commands = WordCompleter([f"/{name}" for name in COMMANDS], meta_dict=None, sentence=True)
        self._lines = self._prompts(
            history=Kept(state), completer=commands, complete_while_typing=False, enable_history_search=True
        )
        self._questions = self._prompts()

    def _prompts(self, **options: Any) -> PromptSession[str]:
        return PromptSession(
            input=self._input,
            output=self._output,
            style=_STYLE,
            key_bindings=_keys(),
            bottom_toolbar=lambda: [("class:footer", self.spent.footer(self._screen.columns))],
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            enable_open_in_editor=True,
            **options,
        )

    def request(self) -> Request | None:
        """Return the next typed request."""
        while not self._gone:
            try:
                typed = self._lines.prompt("> ")
            except EOFError:
                return None
            if (request := request_of(typed)) is not None:
                return request
        return None

    def asked(self, question: str, text: str = "") -> str:
        """Ask for a line; anything typed before the question is discarded.

        Args:
            question: The question.
            text: The initial text of the line.
        """
        clear_typeahead(self._input)
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
        return str(self._questions.prompt(question, default=text))

    def answers(self, waiting: Sequence[Pending]) -> Answers | None:
        """Ask about each act right here, and show what it would change."""
        return ask(waiting, self._person)

    def live(self) -> Live:
        """Return a `Live` that shows tokens and acts as they arrive."""
        self._live = _Live(stream=True, acts=True, printer=self._screen, told=told)
        return self._live

    def say(self, text: str) -> None:
        """Show a text that is not part of an answer."""
        self._screen.say(text)

    def ended(self, outcome: RunResult[Any], live: Live) -> None:
        """Show what was not streamed."""
        if text := unsaid(outcome, live):
            self._screen.write(f"{redact(text)}\n")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine above a footer with activity and cost; Ctrl-C cancels it, and a second leaves the session."""
        stopped, task = self.runner.run(self._shown(work))
        if stopped and (task.cancelled() or received() != signal.SIGINT):
            raise KeyboardInterrupt
        return task.result()

    async def _shown(self, work: Coroutine[Any, Any, T]) -> tuple[bool, asyncio.Task[T]]:
        """Run with the footer shown; return whether the run was stopped, and its finished task."""
        task = asyncio.create_task(work)
        presses = 0

        def stop(_: KeyPressEvent) -> None:
            nonlocal presses
            presses += 1
            self._gone = presses > 1
            self._live.activity = "stopping"
            task.cancel()

        keys = KeyBindings()
        keys.add("c-c")(stop)
        keys.add("<sigint>")(stop)
        app: Application[None] = Application(
            Layout(HSplit([Window(FormattedTextControl(self._below), dont_extend_height=True, wrap_lines=True)])),
            key_bindings=keys,
            style=_STYLE,
            input=self._input,
            output=self._output,
            erase_when_done=True,
        )
        task.add_done_callback(lambda _: app.exit() if app.is_running and not app.is_done else None)
        self._screen.app = app
        try:
            # Output from elsewhere, such as a tool of the user's, is printed above the footer too.
            with patch_stdout(raw=True):
                await app.run_async(set_exception_handler=False)
        except EOFError:
            # The terminal was closed.
            self._gone = True
        except asyncio.CancelledError:
            # A Ctrl-C before the application read keys, or after.
            presses += 1
        self._screen.app = None
        early = not task.done()
        if early:
            task.cancel()
        await asyncio.wait([task])
        self._screen.end()
        return early or presses > 0, task

    def _below(self) -> StyleAndTextTuples:
        """Return the unfinished line, the current activity and the cost."""
        begun = f"{self._screen.begun}\n" if self._screen.begun else ""
        activity = f"{visible(self._live.activity or 'working')} · Ctrl-C stops\n"
        return [("", begun), ("class:activity", activity), ("class:footer", self.spent.footer(self._screen.columns))]


class _Person(Person):
    """The person at this terminal.

    Args:
        terminal: The terminal.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def say(self, text: str) -> None:
        """Tell them something."""
        self._terminal.say(text)

    def asked(self, question: str, default: str = "", *, shown: bool = True) -> str:
        """Ask for a line."""
        given = f" [{default}]" if default and shown else ""
        return self._terminal.asked(f"{question}{given}: ") or default

    def corrected(self, question: str, text: str) -> str:
        """Let the person edit a text in the input line."""
        return self._terminal.asked(f"{question}: ", text)


def _keys() -> KeyBindings:
    """Return the key bindings: Ctrl-C clears the input, or leaves an empty line; Alt-Enter starts a new line."""
    keys = KeyBindings()

    @keys.add("c-c")
    def clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    @keys.add("escape", "enter")
    def begin_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
