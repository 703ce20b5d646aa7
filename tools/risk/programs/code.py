"""Programs in other languages inside a command: which run other programs, write, delete or connect to a network."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from ..behind import begins_a_command
from ..calls import Call, Handlers, Options, options_of
from ..values import DATA, HOLES, REMOTE, UNKNOWN, known, names
from .python_code import python_code
from .running import run_file
from .servers import module_serves, reachable

__all__ = ["INTERPRETERS"]


@dataclass(frozen=True, slots=True)
class _Language:
    """How a language's interpreter is called, and the patterns of what its programs do.

    Attributes:
        code: Options whose value is a program.
        takes: Other options that take a value.
        runs: A call that runs its text in a shell, up to its first argument.
        hides: Runs text that cannot be known here.
        network: Opens connections.
        writes: Writes or deletes files.
    """

    code: str
    takes: str
    runs: re.Pattern[str]
    hides: re.Pattern[str]
    network: re.Pattern[str]
    writes: re.Pattern[str]


def _language(code: str, takes: str, runs: str, hides: str, network: str, writes: str) -> _Language:
    return _Language(code, takes, *(re.compile(one) for one in (runs, hides, network, writes)))


_LANGUAGES = {
    "perl": _language(
        "-e -E",
        "-I -M -m -x -C",
        r"\b(?:system|exec|qx|readpipe|open\s*\(?\s*\w*\s*,?)\s*\(?",
        r"\beval\b(?!\s*\{)|\bdo\s+[\"']|\brequire\s+[\"'$]|\bunpack\b.*\beval|\bsyscall\b",
        r"\bsocket\b|IO::Socket|LWP|HTTP::|Net::|Socket;|\bconnect\b",
        r"\b(?:unlink|rmdir|rename|truncate|chmod|chown|utime|symlink|File::Path|rmtree|remove_tree)\b|[\"']\+?>",
    ),
    "ruby": _language(
        "-e",
        "-r -I -E -C -x",
        r"\b(?:system|exec|spawn|popen\d?|IO\.popen|Open3\.\w+|Process\.spawn|Kernel\.(?:system|exec|spawn))\s*\(?",
        r"\b(?:eval|instance_eval|class_eval|send|public_send|__send__|load|Marshal\.load|const_get|method)\b|ObjectSpace",
        r"Socket|Net::|open-uri|URI\.open|\bopen\(['\"]https?",
        r"\b(?:File\.(?:delete|unlink|write|rename|chmod|open)|FileUtils|IO\.write|Dir\.(?:rmdir|delete)|rm_rf)\b",
    ),
    "node": _language(
        "-e -p --eval --print -pe",
        "-r --require --import --loader -C",
        r"\b(?:execSync|spawnSync|execFileSync|execFile|exec|spawn|fork)\s*\(",
        r"\bDeno\.(?:run|Command|remove)|\bBun\.(?:spawn|\$)|\beval\s*\(|new\s+Function|Function\s*\(|process\.binding|constructor|\bvm\b|\brequire\s*\(\s*[^'\"\s§]|import\s*\(\s*[^'\"§]"
        r"|\[\s*['\"][\w]+['\"]\s*\+|mainModule|_load|child_process['\"]\s*\)\s*\[",
        r"\b(?:net|http|https|dgram|tls|dns|fetch)\b\s*[.('\"]|['\"](?:node:)?(?:net|http|https|dgram|tls|dns)['\"]|WebSocket|\bfetch\s*\(",
        r"\b(?:unlink|rm|rmdir|writeFile|appendFile|rename|copyFile|truncate|chmod|createWriteStream)(?:Sync)?\s*\(",
    ),
    "php": _language(
        "-r -R -B -E",
        "-d -c -f -S -t",
        r"\b(?:system|exec|shell_exec|passthru|popen|proc_open|pcntl_exec)\s*\(",
        r"\b(?:eval|assert|create_function|call_user_func\w*|preg_replace\s*\(.*/e|include|require)\b|\$\w+\s*\(|base64_decode",
        r"\b(?:fsockopen|pfsockopen|curl_\w+|stream_socket_client|socket_create)\b|https?://",
        r"\b(?:unlink|rmdir|file_put_contents|rename|copy|chmod|fwrite|touch|mkdir)\s*\(",
    ),
    "lua": _language(
        "-e",
        "-l",
        r"\b(?:os\.execute|io\.popen)\s*\(?",
        r"\b(?:load|loadstring|dofile|loadfile|require)\b\s*[^\s\"'(]|\bload(?:string)?\b",
        r"socket",
        r"\b(?:os\.remove|os\.rename|io\.open)\b",
    ),
    "other": _language(
        "-e -c -E --eval -eval -exec --execute --command -r",
        "-f -l -x",
        r"\b(?:system|exec|shell|popen|run|sh|Shell\.\w+|os:cmd|os\.execute|System\.cmd|Runtime\.getRuntime\(\)\.exec|sys\.process)\b\s*\(?",
        r"\b(?:eval|exec|load|source)\b|\.execute\s*\(",
        r"\b(?:socket|http|https|TCP|URL|connect)\b",
        r"\b(?:unlink|delete|remove|file\.remove|rm|write|rename)\w*\b",
    ),
}
_ALIKE = {
    "lua": "luajit texlua",
    "node": "nodejs deno ts-node tsx",
    "ruby": "irb jruby",
    "other": "Rscript R julia tclsh wish groovy jshell jrunscript elixir erl guile racket sbcl clisp ghc ghci runghc"
    " ocaml octave gnuplot raku janet clojure bb crystal nim qjs swift",
}
_LANGUAGES.update({name: _LANGUAGES[like] for like, names in _ALIKE.items() for name in names.split()})

_LITERAL = re.compile(
    r"\s*(?:[a-zA-Z]?\"((?:[^\"\\]|\\.)*)\"|[a-zA-Z]?'((?:[^'\\]|\\.)*)'|`((?:[^`\\]|\\.)*)`"
    r"|[{(\[/|!]((?:[^})\]/|!\\]|\\.)*)[})\]/|!])",
    re.DOTALL,
)
_STRINGS = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")
_MAY_RUN = re.compile(r"run|cmd|command|process|system|shell|exec|spawn|popen", re.IGNORECASE)
"""Words in the names of calls that start a program, because there are too many such calls to list."""
_PATHS = re.compile(r"\"([~./][\w./~*-]+)\"|'([~./][\w./~*-]+)'")
_BASE64 = re.compile(r"[\"']([A-Za-z0-9+/]{12,}={0,2})[\"']")


def _interpreter(call: Call) -> str:
    language = _LANGUAGES[call.name]
    takes, anywhere = f"{language.code} {language.takes}", call.name in ("R", "erl", "elixir")
    options = options_of(call.args, takes, first=not anywhere, single=call.name == "erl")
    programs = list(options.each(language.code))
    if call.name in ("perl", "ruby") and any(re.match(r"-\w*i", arg) for arg in call.args if not arg.startswith("--")):
        call.writes(*(options.operands or [""]))
    for module in options.each("-r --require --import --loader"):
        if "/" in module or module.startswith("data:"):
            call.find("unread-file", module)
    if call.name == "php" and (address := options.value("-S")) is not None:
        call.find("opens" if reachable(address) else "workspace-code", "php -S")
        return UNKNOWN
    if call.name == "ruby" and "un" in options.each("-r"):  # its code is the name of a command
        return call.run([*programs, *options.operands])
    for program in programs:
        _foreign(call, language, program)
    if not programs:
        _file_or_input(call, options, language)
    elif options.operands and call.name in ("perl", "ruby"):
        call.reads(*options.operands)
    return call.passed_on()


def _file_or_input(call: Call, options: Options, language: _Language) -> None:
    operands = options.operands
    if call.name == "deno" and operands[:1] and operands[0] in ("eval", "repl"):
        for program in operands[1:]:
            _foreign(call, language, program)
        return
    if call.name in ("deno", "swift", "nim", "crystal") and operands:
        if operands[0] not in ("run", "r", "c", "compile") and "/" not in operands[0] and "." not in operands[0]:
            call.find("workspace-code", operands[0])
            return
        operands = [one for one in (operands[1:] if "." not in operands[0] else operands) if not one.startswith("-")]
        if not operands:
            call.find("workspace-code")
            return
    if operands and operands[0] not in ("-", "/dev/stdin"):
        target = operands[0]
        if "://" in target:
            call.find("remote-code", target)
        elif (held := call.scope.files.get(call.path(target))) is not None:
            _foreign(call, language, held)
        else:
            run_file(call, target, operands[1:])
    elif call.stdin is not None:
        _foreign(call, language, call.stdin)
    elif not any(name in ("-v", "-V", "--version", "-h", "--help", "-m", "-i", "-l") for name, _ in options.given):
        call.find("interactive")


def _foreign(call: Call, language: _Language, program: str) -> None:
    """Record the rules for what a program in some language does, judged by its words."""
    if REMOTE in program:
        call.find("remote-code")
        return
    if not program.strip(HOLES + " \n"):
        if program.strip():
            call.find("unknown-code")
        return
    call.find("code")
    if program.strip() in call.scope.decoded:
        call.find("hidden-code", call.name)
    masked = _without_strings(program)
    network = language.network.search(program) is not None
    runs = [found for found in language.runs.finditer(program) if not masked.startswith("§", found.start())]
    for found in runs:
        _ran(call, program, found.end())
    if "`" in masked and language is not _LANGUAGES["node"]:
        for text in re.findall(r"`([^`]*)`", program):
            call.judge.read(text.replace("#{", UNKNOWN))
            runs.append(re.match("", "") or found)
    for text in re.findall(r"(?:%x|qx)\s*[{(/|]([^})/|]*)", program):
        call.judge.read(text)
    _given(call, language, program, masked)
    if language.hides.search(masked):
        call.find("unknown-code", call.name)
        for coded in _BASE64.findall(program):
            _decoded(call, coded)
    if re.search(r"\bfork\b", masked) and re.search(r"\b(?:while|until|for|loop)\b", masked):
        call.find("exhausts", call.name)
    if network and runs:
        call.find("reverse-shell", call.name)
    elif network:
        call.find("sends", call.name)
    call.reads(*(one or other for one, other in _PATHS.findall(program)))
    if language.writes.search(program if language is _LANGUAGES["perl"] else masked):
        _changed(call, program, masked)


def _given(call: Call, language: _Language, program: str, masked: str) -> None:
    """Judge strings that begin with a program's name, if an unlisted call may run them."""
    if language is _LANGUAGES["other"] and _MAY_RUN.search(masked):
        for one, other in _STRINGS.findall(program):
            if begins_a_command(one or other):
                call.judge.read(one or other)


