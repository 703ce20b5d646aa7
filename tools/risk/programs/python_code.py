"""What Python code inside a command would do, read from its syntax tree."""

from __future__ import annotations

import ast
import base64
import binascii
import re
import warnings

from ..calls import Call
from ..values import DATA, HOLES, REMOTE, UNKNOWN, known, names
from .servers import reachable

__all__ = ["python_code"]

_LONGEST = 20_000  # characters; nobody types a longer program in a command

_SHELL_TEXT = names(
    "os.system os.popen subprocess.getoutput subprocess.getstatusoutput commands.getoutput "
    "popen2.popen2 asyncio.create_subprocess_shell pexpect.run pexpect.spawn os.popen2 os.popen3 "
    "platform.popen"
)
_WORDS = names(
    "subprocess.run subprocess.call subprocess.check_call subprocess.check_output subprocess.Popen "
    "pty.spawn asyncio.create_subprocess_exec"
)
_DELETES = names("os.remove os.unlink os.rmdir os.removedirs os.truncate")
_TREES = names("shutil.rmtree")
_WRITES = names(
    "os.mkdir os.makedirs os.rename os.replace os.symlink os.link shutil.copy shutil.copy2 "
    "shutil.copyfile shutil.move shutil.copytree os.chmod os.chown os.utime"
)
_PATHS = names("Path pathlib.Path PurePath pathlib.PurePath os.path.join")
_MOVES = names("os.rename os.replace shutil.move")
_FETCHES = names(
    "urllib.request.urlopen urllib.urlopen urllib2.urlopen requests.get requests.head httpx.get "
    "urllib.request.urlretrieve urllib.request.Request http.client.HTTPSConnection "
    "http.client.HTTPConnection"
)
_SENDS = names(
    "requests.post requests.put requests.delete requests.patch httpx.post httpx.put smtplib.SMTP "
    "smtplib.SMTP_SSL ftplib.FTP paramiko.SSHClient telnetlib.Telnet socket.create_connection"
)
_HIDDEN = names(
    "exec eval compile __import__ getattr globals locals vars setattr importlib.import_module "
    "marshal.loads pickle.loads pickle.load builtins.exec builtins.eval ctypes.CDLL runpy.run_path "
    "imp.load_source code.interact types.FunctionType yaml.unsafe_load dill.loads operator.attrgetter"
)
_ALL = (*_SHELL_TEXT, *_WORDS, *_DELETES, *_TREES, *_WRITES, *_FETCHES, *_SENDS, "os.fork", "os.dup2", "socket.socket")
_OPENS = names("open io.open codecs.open gzip.open os.open bz2.open lzma.open")
_PROCESSES = {
    "os.dup2": "writes",
    "os.fork": "writes",
    "os.kill": "processes",
    "os.killpg": "processes",
    "os.setuid": "privilege",
    "os.setgid": "privilege",
}
_EXECS = names(
    "exec eval builtins.exec builtins.eval compile timeit.timeit timeit.repeat pdb.run pdb.runeval cProfile.run"
    " profile.run"
)
_IMPORTS = names("__import__ importlib.import_module builtins.__import__")
_CONNECTS = names("requests httpx aiohttp http urllib3 socket boto3 paramiko ftplib smtplib websocket websockets")
_SENDING = names("post put patch delete sendall sendto sendmail send_message storbinary upload_file put_object connect")
_SERVERS = names(
    "HTTPServer ThreadingHTTPServer TCPServer ThreadingTCPServer UDPServer SimpleXMLRPCServer WSGIServer make_server "
    "create_server start_server"
)
"""Classes and functions that listen at the address in their first argument."""
_TELLING = {"system": "os.system", "popen": "os.popen", "Popen": "subprocess.Popen", "rmtree": "shutil.rmtree"}
"""Names whose meaning is clear whatever object they are called on."""
_INSIDE = names("__globals__ __subclasses__ __builtins__ __dict__")
"""Attributes that give access to everything."""
_POWERFUL = names("os subprocess builtins __builtins__ pty shutil")
"""Modules whose every attribute may run or delete something."""
_DANGEROUS = re.compile(
    r"os\.(?:system|popen|exec\w*|spawn\w*|remove|unlink|kill|dup2|setuid)|subprocess|pty\.spawn|socket|shutil\.(?:rmtree|move)"
    r"|exec\s*\(|eval\s*\(|__import__|urlopen|requests\.|marshal|ctypes|b64decode|popen"
)


