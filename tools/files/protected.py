"""Paths that no tool and no command may write, since their content would run with more authority than an agent has."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate
from itertools import accumulate
from pathlib import Path

from ..programs import STARTED
from .repositories import Repository

__all__ = ["PROTECTED", "Protected"]

PROTECTED = (
    # what version control runs or obeys
    ".git", ".gitmodules", ".gitconfig", ".githooks", ".config/git", ".husky", ".pre-commit-config.yaml",
    "lefthook*", ".lefthook*", ".overcommit.yml", ".simple-git-hooks.*", ".hg", ".hgrc", ".svn", ".bzr", ".jj",
    ".sl", ".pijul", "_darcs", ".fossil-settings",
    # what a hook of version control runs or loads, and where a push sends large files
    ".lintstagedrc*", "lint-staged.config.*", ".commitlintrc*", "commitlint.config.*", ".lfsconfig",
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
    "build.gradle*", "settings.gradle*", "gradle/wrapper", ".mvn", "pom.xml", "build.xml", "*.sbt", "build.rs",
    "Cargo.toml", "composer.json", "Gemfile", "mix.exs", "Package.swift", "Makefile.toml", "bunfig.toml",
    ".pnpmfile.*", ".yarn", ".bazelrc", ".cargo", "Vagrantfile", "Tiltfile", "Procfile", "SConstruct", "wscript",
    "flake.nix", "shell.nix", "default.nix", "devbox.json", "pixi.toml", "CMakeLists.txt", "CMakePresets.json",
    "CMakeUserPresets.json", "meson.build", "meson_options.txt", "meson.options", "compose*.y*ml",
    "docker-compose*.y*ml", "setup.cfg", "uv.toml", "pnpm-workspace.yaml", ".pnp.*", "gradle.properties", ".sbtopts",
    ".jvmopts", "rebar.config*", "build.zig*", "project.clj", "config.nims", "conanfile.py", "xmake.lua", "Podfile",
    "Guardfile", "nodemon.json", ".air.toml", "build.ninja", "deps.edn", "bb.edn", "build.sc", "build.mill", "dune",
    "dune-project", "dune-workspace", "dub.json", "dub.sdl", "nim.cfg", "Setup.hs", "stack.yaml", "cabal.project*",
    "foundry.toml", "magefile.go", "magefiles", "Tupfile", "premake5.lua", "Jamfile", "Jamroot", "Brewfile",
    "ansible.cfg", "Pipfile", "poetry.toml", "pdm.toml", "hatch.toml", ".bundle",
    # what says which interpreter or compiler a short command starts, by its path if need be
    ".python-version*", "rust-toolchain*", "global.json",
    # what is installed, and runs as if it were
    ".venv", "venv", "site-packages", "node_modules", "__pycache__", ".local/bin",
    # what a shell, an editor or a client runs or trusts when it starts
    ".bash*", ".profile", ".zsh*", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc", ".login",
    ".logout", ".inputrc", ".envrc", ".config/fish", ".ssh", ".netrc", ".npmrc", ".pypirc", ".vscode", ".idea",
    "*.code-workspace", ".zed", ".exrc", ".vimrc", ".nvim*", ".dir-locals*.el", ".gdbinit", ".lldbinit", ".yarnrc*",
    ".emacs*", ".vim", ".helix", ".kakrc", ".lvimrc", ".ghci", ".Rprofile", ".irbrc", ".pryrc", ".screenrc",
    ".xprofile", ".xsession", ".xinitrc", ".pam_environment", ".curlrc", ".wgetrc", "*.sublime-project",
    ".mise*", "mise*.toml", ".config/mise", ".rtx.toml", ".tool-versions", ".direnv", ".autoenv*", ".config/systemd",
    ".config/autostart", ".config/nvim", ".config/pip",
    ".pip", "pip.conf", ".pdbrc", ".ipython", ".jupyter", ".tmux.conf", ".aws", ".docker", ".gnupg", ".kube",
    ".iex.exs", ".ocamlinit", ".Renviron", ".RData", ".octaverc", ".rvmrc", ".shadowenv.d", ".gitpod.yml", ".replit",
    ".idx", ".vs", ".theia", ".nova",
    # what a language server that an editor starts runs by itself
    "hie.yaml", ".bsp", "buildServer.json", "analysis_options.yaml", "rust-analyzer.toml", "nx.json",
    # what a linter or a formatter loads as code in an editor that opens the folder
    ".pylintrc", "pylintrc", ".flake8", "mypy.ini", ".mypy.ini", ".eslintrc*", "eslint.config.*", ".prettierrc*",
    "prettier.config.*", ".stylelintrc*", "stylelint.config.*", "tailwind.config.*", ".rubocop*.yml", ".formatter.exs",
    ".fleet", "svelte.config.*", ".markdownlint*", ".php-cs-fixer*.php", ".golangci.*",
    # what another agent runs or takes for its user's words
    ".mcp.json", "mcp.json", ".claude", ".cursor", ".codex", ".gemini", ".devcontainer", ".devcontainer.json",
    ".aider*", ".amazonq", ".clinerules", ".continue", ".cursorrules", ".goosehints", ".junie", ".kiro", ".opencode",
    "opencode.json*", ".roo*", ".windsurf*", "AGENTS.md", "CLAUDE.md", "GEMINI.md", ".agents", ".agent", "AGENT.md",
    ".augment*", ".copilot", ".crush*", "CRUSH.md", ".factory", ".kilocode*", ".qwen", "QWEN.md", ".rules", ".trae",
    "WARP.md", ".zencoder", "AGENTS.override.md", "CLAUDE.local.md", ".openhands*", ".pi", ".antigravity*",
    ".codebuddy*",
    # what Pointsman itself obeys
    ".pointsman", ".pointsman-removed*",
    "/pointsman.yaml", "/models.yaml", "/agents.yaml", "/routing.yaml", "/risk.yaml",
    "/configs/models.yaml", "/configs/agents.yaml", "/configs/routing.yaml", "/configs/risk.yaml",
)  # fmt: skip
"""Paths no tool may write, because their content would later run or apply with more authority than the agent has.

