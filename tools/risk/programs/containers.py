"""Containers, and what they can access on this machine."""

from __future__ import annotations

import re

from ..calls import Call, Handlers, options_of
from ..places import Place, place_of
from ..values import DATA, REMOTE, UNKNOWN, names
from .tables import SHELLS, coded

__all__ = ["CONTAINERS"]


_DOCKER_TAKES = (
    "-v -p -e -w -u -h -l -m -c --volume --mount --name --env --env-file --network --net --publish --user "
    "--workdir --entrypoint --hostname --label --memory --cpus --platform --pid --ipc --uts --userns "
    "--device --cap-add --cap-drop --security-opt --restart --add-host --dns --link --log-driver --gpus "
    "--shm-size --tmpfs --ulimit --volumes-from --cgroupns --runtime --pull --expose --health-cmd --ip "
    "--mac-address --group-add"
)


_DOCKER_GROUPS = names("container image compose buildx builder pod")
_DOCKER_READS = names(
    "ps images info version inspect logs top stats port history search events diff ls list config context help df "
    "container image network volume system buildx compose manifest"
)


_DOCKER_RULES = coded("""
leaves            pull login
changes-outside   push
workspace-code    build up
writes            start restart stop pause unpause load import tag commit save export wait attach
""")
"""Command -> its rule."""


_REMOTE_CONTEXT = re.compile(r"(?:https?|git|ssh|oci)://|git@|(?:github|gitlab)\.com/|.*" + REMOTE)


def _docker(call: Call) -> None:
    options = options_of(
        call.args,
        "-H -c --host --context --config -l --log-level -f --file -p --project-name --profile --env-file",
        first=True,
    )
    if any("tcp://" in value or "ssh://" in value for value in options.each("-H --host")):
        call.find("other-machine", "docker -H")
    words = options.operands
    if call.name != "docker-compose" and len(words) > 1 and words[0] in _DOCKER_GROUPS:
        words = words[1:]
    command, rest = (words[0], words[1:]) if words else ("", [])
    joined = " ".join(call.args)
    if command in ("run", "create", "exec"):
        _docker_run(call, command, rest)
    elif "prune" in call.args:
        call.find("outside-delete", "prune")
    elif command in ("rm", "rmi", "down", "kill") or (
        command in ("volume", "network", "secret", "config", "swarm", "stack", "service", "node")
        and rest[:1] in (["rm"], ["remove"], ["leave"], ["update"], ["init"], ["join"], ["create"], ["deploy"])
    ):
        mass = "$(" in joined or UNKNOWN in joined or DATA in joined or re.search(r"\s(?:-v|--volumes|--rmi)\b", joined)
        call.find("outside-delete" if mass else "ends-own", command)
    elif command in ("build", "bake", "up") and (source := _context_outside(call, command, rest)):
        call.find("remote-code", source)
    elif command in _DOCKER_RULES:
        call.find(_DOCKER_RULES[command], command)
    elif command == "cp":
        _copied(call, rest)
    elif command and command not in _DOCKER_READS:
        call.find("unknown-program", command)


def _context_outside(call: Call, command: str, rest: list[str]) -> str:
    """Return the build context or file if it comes from outside; empty if it is on this machine."""
    takes = (
        "-t -f -o --tag --file --build-arg --build-context --target --label --platform --cache-from --cache-to "
        "--output --progress --secret --ssh --network --add-host --iidfile --metadata-file --builder --set"
    )
    options = options_of(rest, takes)
    files = [*options.each("-f --file"), *options_of(call.args, "-f --file").each("-f --file")]
    contexts = [value.partition("=")[2] for value in options.each("--build-context")]
    piped = command == "build" and "-" in [*options.operands, *files] and REMOTE in (call.stdin or "")
    found = (one for one in [*options.operands, *files, *contexts] if _REMOTE_CONTEXT.match(one))
    return next(found, "a context from a pipe" if piped else "")


def _copied(call: Call, rest: list[str]) -> None:
    operands = [arg for arg in rest if not arg.startswith("-")]
    for one in operands[:-1]:
        if ":" not in one:
            call.reads(one)
    if operands and ":" not in operands[-1]:
        call.writes(operands[-1])
    call.find("writes")


def _docker_run(call: Call, command: str, rest: list[str]) -> None:
    options = options_of(rest, _DOCKER_TAKES, first=True)
    if any(name in ("--privileged",) for name, _ in options.given):
        call.find("container", "--privileged")
    for value in options.each("--pid --ipc --uts --userns --net --network --cgroupns"):
        if value == "host" or value.startswith("container:"):
            call.find("container", f"namespace {value}")
    if "--cap-add --device --security-opt" in options:
        call.find("container", "more rights")
    for value in [*options.each("-v --volume"), *(_source(one) for one in options.each("--mount"))]:
        source = value.split(":")[0]
        place = place_of(call.path(source)) if source.startswith(("/", "~", ".", UNKNOWN)) else Place.NOTHING
        if (
            place in (Place.ROOT, Place.HOME, Place.SYSTEM, Place.DEVICE)
            or "docker.sock" in source
            or source.startswith(("/etc", "/var/run"))
        ):
            call.find("container", f"mounts {source}")
        elif place is Place.OUTSIDE:
            call.reads(source)
    call.find("writes" if command == "exec" else "workspace-code", "".join(options.operands[:1]))
    entry = options.value("--entrypoint")
    words = [*([entry] if entry else []), *options.operands[1:]]
    is_shell = bool(words) and words[0].rpartition("/")[2] in SHELLS
    # A shell without a text is just an interactive shell inside the container.
    if not (is_shell and all(word.startswith("-") and "c" not in word for word in words[1:])):
        call.run(words)


def _source(mount: str) -> str:
    found = re.search(r"(?:source|src)=([^,]+)", mount)
    return found[1] if found else ""


CONTAINERS: Handlers = dict.fromkeys(("docker", "podman", "nerdctl", "docker-compose", "finch"), _docker)