def _decoded(call: Call, coded: str) -> None:
    try:
        text = base64.b64decode(coded + "=" * (-len(coded) % 4)).decode()
    except (binascii.Error, ValueError):
        return
    call.judge.read(text)


def _ran(call: Call, program: str, place: int) -> None:
    """Judge the text or the words that a call in the program runs."""
    found = _LITERAL.match(program, place)
    text = next((one for one in found.groups() if one is not None), "") if found else ""
    if not found or not text.strip():
        # A word such as "open" or "exec" that runs nothing is not followed by something to run.
        if re.match(r"\s*[\w$@]", program[place:]):
            call.find("unknown-code", call.name)
        return
    rest = program[found.end() :]
    words = re.match(r"\s*,\s*\[([^\]]*)\]", rest)
    more = re.match(r"((?:\s*,\s*(?:\"[^\"]*\"|'[^']*'))+)", rest)
    inner = words[1] if words else more[1] if more else ""
    following = [one or other for one, other in re.findall(r"\"([^\"]*)\"|'([^']*)'", inner)]
    if re.match(r"\s*[.+]", rest):
        text += UNKNOWN
    text = text.replace('\\"', '"').replace("\\'", "'").replace("\\\\", "\\")
    if following and re.search(r"open\W*$", program[:place].rstrip("(")) is None:
        call.judge.run([text, *following])
    elif not re.match(r"[<>+]{1,3}", text.strip()):
        call.judge.read(text.strip().lstrip("|").rstrip("|"))


