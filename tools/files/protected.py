"""Paths that no tool and no command may write: what would act later with more authority than an agent has."""

from __future__ import annotations

import os
import re
import subprocess
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import translate
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from ..programs import STARTED, found

__all__ = ["PROTECTED", "Protected"]

PROTECTED = (
    # what version control runs or obeys
    ".git", ".gitmodules", ".gitconfig", ".githooks", ".config/git", ".husky", ".pre-commit-config.yaml",
    "lefthook*", ".lefthook*", ".overcommit.yml", ".simple-git-hooks.*", ".hg", ".hgrc", ".svn", ".bzr", ".jj",
    # what a CI service runs
    ".github", ".gitlab", ".gitlab-ci*", ".ci", ".circleci", ".buildkite", ".travis.yml", ".drone.yml",
    ".woodpecker*", ".gitea", ".forgejo", "Jenkinsfile*", "azure-pipelines*", ".azure-pipelines",
    "bitbucket-pipelines.yml", "appveyor.yml", ".appveyor.yml", ".cirrus.*", ".semaphore", ".teamcity", ".tekton",
    ".build.yml", ".builds", "buildspec.y*ml", "cloudbuild.y*ml", ".readthedocs.y*ml", ".zuul.*", "zuul.yaml",
    "bitrise.yml", "codemagic.yaml", ".scrutinizer.yml", "wercker.yml", "netlify.toml", "vercel.json",
    # what a person runs by a short command, or what is loaded with it
    "Makefile", "GNUmakefile", "*.mk", "justfile", ".justfile", "Taskfile.y*ml", "Rakefile", "package.json",
    ".env", ".env.*", "*.pth", "sitecustomize.py", "usercustomize.py", "pyproject.toml", "setup.py", "tox.ini",
    "noxfile.py", "dodo.py", "fabfile.py", "deno.json*", "gulpfile.*", "Gruntfile.*", "gradlew*", "mvnw*",
    "build.gradle*", "settings.gradle*", "gradle/wrapper", ".mvn", "pom.xml", "build.xml", "build.sbt", "build.rs",
    "Cargo.toml", "composer.json", "Gemfile", "mix.exs", "Package.swift", "Makefile.toml", "bunfig.toml",
    ".pnpmfile.*", ".yarn", ".bazelrc", ".cargo", "Vagrantfile", "Tiltfile", "Procfile", "SConstruct", "wscript",
    "flake.nix", "shell.nix", "default.nix", "devbox.json", "pixi.toml",
    # what is installed, and runs as if it were
    ".venv", "venv", "site-packages", "node_modules", "__pycache__", ".local/bin",
    # what a shell, an editor or a client runs or trusts when it starts
    ".bash*", ".profile", ".zsh*", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc", ".login",
    ".logout", ".inputrc", ".envrc", ".config/fish", ".ssh", ".netrc", ".npmrc", ".pypirc", ".vscode", ".idea",
    "*.code-workspace", ".zed", ".exrc", ".vimrc", ".nvim*", ".dir-locals.el", ".gdbinit", ".lldbinit", ".yarnrc*",
    ".emacs*", ".vim", ".helix", ".kakrc", ".lvimrc", ".ghci", ".Rprofile", ".irbrc", ".pryrc", ".screenrc",
    ".xprofile", ".xsession", ".xinitrc", ".pam_environment", ".curlrc", ".wgetrc", "*.sublime-project",
    ".mise*", "mise*.toml", ".config/mise", ".rtx.toml", ".tool-versions", ".direnv", ".autoenv*", ".config/systemd",
    ".config/autostart", ".config/nvim", ".config/pip",
    ".pip", "pip.conf", ".pdbrc", ".ipython", ".jupyter", ".tmux.conf", ".aws", ".docker", ".gnupg", ".kube",
    # what another agent runs or takes for its user's words
    ".mcp.json", "mcp.json", ".claude", ".cursor", ".codex", ".gemini", ".devcontainer", ".devcontainer.json",
    ".aider*", ".amazonq", ".clinerules", ".continue", ".cursorrules", ".goosehints", ".junie", ".kiro", ".opencode",
    "opencode.json*", ".roo*", ".windsurf*", "AGENTS.md", "CLAUDE.md", "GEMINI.md", ".agents", ".agent", "AGENT.md",
    ".augment*", ".copilot", ".crush*", "CRUSH.md", ".factory", ".kilocode*", ".qwen", "QWEN.md", ".rules", ".trae",
    "WARP.md", ".zencoder",
    # what Pointsman itself obeys
    ".pointsman", ".pointsman-removed*",
    "/pointsman.yaml", "/models.yaml", "/agents.yaml", "/routing.yaml", "/risk.yaml",
    "/configs/models.yaml", "/configs/agents.yaml", "/configs/routing.yaml", "/configs/risk.yaml",
)  # fmt: skip
"""Paths no tool may write: each would act later with more authority than the agent has.

A pattern names a file, or a folder with all in it, anywhere in the workspace; with a leading ``/`` only at its top.
"""

