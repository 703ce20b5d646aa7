"""What git uses in a repository: the files it reads, and the programs and hooks it runs."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..base import ToolFailed
from ..programs import found

__all__ = ["MARKS", "Repository", "is_mark_of_repository", "is_repository"]

_GIT_SECONDS = 10.0
_RUN_BY_GIT = re.compile(
    r"core\.(sshcommand|editor|pager|askpass|gitproxy)|interactive\.difffilter|submodule\..*\.update"
    r"|(alias|pager|filter|diff|merge|difftool|mergetool|guitool|credential|gpg|sequence|trailer|remote|uploadpack"
    r"|hook|sendemail|man|browser|web)\..*"
)
"""Settings of git whose value is a program (git-config(1))."""
_TOP = re.compile(r"[$][(]git rev-parse --show-toplevel[)]|`git rev-parse --show-toplevel`")
_INTERPRETER = re.compile(r"(.*/)?(ba|da|k|z)?sh|(.*/)?(python|perl|ruby|node|deno|php|lua)[0-9.]*|source|\.")
_NO_REPOSITORY = ("not a git repository", "must be run in a work tree", "cannot use bare repository")
"""Git's messages where there is no repository, or no working tree."""
_OF_ONE = ("GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
"""Variables that select a repository regardless of the folder in which git is called."""

MARKS = ("HEAD", "commondir", "objects", "refs")
"""Names by which git recognises a repository, even if it is not called ``.git`` (gitrepository-layout(5))."""
_FOLDED = frozenset(name.lower() for name in MARKS)


def is_mark_of_repository(name: str) -> bool:
    """Return whether a name is one of `MARKS`, ignoring case."""
    return name.lower() in _FOLDED


def is_repository(names: Collection[str]) -> bool:
    """Return whether git treats a folder as a repository, and so obeys the ``config`` in it, whoever wrote that.

    Args:
        names: The names of the folder's entries; only `MARKS` matter, ignoring case.
    """
    names = {name.lower() for name in names}
    return "head" in names and ("commondir" in names or ("objects" in names and "refs" in names))


@dataclass(frozen=True, slots=True)
class Repository:
    """What git reads or runs when it is called in a folder.

    Attributes:
        obeyed: Files and folders, existing or not.
        stamp: Changes when git's configuration may have changed.
    """

    obeyed: tuple[Path, ...]
    stamp: tuple[object, ...]
    _files: tuple[str, ...]

    @classmethod
    def at(cls, folder: Path, root: Path, *, nested: bool) -> Repository:
        """Ask git, with commands that run nothing that a repository specifies.

        Args:
            folder: Where git would be called.
            root: The workspace; programs outside it are ignored.
            nested: Whether the folder has its own repository, to which variables such as GIT_DIR do not apply.

        Raises:
            ToolFailed: If git cannot be asked.
        """
        env = {name: value for name, value in os.environ.items() if not (nested and name in _OF_ONE)}
        own = list(map(os.path.expanduser, ("~/.gitconfig", "~/.config/git/config")))
        files = [str(folder / ".git"), *own]
        obeyed = list(map(Path, own))
        said = _git(folder, env, "rev-parse", "--absolute-git-dir", "--git-common-dir", "--git-path", "hooks")
        if said is not None:
            folders = [folder / line for line in said.splitlines() if line]
            obeyed += folders
            with suppress(OSError):
                obeyed += (Path(hook.path) for hook in os.scandir(folders[-1]) if hook.is_symlink())
            files += (str(place / name) for place in folders[:2] for name in ("HEAD", "config", "config.worktree"))
            files.append(str(folders[-1]))
        if said is not None or any(_leads_below(root, place) for place in own):
            read, named = _configured(folder, root, env)
            files += [*read, *map(str, named)]
            obeyed += named
        whole = tuple(dict.fromkeys(files))
        return cls(tuple(obeyed), _stamp(whole), whole)

    @property
    def is_current(self) -> bool:
        """Whether none of the files it was read from has changed."""
        return _stamp(self._files) == self.stamp


def _stamp(files: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(map(_changed, files))


def _changed(file: str) -> tuple[int, ...] | None:
    with suppress(OSError):
        status = os.stat(file)
        # The time of the ``.git`` folder itself changes with every git command.
        is_main = stat.S_ISDIR(status.st_mode) and os.path.basename(file) == ".git"
        return status.st_dev, status.st_ino, 0 if is_main else status.st_ctime_ns
    return None


def _configured(folder: Path, root: Path, env: Mapping[str, str]) -> tuple[list[str], list[Path]]:
    """Return the configuration files in effect, and which of these and of the files they name are below the root."""
    top = (_git(folder, env, "rev-parse", "--show-toplevel") or "").rstrip("\n") or str(folder)
    listed = (_git(folder, env, "config", "--list", "--includes", "--show-origin", "-z") or "").split("\0")
    read: dict[str, None] = {}
    named: list[Path] = []
    for origin, setting in zip(listed[::2], listed[1::2], strict=False):
        file = os.path.join(folder, origin.removeprefix("file:")) if origin.startswith("file:") else ""
        if file:
            read[file] = None
        places = [file, *_named_by(setting, top, os.path.dirname(file))]
        named += (Path(place) for place in places if _leads_below(root, place))
    return list(read), named


def _leads_below(root: Path, place: str) -> bool:
    return any(root in Path(one).parents for one in (os.path.abspath(place), os.path.realpath(place)))


def _named_by(setting: str, top: str, folder: str) -> Iterator[str]:
    """Yield the files that a git setting names: a file to read, or a program and its arguments.

    Args:
        setting: Its key, a line end, its value.
        top: The top of the working tree, where git runs programs.
        folder: The folder of the configuration file that contains it.
    """
    key, _, value = setting.partition("\n")
    key = key.casefold()
    if key.startswith("include"):
        yield os.path.join(folder, os.path.expanduser(value))
    elif key in ("core.hookspath", "core.fsmonitor", "core.attributesfile", "init.templatedir"):
        yield os.path.join(top, os.path.expanduser(value))
    elif _RUN_BY_GIT.fullmatch(key):
        yield from (os.path.join(top, os.path.expanduser(word)) for word in _programs_in(value, top))


def _programs_in(command: str, top: str) -> Iterator[str]:
    """Yield every word of a command that may be a program's path, existing or not, also below folders it changes to.

    Existing folders are left out, unless code is loaded from them: a search through the sources needs no protection.
    """
    folders = [""]
    for simple in re.split(r"[;&|!(){}`\n]+", _TOP.sub(".", command)):
        words = [word.strip("'\"") for word in simple.split()]
        folders += [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("cd", "pushd", "-C")]
        for at, word in enumerate(words):
            before = words[at - 1] if at else ""
            path = re.sub(r"^-[A-Za-z](?=[./\w]*/)", "", word).rpartition("=")[2]
            found_here = [path] if "/" in path else []
            if before == "-m":
                found_here += [f"{word.replace('.', '/')}{end}" for end in (".py", "/__main__.py")]
            if _INTERPRETER.fullmatch(word):
                found_here += [each for each in words[at + 1 :] if each[:1] not in ("", "-", "$")][:1]
            is_searched = before == "-I" or word.startswith("-I")
            for place in (os.path.join(folder, one) for folder in folders for one in found_here):
                if is_searched or not os.path.isdir(os.path.join(top, os.path.expanduser(place))):
                    yield place


def _git(folder: Path, env: Mapping[str, str], *words: str) -> str | None:
    """Return git's output; None if git is missing or finds no repository there, and so obeys none.

    These commands run nothing that a repository specifies, so the repository may belong to another user.

    Raises:
        ToolFailed: If git cannot be asked, so that it is unknown what it obeys.
    """
    program = found("git")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the words are ours
            [program, "-c", "safe.directory=*", "-C", str(folder), *words],
            env={**env, "LC_ALL": "C"},
            capture_output=True,
            timeout=_GIT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailed(f"git does not say what it obeys in {folder}, so nothing is written: {error}") from error
    if done.returncode == 0:
        return os.fsdecode(done.stdout)
    why = done.stderr.decode(errors="replace").strip()
    if any(known in why for known in _NO_REPOSITORY):
        return None
    raise ToolFailed(f"git does not say what it obeys in {folder}, so nothing is written: {why or 'it died'}")