def _changed(call: Call, program: str, masked: str) -> None:
    paths = [one or other for one, other in re.findall(r"\"([^\"\n]*)\"|'([^'\n]*)'", program)]
    paths = [path.lstrip("+>< ") for path in paths if re.search(r"[/~.]", path) and " " not in path.strip("+>< ")]
    deletes = re.search(r"unlink|delete|remove|rm\b|rmSync|rmdir|rm_rf|rmtree|remove_tree", masked)
    if not paths:
        call.find("unknown-target" if deletes else "writes", call.name)
    for path in paths:
        if deletes:
            call.deletes(path, whole=re.search(r"recursive|rm_rf|rmtree|remove_tree", masked) is not None)
        else:
            call.writes(path)


def _without_strings(program: str) -> str:
    return re.sub(
        r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", lambda found: "§" * len(found[0]), program, flags=re.DOTALL
    )


def _python(call: Call) -> str:
    takes = "-c -m -W -X -Q --check-hash-based-pycs"
    args = call.args
    end = next((n for n, arg in enumerate(args) if arg in ("-c", "-m") or re.match(r"-[a-zA-Z]*[cm]$", arg)), None)
    if end is not None and all(arg.startswith("-") for arg in args[:end]):
        value, rest = (args[end + 1] if end + 1 < len(args) else ""), args[end + 2 :]
        if args[end].endswith("c"):
            return python_code(call, value)
        return _module(call, value, rest)
    options = options_of(args, takes, first=True)
    operands = options.operands
    if inline := next((value for name, value in options.given if name == "-c"), None):
        return python_code(call, inline)
    if module := next((value for name, value in options.given if name == "-m"), None):
        return _module(call, module, operands)
    if operands and operands[0] not in ("-", "/dev/stdin"):
        held = call.scope.files.get(call.path(operands[0]))
        if held is not None:
            return python_code(call, held)
        run_file(call, operands[0], operands[1:])
        return DATA
    if call.stdin is not None:
        return python_code(call, call.stdin)
    if not any(name in ("-V", "--version", "-h", "--help", "-VV") for name, _ in options.given):
        call.find("interactive")
    return UNKNOWN