_GIT_SECONDS = 10.0
_WILD = re.compile(r"[*?\[]")
_RUN_BY_GIT = re.compile(
    r"core\.(sshcommand|editor|pager|askpass|gitproxy)|(alias|pager)\..*"
    r"|(filter|diff|merge|difftool|mergetool|credential|gpg|sequence|trailer|remote|uploadpack)\..*"
)
"""Settings of git whose value is a program (git-config(1))."""
_BEFORE_PROGRAM = re.compile(r"\w+=.*|exec|env|nohup|time|if|then|do|else|while|command")
_INTERPRETER = re.compile(r"(.*/)?(ba|da|k|z)?sh|(.*/)?(python|perl|ruby|node|deno|php|lua)[0-9.]*|source|\.")


class Protected:
    """Tells of any path of a workspace whether it may be written.

    Beside `PROTECTED` and what a caller names, that is what git obeys there in fact: the folders to which the ``.git``
    file of a worktree or submodule leads, or the variable GIT_DIR; ``core.hooksPath``; files that its configuration
    includes, and programs that it runs, from this workspace; folders of PATH; and what links lead to, of those at a
    protected path at its top and among the hooks. What a build file or a script calls in its turn is ordinary source,
    and no more protected than that.

    Args:
        root: The workspace, resolved.
        more: What else may not be written: files and folders, there or not, and patterns in the form of `PROTECTED`.
    """

    def __init__(self, root: Path, more: Iterable[Path | str] = ()) -> None:
        self._root = root
        self._more = tuple(more)

    def covering(self, parts: Sequence[str]) -> str | None:
        """The pattern that covers a path or a folder above it, or None where it may be written."""
        ways = accumulate(([part] for part in parts), lambda way, part: way + part)
        return next((pattern for way in ways if (pattern := self.naming(way)) is not None), None)

    def naming(self, parts: Sequence[str]) -> str | None:
        """The pattern that names this very path, or None."""
        # Case and compatibility forms are folded, for file systems that do not tell them apart.
        name = _folded(parts[-1])
        if name in self._names:
            return self._names[name]
        if (globbed := self._globs.fullmatch(name)) is not None:
            return self._patterns[int(str(globbed.lastgroup)[1:])]
        if name not in self._fixed_ends and not self._open_ends:
            return None
        folded = [_folded(part) for part in parts]
        return next((pattern for pattern, rooted, globs in self._paths if _ends(folded, rooted, globs)), None)

    def leading(self, parts: Sequence[str]) -> bool:
        """Whether a protected path may lie below this one: a link here would put another folder in its place."""
        folded = [_folded(part) for part in parts]
        return any(
            _ends(folded, rooted, globs[:size]) for _, rooted, globs in self._paths for size in range(1, len(globs))
        )

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """The paths that are protected in one place alone, relative to the workspace and without any pattern."""
        return tuple(_unescaped(one[1:]) for one in self._patterns if one.startswith("/") and one != "/*")

    @cached_property
    def _patterns(self) -> tuple[str, ...]:
        places = (*self._more, *_obeyed_by_git(self._root), *_on_the_path(self._root))
        whole = dict.fromkeys((*PROTECTED, *_as_patterns(self._root, places)))
        # What these lead to where they, or folders on the way, are links.
        plain = [one.removeprefix("/") for one in whole if not _WILD.search(one)]
        return tuple(dict.fromkeys((*whole, *_as_patterns(self._root, _linked(self._root, plain)))))

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """Every pattern that is one plain name, by that name folded."""
        return {_folded(one): one for one in self._patterns if not _WILD.search(one) and "/" not in one}

    @cached_property
    def _globs(self) -> re.Pattern[str]:
        """Every pattern for one name, in one expression whose groups tell which it was."""
        wild = [(place, one) for place, one in enumerate(self._patterns) if _WILD.search(one) and "/" not in one]
        return re.compile("|".join(f"(?P<p{place}>{translate(_folded(one))})" for place, one in wild))

    @cached_property
    def _paths(self) -> list[tuple[str, bool, list[re.Pattern[str]]]]:
        """Every other: the pattern, whether it begins at the top, and an expression for each of its parts."""
        return [
            (one, one.startswith("/"), [re.compile(translate(_folded(part))) for part in one.split("/") if part])
            for one in self._patterns
            if "/" in one
        ]

    @cached_property
    def _fixed_ends(self) -> frozenset[str]:
        ends = (one.rstrip("/").rpartition("/")[2] for one, _, _ in self._paths)
        return frozenset(_folded(_unescaped(end)) for end in ends)

    @cached_property
    def _open_ends(self) -> bool:
        ends = (one.rstrip("/").rpartition("/")[2] for one, _, _ in self._paths)
        return any(_WILD.search(re.sub(r"\[[\[*?]\]", "", end)) for end in ends)