def python_code(call: Call, text: str) -> str:
    """Record what a Python program does.

    Args:
        call: The command that runs it.
        text: The program; unknown parts are holes.
    """
    if REMOTE in text:
        call.find("remote-code")
        return REMOTE
    if not text.strip(HOLES + " \n;"):
        if text.strip():
            call.find("unknown-code")
        return UNKNOWN
    call.find("code")
    if text.strip() in call.scope.decoded:
        call.find("hidden-code", "Python")
    plain = "".join("hole_" if one in HOLES else one for one in text)
    if len(plain) > _LONGEST:
        call.find("unknown-code", "Python")
        return UNKNOWN
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(plain.strip("\n"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Python 2, or quotes that the shell removed.
        call.find("unknown-code" if _DANGEROUS.search(plain) else "code", "Python")
        return UNKNOWN
    program = _Program(call, tree)
    program.read()
    return "".join(program.printed) or DATA


class _Values:
    """The meanings of a program's names, and the texts its expressions evaluate to."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._names: dict[str, str] = {}
        self._constants: dict[str, str] = {}
        self._decoded: set[str] = set()

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*":
                    known_there = (name for name in _ALL if name.rpartition(".")[0] == node.module)
                    self._names.update({name.rpartition(".")[2]: name for name in known_there})
                else:
                    self._names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if (text := self._text(node.value)) is not None:
                self._constants[name] = UNKNOWN if self._constants.get(name, text) != text else text
            elif dotted := self._dotted(node.value):
                self._names[name] = dotted

    def _dotted(self, node: ast.AST) -> str:
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            parts.append(self._names.get(node.id, node.id))
        elif isinstance(node, ast.Subscript) and self._dotted(node.value) == "sys.modules":
            parts.append(self._text(node.slice) or "?")
        elif isinstance(node, ast.Call) and self._dotted(node.func) in _IMPORTS:
            parts.append((self._text(node.args[0]) if node.args else None) or "?")
        else:
            return ""
        return ".".join(parts[::-1])

    def _text(self, node: ast.AST | None) -> str | None:
        """Return the text an expression evaluates to, or None if the program does not contain it."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, bytes):
                return node.value.decode("latin-1")
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.Name):
            return self._constants.get(node.id)
        if isinstance(node, ast.JoinedStr):
            return "".join(self._text(part) or UNKNOWN for part in node.values)
        if isinstance(node, ast.FormattedValue):
            return self._text(node.value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self._text(node.left), self._text(node.right)
            return None if left is None and right is None else (left or UNKNOWN) + (right or UNKNOWN)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            left, right = self._text(node.left), self._text(node.right)
            return None if left is None else f"{left}/{right or UNKNOWN}"
        if isinstance(node, ast.Call):
            return self._made(node)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) and node.slice.step is not None:
            inner = self._text(node.value)
            return None if inner is None else inner[::-1]
        return None

    def _made(self, node: ast.Call) -> str | None:
        name = self._dotted(node.func)
        first = self._text(node.args[0]) if node.args else None
        if name == "chr":
            code = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            return chr(code % 0x110000) if isinstance(code, int) else None
        if name == "os.path.expanduser":
            return first
        if name in ("Path.home", "pathlib.Path.home"):
            return "~"
        if name in _PATHS:
            return "/".join(self._text(one) or UNKNOWN for one in node.args) or "."
        if first is not None and name.endswith(("b64decode", "b64encode", "bytes.fromhex")):
            return self._coded(name, first)
        return self._from_method(node, node.func) if isinstance(node.func, ast.Attribute) else None

    def _coded(self, name: str, text: str) -> str:
        """Return a text encoded to or decoded from base64 or hexadecimal."""
        encoded = self._call.scope.encoded
        if name.endswith("b64encode"):
            coded = base64.b64encode(text.encode("utf-8", "replace")).decode() if known(text) else UNKNOWN
            encoded.add(coded)
            return coded
        if "".join(text.split()) in encoded:
            self._call.find("round-trip", "Python")
        try:
            decode = base64.b64decode if name.endswith("b64decode") else bytes.fromhex
            plain = decode(text).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return UNKNOWN
        self._decoded.add(plain)
        return plain

    def _from_method(self, node: ast.Call, function: ast.Attribute) -> str | None:
        """Return what methods of strings and paths return."""
        inner = self._text(function.value)
        if inner is not None and function.attr in ("decode", "encode", "strip", "expanduser", "resolve", "absolute"):
            return inner
        if inner is not None and function.attr == "joinpath":
            return "/".join([inner, *(self._text(one) or UNKNOWN for one in node.args)])
        if function.attr == "join" and node.args and isinstance(node.args[0], ast.List | ast.Tuple):
            return (inner or "").join(self._text(one) or UNKNOWN for one in node.args[0].elts)
        return REMOTE if function.attr == "read" and self._fetches(node) else None

    def _fetches(self, node: ast.AST) -> bool:
        return any(isinstance(one, ast.Call) and self._dotted(one.func) in _FETCHES for one in ast.walk(node))


class _Program(_Values):
    """One program, and what its calls do."""

    def __init__(self, call: Call, tree: ast.Module) -> None:
        super().__init__(call)
        self._tree = tree
        self._used: set[str] = set()
        self._connects = False
        self.printed: list[str] = []

    def read(self) -> None:
        nodes = list(ast.walk(self._tree))
        for node in nodes:
            self._bind(node)
        self._connects = any(name.split(".")[0] in _CONNECTS for name in self._names.values())
        for node in nodes:
            if isinstance(node, ast.Call):
                self._called(node)
            elif isinstance(node, ast.Attribute) and node.attr in _INSIDE:
                self._call.find("unknown-code", node.attr)
            elif isinstance(node, ast.Name) and node.id == "__builtins__":
                self._call.find("unknown-code", node.id)
        if "fork" in self._used and any(isinstance(node, ast.While | ast.For) for node in nodes):
            self._call.find("exhausts", "Python")
        if "socket" in self._used and self._used & {"runs", "dup2"}:
            self._call.find("reverse-shell", "Python")

    def _called(self, node: ast.Call) -> None:
        name = self._dotted(node.func)
        if not name and isinstance(node.func, ast.Attribute):
            name = _TELLING.get(node.func.attr, "")
        texts = [self._text(one) for one in node.args]
        first = texts[0] if texts else None
        if name == "print":
            self.printed.append(" ".join(text or DATA for text in texts) + "\n")
        elif name in _SHELL_TEXT:
            self._used.add("runs")
            self._runs(first)
        elif name in _WORDS or re.match(r"os\.(?:exec|spawn|posix_spawn)\w*$", name):
            self._used.add("runs")
            self._runs_words(node, name)
        elif name in _HIDDEN or name in _EXECS:
            self._hides(name, node, first)
        elif not self._touches(node, name) and not self._reaches(node, name) and isinstance(node.func, ast.Attribute):
            self._method(node, node.func)

    def _touches(self, node: ast.Call, name: str) -> bool:
        """Record a call that reads, writes or deletes files; return whether it is one."""
        call = self._call
        if name in _DELETES or name in _TREES:
            call.deletes(*self._paths(node, 1), whole=name in _TREES)
        elif name in _WRITES:
            if name.startswith("shutil.copy"):
                call.reads(*self._paths(node, 1))
            call.writes(*(self._paths(node, 2) if name in _MOVES else self._paths(node, 2)[-1:]))
        elif name in _OPENS:
            modes = [self._text(one) for one in node.args[1:2]]
            modes += [self._text(one.value) for one in node.keywords if one.arg == "mode"]
            (call.writes if set("".join(mode or "" for mode in modes)) & set("wax+") else call.reads)(
                *self._paths(node, 1)
            )
        else:
            return False
        return True

    def _reaches(self, node: ast.Call, name: str) -> bool:
        """Record a call that reaches other machines or other processes; return whether it is one."""
        call = self._call
        if name in _SENDS or name.startswith("socket.socket"):
            call.find("sends", name)
        elif name in _FETCHES:
            call.find("leaves", name)
            if name.endswith("urlretrieve"):
                for path in self._paths(node, 2)[1:]:
                    call.writes(path)
                    call.scope.write(call.path(path), REMOTE)
            if any(k.arg == "data" for k in node.keywords) or (name.endswith("urlopen") and len(node.args) > 1):
                call.find("sends", name)
        elif name.rpartition(".")[2] in _SERVERS or name == "http.server.test":
            if not (node.args and (address := self._address(node.args[0])) and not reachable(address)):
                call.find("opens", name)
        elif name in _PROCESSES:
            call.find(_PROCESSES[name], name)
        else:
            return False
        self._used.add(name.rpartition(".")[2])
        return True

    def _address(self, node: ast.expr) -> str | None:
        """Return the address in a pair of address and port, or an address alone."""
        return self._text(node.elts[0] if isinstance(node, ast.Tuple) and node.elts else node)

    def _method(self, node: ast.Call, function: ast.Attribute) -> None:
        """Record what methods of ``pathlib.Path``, of archives and of connections do."""
        if function.attr in ("extractall", "extract"):
            self._call.writes(*self._paths(node, 1))
        changes = function.attr == "request" and self._paths(node, 1) not in (["GET"], ["HEAD"])
        if self._connects and (changes or function.attr in _SENDING):
            self._call.find("sends", function.attr)
        text = self._text(function.value)
        if function.attr in ("unlink", "rmdir"):
            self._call.deletes(UNKNOWN if text is None else text)
        elif text is None:
            return
        elif function.attr in ("write_text", "write_bytes", "touch", "mkdir", "rename", "chmod", "symlink_to"):
            self._call.writes(text)
        elif function.attr in ("read_text", "read_bytes", "open"):
            self._call.reads(text)

    def _paths(self, node: ast.Call, most: int) -> list[str]:
        return [self._text(one) or UNKNOWN for one in node.args[:most]]

    def _runs(self, text: str | None) -> None:
        if text is None or not text.strip(HOLES + " "):
            self._call.find("remote-code" if text and REMOTE in text else "unknown-code", "Python")
        else:
            self._call.judge.read(text)

    def _runs_words(self, node: ast.Call, name: str) -> None:
        if not node.args:
            return
        shell = any(
            k.arg == "shell" and not (isinstance(k.value, ast.Constant) and not k.value.value) for k in node.keywords
        )
        first = node.args[0]
        if isinstance(first, ast.List | ast.Tuple):
            words = [self._text(one) or UNKNOWN for one in first.elts]
            if words:
                self._call.judge.run(words)
            return
        text = self._text(first)
        if shell or text is None or not name.startswith("os."):
            self._runs(text)
        else:
            self._call.judge.run([text, *(self._text(one) or UNKNOWN for one in node.args[2:])])

    def _hides(self, name: str, node: ast.Call, first: str | None) -> None:
        call = self._call
        if name in _EXECS:
            if any(self._fetches(one) or "requests" in ast.dump(one) for one in node.args):
                call.find("remote-code", "Python")
            elif first is not None and known(first):
                if first in self._decoded:
                    call.find("hidden-code", name)
                python_code(call, first)
            else:
                call.find("unknown-code", name)
        elif not (name in _IMPORTS and first is not None and known(first)) and not self._gets_little(name, node):
            call.find("unknown-code", name)

    def _gets_little(self, name: str, node: ast.Call) -> bool:
        """Whether a call only gets an attribute by a literal name, and not of a powerful module."""
        named = name == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
        return named and self._dotted(node.args[0]) not in _POWERFUL