_READING_MODULES = names("json.tool this calendar platform sysconfig site ast tokenize dis")


def _module(call: Call, module: str, rest: list[str]) -> str:
    if module in ("pip", "pip3", "uv", "poetry", "pipx", "build", "twine"):
        return call.run([module, *rest])
    if module == "base64" and "-d" in rest:
        return call.run(["base64", *rest])
    if module in ("timeit", "cProfile", "profile", "pdb", "trace"):
        for text in rest if module in ("timeit", "pdb") else ():
            if not text.startswith("-") and not text.endswith(".py"):
                python_code(call, text)
        for file in (arg for arg in rest if arg.endswith(".py")):
            run_file(call, file, [])
    elif module in ("venv", "virtualenv"):
        call.writes(*(arg for arg in rest if not arg.startswith("-")))
    elif module_serves(call, module, rest):
        call.find("workspace-code", module)
    elif module in _READING_MODULES:
        call.reads(*(arg for arg in rest if not arg.startswith("-")))
    elif not known(module):
        call.find("unknown-code")
    else:
        call.find("workspace-code", module)
        call.obeys(module.replace(".", "/") + ".py", *rest)
    return DATA


_STRING = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"")


def _awk(call: Call) -> str:
    options = options_of(
        call.args, "-F -v -f -e -E -i -l --file --source --field-separator --assign --include --load", first=True
    )
    programs = list(options.each("-e --source"))
    operands = options.operands
    if not programs and "-f -E --file" not in options and operands:
        programs, operands = [operands[0]], operands[1:]
    for file in options.each("-f -E --file"):
        held = call.scope.files.get(call.path(file))
        if held is not None:
            programs.append(held)
        elif "/" in file and not file.startswith("["):
            run_file(call, file, [])
    if "-l --load" in options:
        call.find("unread-file", "awk -l")
    for program in programs:
        _awk_program(call, program)
    call.reads(*(one for one in operands if "=" not in one))
    text = DATA if operands or call.stdin is None else call.stdin
    return REMOTE if REMOTE in text else DATA