A pattern matches a file, or a folder and everything in it, anywhere in the workspace; with a leading ``/``, only at its
top level.
"""

_WILD = re.compile(r"[*?\[]")


class Protected:
    """Decides whether a path of a workspace may be written.

    Protected are `PROTECTED`, the paths that the caller names, and what git actually uses in the repository that
    contains the workspace and in repositories inside it: the folders that the ``.git`` file of a worktree or submodule,
    or the variable GIT_DIR, points to; ``core.hooksPath``; files in the workspace that its configuration includes, and
    programs in the workspace that it runs. Folders of PATH, and the targets of links at protected paths and among the
    hooks, are protected too. What a build file or a script calls in turn is ordinary source code and not protected.

    Args:
        root: The workspace, resolved.
        more: Further files and folders, existing or not, and patterns in the form of `PROTECTED`.
    """

    def __init__(self, root: Path, more: Iterable[Path | str] = ()) -> None:
        self._root = root
        self._more = tuple(more)
        self._repositories: dict[str, Repository] = {}
        self._links: tuple[str, ...] = ()
        self._patterns: _Patterns | None = None

    def learn(self, repositories: Iterable[str], links: Iterable[str] = ()) -> bool:
        """Update the paths that git uses in the workspace, and return whether anything has changed.

        Args:
            repositories: The folders that are or contain a repository, relative to the workspace, without the workspace
                itself.
            links: The links at protected paths.
        """
        obeyed = {}
        for path in ("", *repositories):
            known = self._repositories.get(path)
            if known is None or not known.is_current:
                known = Repository.at(self._root / path, self._root, nested=bool(path))
            obeyed[path] = known
        led = tuple(sorted(links))
        if self._patterns is not None and (obeyed, led) == (self._repositories, self._links):
            return False
        self._repositories, self._links = obeyed, led
        self._patterns = _Patterns(self._written())
        return True

    def covering(self, parts: Sequence[str]) -> str | None:
        """Return the pattern that matches a path or a folder above it, or None if the path may be written."""
        ways = accumulate(([part] for part in parts), lambda way, part: way + part)
        return next((pattern for way in ways if (pattern := self.naming(way)) is not None), None)

    def naming(self, parts: Sequence[str]) -> str | None:
        """Return the pattern that matches exactly this path, or None."""
        return self._now.naming(parts)

    def leading(self, parts: Sequence[str]) -> bool:
        """Return whether a protected path may be below this one; a link here would redirect it to another folder."""
        return self._now.leading(parts)

    @property
    def fixed(self) -> tuple[str, ...]:
        """The paths that are protected in one place only, relative to the workspace, not as patterns."""
        return self._now.fixed

    @property
    def moving(self) -> tuple[str, ...]:
        """The fixed paths that move with a folder above them: those git uses in repositories inside the workspace."""
        return tuple(_unescaped(one[1:]) for path in self._repositories if path for one in self._obeyed(path))

    @property
    def _now(self) -> _Patterns:
        if self._patterns is None:
            self.learn(())
        assert self._patterns is not None  # noqa: S101 - it was just made
        return self._patterns

    def _written(self) -> tuple[str, ...]:
        links = (self._root / link for link in self._links)
        given = _as_patterns(self._root, (*self._more, *_on_the_path(self._root), *links))
        obeyed = (pattern for path in self._repositories for pattern in self._obeyed(path))
        whole = dict.fromkeys((*PROTECTED, *given, *obeyed))
        # The targets of these, if they or folders on the way are links.
        plain = [one.removeprefix("/") for one in whole if not _WILD.search(one)]
        return tuple(dict.fromkeys((*whole, *_as_patterns(self._root, _linked(self._root, plain)))))

    def _obeyed(self, repository: str) -> list[str]:
        """Return the paths git uses there, without those in ``.git``: everything of that name is protected anyway."""
        patterns = _as_patterns(self._root, self._repositories[repository].obeyed)
        return [one for one in patterns if ".git" not in one.split("/")]


class _Patterns:
    """Patterns, compiled for matching many paths."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.all = patterns
        self.fixed = tuple(_unescaped(one[1:]) for one in patterns if one.startswith("/") and one != "/*")
        plain = [one for one in patterns if not _WILD.search(one) and "/" not in one]
        self._names = {_folded(one): one for one in plain}
        wild = [(place, one) for place, one in enumerate(patterns) if _WILD.search(one) and "/" not in one]
        # One expression, whose groups tell which pattern matched.
        self._globs = re.compile("|".join(f"(?P<p{place}>{translate(_folded(one))})" for place, one in wild))
        # The pattern, whether it is anchored at the top, and an expression for each of its components.
        self._paths = [
            (one, one.startswith("/"), [re.compile(translate(_folded(part))) for part in one.split("/") if part])
            for one in patterns
            if "/" in one
        ]
        ends = [one.rstrip("/").rpartition("/")[2] for one, _, _ in self._paths]
        self._fixed_ends = frozenset(_folded(_unescaped(end)) for end in ends)
        self._open_ends = any(_WILD.search(re.sub(r"\[[\[*?]\]", "", end)) for end in ends)

    def naming(self, parts: Sequence[str]) -> str | None:
        # Case and compatibility forms are folded, for file systems that do not distinguish them.
        name = _folded(parts[-1])
        if name in self._names:
            return self._names[name]
        if (globbed := self._globs.fullmatch(name)) is not None:
            return self.all[int(str(globbed.lastgroup)[1:])]
        if name not in self._fixed_ends and not self._open_ends:
            return None
        folded = [_folded(part) for part in parts]
        return next((pattern for pattern, rooted, globs in self._paths if _ends(folded, rooted, globs)), None)

    def leading(self, parts: Sequence[str]) -> bool:
        folded = [_folded(part) for part in parts]
        return any(
            _ends(folded, rooted, globs[:size]) for _, rooted, globs in self._paths for size in range(1, len(globs))
        )


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
    """Yield the patterns, and the paths in the root as patterns, including those that lead there through links."""
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
    """Yield the paths below the root that lead through a link to another place below it, existing or not."""
    there: dict[str, bool] = {}
    for path in paths:
        place = root / path
        # For most of them not even the first component exists, so they lead nowhere.
        first = path.partition("/")[0]
        if first not in there:
            there[first] = os.path.lexists(root / first)
        if not there[first]:
            continue
        real = Path(os.path.realpath(place))
        if real != place and root in real.parents:
            yield place


def _on_the_path(root: Path) -> Iterator[Path]:
    """Yield the folders of PATH below the root and, if the root is on PATH, the programs that are started by name."""
    for entry in os.get_exec_path():
        whole = os.path.join(root, entry)
        for place in dict.fromkeys((Path(os.path.abspath(whole)), Path(os.path.realpath(whole)))):
            if root in place.parents:
                yield place
            elif place == root:
                yield from (root / name for name in STARTED)
