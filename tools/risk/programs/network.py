"""Programs that reach other machines."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ..calls import Call, Handlers, Options, finds, options_of, with_options
from ..places import Place, holds_secrets, place_of, runs_later
from ..values import DATA, HOLES, REMOTE, UNKNOWN, known

__all__ = ["NETWORK", "fetched"]

_LOCAL = re.compile(
    r"(?:localhost|127(?:\.\d+){3}|\[?::1\]?|0\.0\.0\.0|[\w.-]+\.localhost|host\.docker\.internal|\[::\])$"
)
_METADATA = re.compile(r"(?:169\.254\.|metadata\.|100\.100\.100\.200|fd00:ec2|0xa9fea9fe|2852039166|0251\.0376)")
_CURL_TAKES = (
    "-X -d -F -T -o -H -A -b -c -e -u -x -m -w -K -E -r -y -Y -z -C -D -t -P -Q --request --data "
    "--data-raw --data-binary --data-urlencode --data-ascii --form --form-string --upload-file --output "
    "--header --user-agent --cookie --cookie-jar --referer --user --proxy --max-time --write-out --config "
    "--cert --key --cacert --range --connect-timeout --retry --retry-delay --resolve --interface "
    "--output-dir --json --url --url-query --dump-header --unix-socket --oauth2-bearer "
    "--trace --trace-ascii --libcurl --stderr --etag-save --hsts --alt-svc --engine"
)
_WGET_TAKES = (
    "-O -o -P -a -i -e -t -T -w -Q -U -A -R -D -l -B -I -X --output-document --output-file "
    "--directory-prefix --append-output --input-file --execute --tries --timeout --wait --user-agent "
    "--accept --reject --domains --level --header --post-data --post-file --body-data --body-file "
    "--method --user --password --use-askpass --config --load-cookies --save-cookies --referer"
)


def fetched(call: Call, urls: list[str]) -> None:
    """Record the rules for requesting these addresses."""
    for url in urls:
        host = _host(url)
        if not host.strip(HOLES).isascii():
            call.find("look-alike", host)
        if _METADATA.match(host):
            call.find("credentials", url)
        if url.lower().startswith("file:"):
            call.reads(url)
        elif url.lower().startswith(("gopher:", "dict:", "telnet:", "smtp:")) or DATA in url.lstrip(DATA):
            call.find("sends", url)
    call.find("leaves")


def _host(url: str) -> str:
    try:
        parts = urlsplit(url if "//" in url else "//" + url)
        return parts.hostname or ""
    except ValueError:
        return UNKNOWN


def _is_local(url: str) -> bool:
    return _LOCAL.match(_host(url)) is not None


_CURL_WRITES = "--trace --trace-ascii -D --dump-header -c --cookie-jar --libcurl --stderr --etag-save --hsts --alt-svc"
"""Options with a file that is written in addition to the download."""


def _curl(call: Call, options: Options) -> str:
    urls = [*options.operands, *options.each("--url")]
    fetched(call, urls)
    call.reads(*options.each("-K --config --cert --key -b --cookie"))
    data = list(
        options.each("-d --data --data-raw --data-binary --data-urlencode --data-ascii -F --form --json --url-query")
    )
    files = list(options.each("-T --upload-file"))
    for one in data:
        at = re.search(r"(?:^|=)[@<](.+)", one)
        files += [at[1].split(";")[0]] if at else []
    call.reads(*(one for one in files if one != "-"))
    local = bool(urls) and all(map(_is_local, urls))
    method = (options.value("-X --request") or "").upper()
    gets = "-G --get" in options
    changes = method in ("POST", "PUT", "DELETE", "PATCH", "MKCOL", "MOVE") or (data and not gets) or bool(files)
    leaking = any(
        DATA in one for one in [*data, *options.each("-H --header -A --user-agent -e --referer -u --user -b --cookie")]
    )
    if (changes or leaking) and not local:
        call.find("sends", urls[0] if urls else "")
    for config in options.each("-K --config"):
        call.find("unread-file", config)
    call.writes(
        *options.each(_CURL_WRITES), *re.findall(r"%output\{>*([^}]+)\}", options.value("-w --write-out") or "")
    )
    headers = [one[1:] for one in options.each("-H --header") if one.startswith("@")]
    call.reads(*headers)
    if any("docker.sock" in one or "containerd" in one for one in options.each("--unix-socket")):
        call.find("container", "the daemon's socket")
    if "--engine" in options:
        call.find("option-runs", "curl --engine")
    named = "-O --remote-name -J --remote-name-all" in options
    output = options.value("-o --output")
    if named or "#" in (output or ""):
        _unnamed(call, urls, "-J --remote-header-name" in options)
    return _saved(call, output, urls, named, options.value("--output-dir"))


def _saved(call: Call, output: str | None, urls: list[str], named: bool, folder: str | None) -> str:
    """Remember which files the download is saved to; return what is printed."""
    targets = [output] if output and output != "-" else []
    if named:
        targets += [_host_file(url) for url in urls]
    for target in targets:
        path = f"{folder.rstrip('/')}/{target}" if folder else target
        place = place_of(call.path(path))
        if runs_later(call.path(path)) or place in (Place.SYSTEM, Place.DOCUMENTS):
            call.find("downloads-system", path)
        call.writes(path)
        call.scope.write(call.path(path), REMOTE)
    return "" if targets else REMOTE


def _unnamed(call: Call, urls: list[str], lists: bool) -> None:
    """Record that a download may be saved under any name."""
    if lists or any(not known(_host_file(url)) or re.search(r"[\[{]", url) for url in urls):
        call.scope.brought = True


def _host_file(url: str) -> str:
    return url.split("?")[0].rstrip("/").rpartition("/")[2] or "index.html"


def _wget(call: Call, options: Options) -> str:
    urls = options.operands
    fetched(call, urls)
    local = bool(urls) and all(map(_is_local, urls))
    files = list(options.each("--post-file --body-file"))
    call.reads(*files, *options.each("-i --input-file"))
    sends = files or "--post-data --body-data" in options or options.value("--method") not in (None, "GET", "HEAD")
    if sends and not local:
        call.find("sends", urls[0] if urls else "")
    for program in options.each("--use-askpass"):
        call.find("option-runs", "wget --use-askpass")
        call.run([program])
    for command in options.each("-e --execute"):
        if re.match(r"\s*(?:use_askpass|https?_proxy|output_document|post)", command):
            call.find("option-runs", "wget -e")
    call.writes(*options.each("-o --output-file -a --append-output --save-cookies --warc-file --rejected-log"))
    if any(place_of(call.path(file)) is not Place.WORKSPACE for file in options.each("--config")):
        call.find("unread-file", "wget --config")
    if "--spider" in options:
        return UNKNOWN
    output = options.value("-O --output-document")
    if any(name.startswith("-O") or name == "-O" for name, _ in options.given) and output in ("-", "/dev/stdout"):
        return REMOTE
    if output is None:
        many = "-i --input-file -r --recursive -m --mirror --content-disposition --trust-server-names -p"
        _unnamed(call, urls, many in options)
    return _saved(call, output, urls, output is None, options.value("-P --directory-prefix"))


def _fetch(call: Call) -> str:
    """Other clients: httpie, aria2c, lynx, downloads without git."""
    takes = "-o -O -d --output --out --dir -a --auth -s -x --user-agent -P"
    options = options_of(call.args, takes)
    words = [word for word in options.operands if word.upper() not in ("GET", "HEAD", "OPTIONS")]
    changes = [word for word in words if word.upper() in ("POST", "PUT", "DELETE", "PATCH")]
    urls = [word for word in words if word not in changes][:1]
    fetched(call, urls)
    fields = [word for word in words if re.match(r"[\w-]+(?:=|:=|@|=@)", word) and "://" not in word]
    if (changes or (call.name in ("http", "https", "xh") and fields)) and not all(map(_is_local, urls)):
        call.find("sends", urls[0] if urls else "")
    output = options.value("-o -O --output --out")
    if call.name in ("aria2c", "axel", "youtube-dl", "yt-dlp", "gdown"):
        _unnamed(call, urls, False)
        return _saved(call, output, urls, output is None, options.value("-d --dir"))
    return _saved(call, output, urls, False, None)


def _nc(call: Call) -> str:
    options = options_of(
        call.args, "-e -c -p -s -w -i -q -x -X -m -o -g -G -I -O -P -T -V --exec --sh-exec --lua-exec --source-port"
    )
    for text in options.each("-e -c --exec --sh-exec --lua-exec"):
        call.find("reverse-shell")
        call.shell(text)
    if "-z" in options and "-l --listen" not in options:
        call.find("leaves")
        return UNKNOWN
    if "-l --listen" in options:
        call.find("opens")
        return REMOTE
    if not options.operands:
        return UNKNOWN
    call.find("sends", options.operands[0])
    return REMOTE


def _socat(call: Call) -> str:
    for arg in call.args:
        found = re.match(r"(?:exec|system|shell):(.*)", arg, re.IGNORECASE | re.DOTALL)
        if found:
            call.find("reverse-shell")
            call.shell(re.split(r",(?=\w+(?:[,=]|$))", found[1])[0].strip("'\""))
        elif "listen" in arg.lower():
            call.find("opens")
    call.find("sends")
    return REMOTE


def _scp(call: Call, options: Options) -> str:
    operands = options.operands
    for program in options.each("-S -D"):
        call.find("option-runs", call.name)
        call.run([program])
    for setting in options.each("-o"):
        if re.match(r"(?:proxycommand|localcommand|knownhostscommand)", setting, re.IGNORECASE):
            call.runs_by(call.name, re.split(r"[= ]", setting, maxsplit=1)[-1])
    if call.name == "sftp" and call.stdin is not None and re.search(r"^\s*m?put\b", call.stdin, re.MULTILINE):
        call.find("sends", "sftp put")
    _transferred(call, operands)
    return UNKNOWN


def _transferred(call: Call, operands: list[str]) -> None:
    there = [one for one in operands if re.match(r"(?:[\w.@%+\[\]-]+:(?!\\)|\w+://|[^/]*\uf8f0[^/]*:)", one)]
    here = [one for one in operands if one not in there]
    if operands and operands[-1] in there and len(operands) > 1:
        call.reads(*here)
        call.find("sends", operands[-1])
    elif there:
        call.find("leaves")
        if here:
            call.writes(here[-1])
            for source in there:
                name = source.rpartition(":")[2].rpartition("/")[2]
                call.scope.write(call.path(here[-1]), REMOTE)
                call.scope.write(call.path(f"{here[-1].rstrip('/')}/{name}"), REMOTE)
                call.scope.brought |= not name or not known(name) or any(sign in name for sign in "*?[")
    elif operands:
        call.reads(*here[:-1])
        call.writes(*here[-1:])


_PLAIN_SSH = re.compile(
    r"(?:/usr/bin/)?ssh(?:\s+-(?:[pil]\s*\S+|[Cqv46axT]+"
    r"|o\s*(?:StrictHostKeyChecking|UserKnownHostsFile|Port|User)\S+))*\s*"
)


def _rsync(call: Call) -> str:
    takes = "-e -f -T -B -M --rsh --rsync-path --exclude --include --exclude-from --include-from --files-from --filter"
    options = options_of(call.args, takes)
    call.runs_by("rsync -e", *(text for text in options.each("-e --rsh") if not _PLAIN_SSH.fullmatch(text)))
    call.runs_by("rsync --rsync-path", *options.each("--rsync-path"))
    operands = options.operands
    if "--daemon" in options:
        call.find("opens", "rsync --daemon")
    if "-n --dry-run" in options:
        call.find("leaves")
        return UNKNOWN
    _transferred(call, operands)
    if any(name.startswith("--del") for name, _ in options.given) and operands:
        call.deletes(operands[-1], whole=True)
    if "--remove-source-files" in options:
        call.deletes(*operands[:-1])
    return UNKNOWN


def _looks_up(call: Call) -> str:
    """Name lookups and probes: the query itself may send data out."""
    if any(DATA in arg for arg in call.args):
        call.find("sends", "in the name that is asked for")
    for place, arg in enumerate(call.args):
        if arg == "-f" and call.name == "dig":
            call.reads(*call.args[place + 1 : place + 2])
    if call.name in ("ping", "ping6", "fping") and ("-f" in call.args or "-p" in call.args):
        call.find("sends")
    return UNKNOWN


def _mail(call: Call) -> str:
    call.reads(*(arg for arg in call.args if "/" in arg and "@" not in arg))
    call.find("sends")
    return UNKNOWN


def _sqlite(call: Call) -> None:
    texts = list(call.args)
    if call.stdin is not None and known(call.stdin):
        texts += [*call.stdin.splitlines(), call.stdin]
    for text in texts:
        _sqlite_command(call, text.strip())
        if re.search(r"^(?:load|(?:force\s+)?install)\s+\S", text.strip(), re.IGNORECASE):
            call.find("option-runs", call.name)
        # duckdb reads a name in quotes in the SQL text as a file.
        call.found += [("credentials", one) for one in re.findall(r"'([^']+)'", text) if holds_secrets(call.path(one))]
        call.writes(*re.findall(r"\battach\s+(?:database\s+)?'([^']+)'", text, re.IGNORECASE))
        if re.search(r"load_extension|writefile\s*\(|\bedit\s*\(", text, re.IGNORECASE):
            call.find("option-runs", "sqlite3")
        call.reads(*re.findall(r"readfile\s*\(\s*'([^']*)'", text, re.IGNORECASE))
        _sql(call, text)
    for file in options_of(call.args, "-init -cmd", single=True).each("-init"):
        if place_of(call.path(file)) is not Place.WORKSPACE:
            call.find("unread-file", file)
    operands = [arg for arg in call.args if not arg.startswith("-")]
    if operands:
        call.reads(re.sub(r"^file:|\?.*$", "", operands[0]))


def _sqlite_command(call: Call, text: str) -> None:
    """Judge a dot-command of the sqlite3 shell (sqlite.org/cli.html), whose name may be abbreviated."""
    found = re.match(r"\.(\w+)\s+(.*)", text)
    if not found:
        return
    name, rest = found[1], found[2].strip("'\" ")
    if _short_for(name, "shell system") or (_short_for(name, "output once") and rest.startswith("|")):
        call.runs_by("sqlite3 .shell", rest.lstrip("|"))
    elif _short_for(name, "read load import"):
        call.find("unread-file", "sqlite3")
    elif _short_for(name, "output once log save backup clone archive excel trace"):
        call.writes(*(one.strip("'\"") for one in rest.split()[-1:]))


def _short_for(name: str, commands: str) -> bool:
    return any(command.startswith(name) for command in commands.split())


def _sql(call: Call, text: str) -> None:
    if re.search(
        r"\b(?:drop\s+(?:table|database|schema|user|role|index|view)|truncate\s|delete\s+from|alter\s+(?:table|user|role)|grant\s"
        r"|into\s+(?:out|dump)file|copy\s.*\b(?:program|to)\b|xp_cmdshell|pg_read_file|lo_export|load_file)",
        text,
        re.IGNORECASE | re.DOTALL,
    ):
        call.find("database")
    elif re.search(r"^\s*(?:insert|update|create|replace)\b", text, re.IGNORECASE):
        call.find("writes")


def _database(call: Call) -> None:
    """Clients of database servers."""
    takes = "-c -e -f -h -u -U -d -p -D -P -n -a --command --execute --file --host --eval --pager"
    options = options_of(call.args, takes)
    for text in options.each("-c -e --command --execute --eval"):
        found = re.search(r"\\!\s*(.*)|^\s*(?:system|\\system)\s+(.*)|\\[ogw]\w*\s*\|\s*(.*)", text)
        if found:
            call.runs_by(call.name, found[1] or found[2] or found[3] or "")
        if re.search(r"^\s*(?:source\s|\\\.|\\ir?\s)", text):
            call.find("unread-file", "SQL")
        _sql(call, text)
        if re.search(r"\b(?:dropDatabase|deleteMany|remove|drop)\s*\(", text):
            call.find("database")
    for file in options.each("-f --file"):
        call.find("unread-file", file)
    call.starts(*options.each("--pager"))
    if call.stdin is not None:
        if known(call.stdin):
            _sql(call, call.stdin)
        else:
            call.find("remote-code" if REMOTE in call.stdin else "unread-file", "SQL")
    if call.name == "redis-cli" and re.search(
        r"\b(?:flush(?:all|db)|config|slaveof|replicaof|eval|module|del|shutdown|save)\b",
        " ".join(call.args),
        re.IGNORECASE,
    ):
        call.find("database")
    call.find("leaves")


NETWORK: Handlers = {
    "curl curlie": with_options(_curl, _CURL_TAKES),
    "wget wget2": with_options(_wget, _WGET_TAKES),
    (
        "http https xh aria2c axel lynx links w3m elinks fetch lwp-request GET HEAD youtube-dl yt-dlp gdown ab wrk hey"
    ): _fetch,
    "nc ncat netcat nc.openbsd nc.traditional": _nc,
    "socat": _socat,
    "telnet": finds("sends", prints=REMOTE),
    "scp sftp pscp": with_options(_scp, "-S -o -i -P -F -c -J -l -D -X"),
    "rsync": _rsync,
    ("dig nslookup host ping ping6 fping traceroute whois drill getent resolvectl"): _looks_up,
    "mail mailx sendmail mutt": _mail,
    "sqlite3 sqlite duckdb": _sqlite,
    "psql mysql mariadb mongo mongosh redis-cli cqlsh sqlcmd clickhouse-client": _database,
    "pg_dump pg_dumpall mysqldump mongodump": finds("writes"),
}