def _awk_program(call: Call, program: str) -> None:
    strings: list[str] = []

    def keep(found: re.Match[str]) -> str:
        strings.append(found[1].replace('\\"', '"').replace("\\\\", "\\"))
        return f"§{len(strings) - 1}§"

    masked = re.sub(r"#[^\n]*", "", _STRING.sub(keep, program))
    if REMOTE in program:
        call.find("remote-code")
    for found in re.finditer(r"\bsystem\s*\(([^)]*)\)?", masked):
        _awk_runs(call, found[1], strings)
    for found in re.finditer(r"\|&?\s*((?:§\d+§\s*)+)|((?:§\d+§\s*)+)\|&?\s*getline", masked):
        _awk_runs(call, found[1] or found[2], strings)
    if re.search(r"print[^;}\n|]*(?<!\|)\|(?!\|)&?\s*[a-zA-Z($]|\w\s*\|&?\s*getline", masked):
        call.find("unknown-code", "awk")
    for found in re.finditer(r"\bprintf?\b([^;}\n|>]*)>>?\s*([^;}\n]+)", _without_groups(masked)):
        call.writes(_awk_target(call, found[2], masked, strings))
    for found in re.finditer(r"getline[^;}\n]*<\s*§(\d+)§", masked):
        call.reads(strings[int(found[1])])
    if any(re.match(r"/inet[46]?/", one) for one in strings) or "/inet/" in program:
        call.find("reverse-shell", "awk /inet")
    if re.search(r"@load|@include", masked):
        call.find("unread-file", "awk")


def _without_groups(masked: str) -> str:
    """Remove what is inside parentheses from a program: a ``>`` there is a comparison."""
    while (inner := re.sub(r"\([^()]*\)", " ", masked)) != masked:
        masked = inner
    return masked


def _awk_target(call: Call, expression: str, masked: str, strings: list[str]) -> str:
    """Return the file that ``print > expression`` writes; a field of the input is data."""
    made = ""
    for found in re.finditer(r"§(\d+)§|ENVIRON\[§(\d+)§\]|(\$)\s*\w+|([A-Za-z_]\w*)(?:\[[^]]*\])?", expression):
        if found[1]:
            made += strings[int(found[1])]
        elif found[2]:
            made += call.scope.value(strings[int(found[2])]) or UNKNOWN
        elif found[3]:
            made += DATA
        else:
            made += _awk_variable(call, found[4], masked, strings)
    return made or UNKNOWN


def _awk_variable(call: Call, name: str, masked: str, strings: list[str]) -> str:
    values = [strings[int(one)] for one in re.findall(rf"\b{name}\s*=\s*§(\d+)§\s*(?=[;}}\n]|$)", masked)]
    values += [arg.partition("=")[2] for arg in call.args if re.match(rf"(?:-v)?{name}=", arg)]
    return values[0] if len(values) == 1 else UNKNOWN


def _awk_runs(call: Call, inner: str, strings: list[str]) -> None:
    text = re.sub(r"§(\d+)§|[^§\s]+", lambda found: strings[int(found[1])] if found[1] else UNKNOWN, inner)
    if not text.strip(HOLES + " "):
        call.find("unknown-code", "awk")
    else:
        call.judge.read(text, stdin=UNKNOWN)


def _dc(call: Call) -> None:
    for text in [*call.args, call.stdin or ""]:
        if found := re.search(r"!(?![<>=])(.+)", text):
            call.find("option-runs", "dc")
            call.judge.read(found[1])


INTERPRETERS: Handlers = {
    **dict.fromkeys(_LANGUAGES, _interpreter),
    "python python2 python3 pypy pypy3 ipython py jython": _python,
    "awk gawk mawk nawk original-awk": _awk,
    "dc": _dc,
}
INTERPRETERS.pop("other")