def _ends(parts: Sequence[str], rooted: bool, globs: Sequence[re.Pattern[str]]) -> bool:
    if len(parts) < len(globs) or (rooted and len(parts) != len(globs)):
        return False
    last = parts[len(parts) - len(globs) :]
    return all(glob.fullmatch(part) for glob, part in zip(globs, last, strict=True))


def _folded(part: str) -> str:
    return part.lower() if part.isascii() else unicodedata.normalize("NFKC", part).casefold()


def _escaped(path: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", path)


def _unescaped(pattern: str) -> str:
    return re.sub(r"\[([\[*?])\]", r"\1", pattern)


def _as_patterns(root: Path, protected: Iterable[Path | str]) -> Iterator[str]:
    """The patterns, and paths that lie in the root as patterns; those that lead there through links too."""
    for path in protected:
        if isinstance(path, str):
            yield path
            continue
        whole = os.path.abspath(path)
        led = os.path.join(os.path.dirname(whole), os.readlink(whole)) if os.path.islink(whole) else whole
        for place in dict.fromkeys(map(Path, (whole, os.path.abspath(led), os.path.realpath(whole)))):
            if root.is_relative_to(place):
                yield "/*"
            elif place.is_relative_to(root):
                yield "/" + _escaped(place.relative_to(root).as_posix())


def _linked(root: Path, paths: Iterable[str]) -> Iterator[Path]:
    """Of paths below the root, those that lead through a link to another place below it, there or not."""
    for path in paths:
        place = root / path
        real = Path(os.path.realpath(place))
        if real != place and root in real.parents:
            yield place


def _on_the_path(root: Path) -> Iterator[Path]:
    """The folders of PATH below the root, and where the root is one itself, the programs that are started by name."""
    for entry in os.get_exec_path():
        whole = os.path.join(root, entry)
        for place in dict.fromkeys((Path(os.path.abspath(whole)), Path(os.path.realpath(whole)))):
            if root in place.parents:
                yield place
            elif place == root:
                yield from (root / name for name in STARTED)


def _obeyed_by_git(root: Path) -> Iterator[Path]:
    """What git reads or runs when somebody calls it in this folder, under the variables as they are."""
    said = _git(root, "rev-parse", "--absolute-git-dir", "--git-common-dir", "--git-path", "hooks")
    if said is None:
        return
    folders = [root / line for line in said.splitlines() if line]
    yield from folders
    with suppress(OSError):
        yield from (Path(hook.path) for hook in os.scandir(folders[-1]) if hook.is_symlink())
    top = (_git(root, "rev-parse", "--show-toplevel") or "").rstrip("\n") or str(root)
    listed = (_git(root, "config", "--list", "--includes", "--show-origin", "-z") or "").split("\0")
    for origin, setting in zip(listed[::2], listed[1::2], strict=False):
        file = os.path.join(root, origin.removeprefix("file:")) if origin.startswith("file:") else ""
        places = [file, *_named_by(setting, top, os.path.dirname(file))]
        yield from (Path(place) for place in places if root in Path(os.path.abspath(place)).parents)


def _named_by(setting: str, top: str, folder: str) -> Iterator[str]:
    """The files that one setting of git names: a file to be read, or a program and what is handed to it.

    Args:
        setting: Its key, a line end, its value.
        top: The top of the working tree, in which git runs programs.
        folder: Where the file lies in which it stands.
    """
    key, _, value = setting.partition("\n")
    key = key.casefold()
    if key.startswith("include"):
        yield os.path.join(folder, os.path.expanduser(value))
    elif key in ("core.hookspath", "core.fsmonitor", "core.attributesfile"):
        yield os.path.join(top, os.path.expanduser(value))
    elif _RUN_BY_GIT.fullmatch(key):
        yield from (os.path.join(top, os.path.expanduser(word)) for word in _programs_in(value))


def _programs_in(command: str) -> Iterator[str]:
    """The files that a command runs, there or not: what stands first by its path, or after an interpreter."""
    for simple in re.split(r"[;&|!(){}`\n]+", command):
        words = [word.strip("'\"") for word in simple.split()]
        first = next((at for at, word in enumerate(words) if not _BEFORE_PROGRAM.fullmatch(word)), len(words))
        if words[first : first + 1] and _INTERPRETER.fullmatch(words[first]):
            yield from [word for word in words[first + 1 :] if word[:1] not in ("", "-", "$")][:1]
        else:
            yield from (word for word in words[first : first + 1] if "/" in word)


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None where it is missing, knows no repository, or refuses this one.

    None of these commands runs anything that a repository names.
    """
    program = found("git")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the words are ours
            [program, "-C", str(folder), *words], capture_output=True, timeout=_GIT_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None
