"""Programs that print or transform what is piped through: their output decides what a shell after them runs."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote

from ..calls import Call, Handlers, Options, finds, options_of, with_options
from ..environment import assign
from ..expansion import unquoted_ansi
from ..places import Place, place_of
from ..values import DATA, UNKNOWN, known, merged
from .outputs import writes_as_well

__all__ = ["STREAMS"]


def _echo(call: Call) -> str:
    words, escapes, newline = list(call.args), False, "\n"
    while words and re.fullmatch(r"-[neE]+", words[0]):
        escapes = "e" in words[0] or escapes
        newline = "" if "n" in words[0] else newline
        words.pop(0)
    text = " ".join(words)
    return (unquoted_ansi(text) if escapes else text) + newline


def _printf(call: Call) -> str:
    args = call.args
    if args[:1] == ["-v"] and len(args) > 2:
        assign(call, args[1], _formatted(args[2], args[3:]))
        return ""
    if args[:1] == ["--"]:
        args = args[1:]
    return _formatted(args[0], args[1:]) if args else ""


def _formatted(form: str, values: list[str]) -> str:
    if not known(form):
        return merged(form, *values)
    form = unquoted_ansi(form)
    left = list(values)
    made: list[str] = []
    while True:
        before = len(left)

        def one(found: re.Match[str]) -> str:
            kind = found[1]
            if kind == "%":
                return "%"
            value = left.pop(0) if left else ""
            if not known(value):
                return value
            if kind == "b":
                return unquoted_ansi(value)
            if kind == "c":
                return value[:1]
            if kind in "sq" and found[0] == f"%{kind}":
                return value
            try:
                number = ord(value[1]) if value[:1] in "'\"" and len(value) > 1 else int(value or "0", 0)
                return found[0] % number if kind in "dixXou" and len(found[0]) < 8 else UNKNOWN
            except (ValueError, TypeError, OverflowError):
                return value if kind in "sq" else UNKNOWN

        made.append(re.sub(r"%[-+ 0#]*\d*(?:\.\d+)?([a-zA-Z%])", one, form))
        if not left or len(left) == before or len(made) > 2000:
            return "".join(made)


def _input(call: Call, operands: list[str]) -> str:
    """Return what a filter reads: the files it names, or what is piped in."""
    if operands and operands != ["-"]:
        call.reads(*operands)
        texts = [(call.stdin or "") if one == "-" else call.scope.files.get(call.path(one), DATA) for one in operands]
        return "".join(texts)
    return DATA if call.stdin is None else call.stdin


def _cat(call: Call, options: Options) -> str:
    text = _input(call, options.operands)
    return merged(text) if options.given and not known(text) and "\n" not in text else text


def _encoded(call: Call, text: str) -> str:
    call.scope.encoded.add("".join(text.split()))
    return text


def _in_base64(call: Call, text: str) -> str:
    if not known(text):
        return merged(text)
    return _encoded(call, base64.b64encode(text.encode("utf-8", "replace")).decode() + "\n")


def _decoded(call: Call, text: str, decode: bytes | None) -> str:
    if "".join(text.split()) in call.scope.encoded:
        call.find("round-trip")
    if not known(text):
        return merged(text)
    if decode is None:
        return UNKNOWN
    plain = decode.decode("utf-8", "replace")
    call.scope.decoded.add(plain.strip())
    return plain


def _base(call: Call, options: Options) -> str:
    operands = options.operands
    if given := options.value("-i --input"):
        operands = [given]
    text = _input(call, operands)
    call.writes(*options.each("-o --output"))
    if "-d -D --decode" not in options:
        return _in_base64(call, text) if call.name in ("base64", "gbase64") else merged(text)
    decode = {"base64": base64.b64decode, "base32": base64.b32decode}.get(call.name)
    return _decoded(call, text, _tried(decode, text) if decode else None)


def _b64(call: Call) -> str:
    """b64encode and b64decode of the BSDs."""
    text = _input(call, options_of(call.args, "-o").operands)
    if call.name == "b64decode":
        return _decoded(call, text, _tried(base64.b64decode, text))
    return _in_base64(call, text)


def _tried(decode: object, text: str) -> bytes | None:
    data = "".join(text.split())
    try:
        return decode(data + "=" * (-len(data) % 4))  # type: ignore[operator, no-any-return]  # either decoder of base64
    except (binascii.Error, ValueError):
        return None


def _xxd(call: Call) -> str:
    plain = ["-p" if arg in ("-ps", "-plain", "-postscript") else arg for arg in call.args]
    options = options_of(plain, "-c -l -s -o -g")
    text = _input(call, options.operands[:1])
    call.writes(*options.operands[1:2])
    flags = {name for name, _ in options.given}
    if "-r" not in flags:
        return _encoded(call, text.encode().hex() + "\n") if "-p" in flags and known(text) else merged(text)
    try:
        return _decoded(call, text, bytes.fromhex("".join(text.split())) if "-p" in flags else None)
    except ValueError:
        return UNKNOWN


def _openssl(call: Call) -> str:
    options = options_of(
        call.args[1:],
        "-in -out -k -pass -passin -passout -key -inkey -CAfile -cert -connect -engine -provider -provider-path",
        single=True,
    )
    command = call.args[0] if call.args else ""
    read = [one for one in (options.value("-in"), options.value("-inkey"), options.value("-key")) if one]
    text = _input(call, [options.value("-in") or "-"])
    call.reads(*read[1:])
    call.writes(*options.each("-out"))
    names = {name for name, _ in options.given}
    for loaded in [*options.each("-engine -provider-path"), *options.each("-provider")]:
        if loaded not in ("default", "legacy", "base", "fips", "null"):
            call.find("option-runs", "openssl")
    if command == "s_client":
        call.find("sends" if call.stdin else "leaves")
    if command in ("s_server", "ocsp"):
        call.find("opens")
    coded = command == "base64" or names & {"-base64", "-a"}
    decodes = "-d" in names
    if (command == "enc" and not decodes and not coded) or (command in ("smime", "cms") and "-encrypt" in names):
        call.find("encrypts" if any(one.startswith(("/", "~", "..")) for one in map(call.path, read)) else "writes")
    if coded and not decodes:
        return _in_base64(call, text)
    if decodes and coded and names <= {"-d", "-base64", "-a", "-A", "-in", "-out"}:
        return _decoded(call, text, _tried(base64.b64decode, text))
    return merged(text) if not known(text) else UNKNOWN


def _rev(call: Call) -> str:
    text = _input(call, options_of(call.args).operands)
    return "\n".join(line[::-1] for line in text.split("\n")) if known(text) else merged(text)


def _tac(call: Call) -> str:
    text = _input(call, options_of(call.args).operands)
    return "\n".join(text.rstrip("\n").split("\n")[::-1]) + "\n" if known(text) else text


_CLASSES = {"[:lower:]": "a-z", "[:upper:]": "A-Z", "[:digit:]": "0-9", "[:space:]": " \t\n", "[:blank:]": " \t"}


def _tr(call: Call, options: Options) -> str:
    text = call.stdin if call.stdin is not None else DATA
    sets = [_characters(one) for one in options.operands]
    if not known(text) or "-c -C --complement" in options or None in sets or not sets:
        return merged(text)
    first, second = sets[0] or "", (sets[1] if len(sets) > 1 else "") or ""
    if "-d --delete" in options:
        return text.translate({ord(one): None for one in first})
    if "-s --squeeze-repeats" in options and not second:
        return re.sub(f"([{re.escape(first)}])\\1+", r"\1", text) if first else text
    if not second:
        return UNKNOWN
    second = (second + second[-1] * len(first))[: len(first)]
    return text.translate({ord(one): other for one, other in zip(first, second, strict=True)})


def _characters(given: str) -> str | None:
    if not known(given):
        return None
    for name, inner in _CLASSES.items():
        given = given.replace(name, inner)
    given = unquoted_ansi(given)
    made = re.sub(
        r"(.)-(.)",
        lambda found: "".join(map(chr, range(ord(found[1]), min(ord(found[2]), ord(found[1]) + 200) + 1))),
        given,
        flags=re.DOTALL,
    )
    return None if "[" in made and ":" in made else made


def _filter(call: Call) -> str:
    """Programs that keep some of the lines."""
    takes = "-n -c -k -t -T -S -o --lines --bytes --output --key --field-separator --compress-program --files0-from"
    options = options_of(call.args, takes if call.name in ("sort", "head", "tail") else "-f -s -w")
    if call.name == "sort":
        call.writes(*options.each("-o --output"))
        for program in options.each("--compress-program"):
            call.find("option-runs")
            call.run([program])
        call.reads(*options.each("--files0-from"))
        return _input(call, options.operands)
    if call.name == "uniq":
        call.writes(*options.operands[1:2])
        return _input(call, options.operands[:1])
    text = _input(call, options.operands)
    if not known(text) or "-c --bytes" in options:
        return text if not known(text) else UNKNOWN
    wanted = options.value("-n --lines") or next((n[1:] for n, _ in options.given if n[1:].isdigit()), "10")
    if not re.fullmatch(r"[+-]?\d{1,6}", wanted):
        return UNKNOWN
    lines, number = text.splitlines(keepends=True), int(wanted)
    if call.name == "head":
        return "".join(lines[:number])
    return "".join(lines[number - 1 :] if wanted[0] == "+" else lines[-abs(number) :] if number else [])


_SOUGHT = re.compile(r"passw|secret|token|api[_-]?key|AKIA|PRIVATE|credential|BEGIN .*KEY", re.IGNORECASE)


def _beyond(path: str) -> bool:
    return place_of(path) in (Place.HOME, Place.OUTSIDE, Place.ROOT, Place.SYSTEM)


def _grep(call: Call) -> str:
    options = options_of(
        call.args,
        "-e -f -A -B -C -m -d -D --include --exclude --exclude-dir --color --regexp --file --context"
        " --pre --hostname-bin --pager",
    )
    call.starts(*options.each("--pre --hostname-bin --pager"))
    operands = options.operands if "-e -f --regexp --file" in options else options.operands[1:]
    call.reads(*options.each("-f --file"), *operands)
    if any(map(_SOUGHT.search, call.args)) and any(_beyond(call.path(one)) for one in operands):
        call.find("credentials", "looks for them")
    if "-l -L --files-with-matches" in options:
        roots = operands or ["."]
        return "".join(f"{root}/{DATA}\n" for root in roots)
    if operands or call.stdin is None:
        return DATA
    return call.stdin


def _tee(call: Call, options: Options) -> str:
    call.writes(*options.operands)
    text = call.stdin if call.stdin is not None else DATA
    for one in options.operands:
        call.scope.write(call.path(one), text, adds="-a --append" in options)
    return text


def _changes(call: Call) -> str:
    """Programs that change each line in ways that are not tracked."""
    takes = (
        "-A -j -N -S -t -w" if call.name == "od" else "-d -f -c -b -w -s -n -i -t -o --delimiter --fields --characters"
    )
    options = options_of(call.args, takes)
    writes_as_well(call)
    return merged(_input(call, options.operands))


def _packs(call: Call) -> str:
    """gzip and similar: replace the files they name, or transform what is piped through."""
    options = options_of(call.args, "-S --suffix -T -o --threads")
    to_output = "-c --stdout --to-stdout -t -l --test --list" in options
    reads = to_output or call.name in ("zcat", "bzcat", "xzcat", "zstdcat", "lz4cat", "gzcat")
    if reads or not options.operands:
        return merged(_input(call, options.operands))
    call.writes(*options.operands, *options.each("-o"))
    call.scope.brought |= any(map(call.scope.fetched, options.operands))
    return UNKNOWN


def _pwd(call: Call) -> str:
    return (call.scope.folder or ".") + "\n"


def _seq(call: Call) -> str:
    numbers = [arg for arg in call.args if re.fullmatch(r"-?\d{1,6}", arg)]
    if len(numbers) != len(call.args) or not 1 <= len(numbers) <= 2:
        return UNKNOWN
    low, high = (1, int(numbers[0])) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))
    return "".join(f"{number}\n" for number in range(low, min(high, low + 50) + 1))


def _which(call: Call) -> str:
    """Print where programs are; each name gets a path in /usr/bin."""
    return "".join(f"/usr/bin/{arg}\n" for arg in call.args if not arg.startswith("-"))


def _names(call: Call) -> str:
    """basename, dirname, realpath and readlink, as far as the text alone allows."""
    paths = [arg for arg in call.args if not arg.startswith("-")]
    if not paths:
        return UNKNOWN
    if call.name == "dirname":
        return "".join(
            (path.rstrip("/").rpartition("/")[0] or ("/" if path[:1] == "/" else ".")) + "\n" for path in paths
        )
    if call.name == "basename":
        name = paths[0].rstrip("/").rpartition("/")[2]
        name = name if known(name) else f"./{merged(name)}"  # a base name has no folder
        return name.removesuffix(paths[1] if len(paths) > 1 else "") + "\n"
    return "".join(f"{path}\n" for path in paths)


def _jq(call: Call, options: Options) -> str:
    operands = options.operands if "-f --from-file" in options else options.operands[1:]
    if "-i --inplace" in options:
        call.writes(*operands)
    return merged(_input(call, operands))


def _decode_url(call: Call) -> str:
    text = call.stdin or ""
    return unquote(text) if known(text) else merged(text)


STREAMS: Handlers = {
    "echo": _echo,
    "printf": _printf,
    "b64encode b64decode": _b64,
    "cat": with_options(_cat),
    "base64 base32 basenc gbase64": with_options(_base, "-w --wrap -b -i --input -o --output"),
    "xxd": _xxd,
    "openssl": _openssl,
    "rev": _rev,
    "tac": _tac,
    "tr": with_options(_tr),
    "head tail sort uniq": _filter,
    "grep egrep fgrep rg ag ack zgrep": _grep,
    "tee sponge": with_options(_tee),
    ("cut paste fold fmt column nl expand unexpand iconv uudecode uuencode od hexdump strings colrm"): _changes,
    (
        "dos2unix unix2dos gzip gunzip zcat bzip2 bunzip2 bzcat xz unxz xzcat zstd unzstd zstdcat lz4 "
        "pigz pbzip2 lzma gzcat compress uncompress"
    ): _packs,
    "pwd": _pwd,
    "mktemp tempfile": finds("writes", prints=f"/tmp/{UNKNOWN}\n"),  # noqa: S108
    "uname nproc expr bc getconf": finds("", prints=UNKNOWN),
    "seq": _seq,
    "which type whereis": _which,
    "basename dirname realpath readlink": _names,
    "jq gojq": with_options(_jq, "--arg --argjson --slurpfile --rawfile -f --from-file --indent"),
    "urldecode": _decode_url,
}
