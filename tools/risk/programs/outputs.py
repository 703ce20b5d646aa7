"""Options by which a program that otherwise only reads or prints writes files or runs another program."""

from __future__ import annotations

import re

from ..calls import Call, Options, options_of
from ..values import HOLES
from .running import run_file

__all__ = ["runs_by_options", "writes_as_well"]


def _table(rows: str) -> dict[str, str]:
    """Parse rows of programs and the options they share; return program -> its options."""
    made: dict[str, str] = {}
    for row in rows.strip().splitlines():
        words = row.split()
        options = " ".join(word for word in words if word.startswith("-"))
        made.update((word, f"{made.get(word, '')} {options}".strip()) for word in words if not word.startswith("-"))
    return made


_OUTPUTS = _table("""
pandoc -o --output --extract-media --log
xmllint xsltproc sdiff highlight pygmentize cpp bandit semgrep cloc scc info -o --output
ruff eslint stylelint markdownlint -o --output-file
enscript a2ps -o -p --output
pylint --output
pyright --outputfile
mypy --junit-xml --html-report --txt-report --xml-report --linecount-report --cobertura-xml-report
rubocop -o --out
tree groff nroff troff wdiff -o
exiftool -o
ctags -f -o
cscope -f
iconv uudecode -o --output
cloc --out --report-file
mediainfo --LogFile
dmidecode --dump-bin
nvidia-smi -f --filename
ffprobe -o
dumpe2fs tune2fs e2image -z
""")
"""Options whose value is a file that is written."""
_IN_PLACE = _table("""
ruff --fix --fix-only --unsafe-fixes
prettier --write -w
eslint stylelint markdownlint jshint tslint semgrep --fix --autofix
rubocop -a -A -x --autocorrect --autocorrect-all --auto-correct --auto-correct-all --auto-gen-config --fix-layout
shfmt codespell -w --write --write-changes
yq tomlq xq -i --inplace --in-place
mlr miller -I
exiftool -w -overwrite_original -delete_original
aspell -c
mypy --install-types
pyright --createstub
golint -w
""")
"""Options that change the given files, or those of the folder."""
_LOOKING = _table("""
black isort autoflake pyupgrade --check --diff --check-only --show-config
tsc --noEmit -noEmit
ctags -x
cscope -d
ispell -l -a
pdftotext --help
""")
"""Programs that change files unless one of these options makes them read-only."""
_RUNS = _table("""
yt-dlp youtube-dl --exec --exec-before-download --netrc-cmd
latex pdflatex xelatex lualatex tex pdftex luatex xetex latexmk -shell-escape --shell-escape
latex pdflatex xelatex lualatex tex pdftex luatex xetex -enable-write18 --enable-write18
gs -dNOSAFER -dDELAYSAFER
cpio --rsh-command
""")
"""Options whose value is a command, or that let the input run commands."""
_RUNS_FILES = _table("""
yt-dlp youtube-dl --downloader --external-downloader --plugin-dirs
aria2c --on-download-complete --on-download-error --on-download-start --on-download-stop --on-download-pause
aria2c --on-bt-download-complete
mpv --script --scripts
pandoc -F --filter -L --lua-filter
ssh-keygen -D -w
eslint stylelint -c --config --rulesdir --plugin --resolve-plugins-relative-to --custom-syntax --custom-formatter
prettier --config --plugin --plugin-search-dir
markdownlint -c --config -r --rules
rubocop -c --config -r --require --plugin
pylint --rcfile --load-plugins
flake8 --config --append-config
mypy --config-file
jest vitest mocha ava karma playwright cypress -c --config -r --require --setupFiles --globalSetup
webpack vite rollup parcel esbuild -c --config
gulp grunt --gulpfile --gruntfile --require
javac -processorpath --processor-path
ld -plugin
""")
"""Options whose value is a file that is run or loaded, or that lists such files."""
_AGENTS = re.compile(r"-(?:J-)?(?:javaagent|agentpath|agentlib|Xbootclasspath/\w):([^=]+)")
"""An agent that Java loads before the program."""


_SINGLE = re.compile(r"(?:^| )-\w\w")


def runs_by_options(call: Call) -> None:
    """Judge the programs given as option values to a program known to run them."""
    files = _RUNS_FILES.get(call.name, "")
    loaded = list(options_of(call.args, files, single=_SINGLE.search(files) is not None).each(files))
    if call.name in ("java", "javac", "kotlin", "scala"):
        loaded += [found[1] for arg in call.args if (found := _AGENTS.match(arg))]
    for file in loaded:
        run_file(call, file, [])
    if call.name == "pylint":
        for code in options_of(call.args, "--init-hook").each("--init-hook"):
            call.run(["python3", "-c", code])
    if (takes := _RUNS.get(call.name)) is None:
        return
    # Long options with one dash take no value here: they let the input run programs.
    alone = _SINGLE.search(takes) is not None
    options = options_of(call.args, "" if alone else takes, single=alone)
    for value in options.each(takes):
        call.find("option-runs", call.name)
        if value:
            call.shell(value)


def writes_as_well(call: Call) -> None:
    """Record what is written by a program that otherwise only reads or prints."""
    takes, changes = _OUTPUTS.get(call.name, ""), _IN_PLACE.get(call.name, "")
    options = options_of(call.args, takes, single=call.name in ("exiftool", "tsc"))
    written = [value for value in options.each(takes) if value not in ("", "-", "/dev/stdout")]
    if changes in options or _changes(call, options):
        written += options.operands or ["."]
    if written:
        call.find("writes")
        call.writes(*(one for one in written if call.path(one)[:1] not in HOLES))


def _changes(call: Call, options: Options) -> bool:
    """Whether it changes files without a listed option that says so."""
    words = options.operands
    if call.name in _LOOKING:
        return _LOOKING[call.name] not in options and not (call.name == "pdftotext" and words[1:2] == ["-"])
    if call.name == "exiftool":  # a value for a tag
        return any(re.match(r"-[\w:-]+[-+^]?=", arg) for arg in call.args)
    only_looks = "--check --diff" in options
    return (call.name, words[:1]) in (("aspell", ["check"]), ("ruff", ["format"])) and not only_looks
