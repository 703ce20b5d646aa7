"""Arguments that name where foreign code, or what controls it, comes from: templates, recipes, hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..calls import Call
from ..places import Place, place_of
from ..values import REMOTE, known, names
from .servers import reachable

__all__ = ["comes_from", "is_elsewhere"]

_ELSEWHERE = re.compile(
    r"(?:\w+::)?(?:https?|git|ssh|oci|ftps?|s3|gcs|hg|tcp|tls|\w+\+(?:https?|ssh|tcp|tls|git))://(?P<host>[^/?#]*)"
    r"|(?:gh|gl|bb|github|gitlab|bitbucket|sourcehut|tarball|flake|npm|jsr):[\w@]|[\w.-]+@[\w.-]+:[\w/~]"
    r"|(?:\w+::)?(?:github|gitlab|bitbucket|codeberg|ghcr)\.(?:com|org|io)/"
)
"""An address, or a short form of one as used by templates and flakes."""

_CODE = """
docker podman nerdctl | compose,stack | -f --file -c --compose-file
docker-compose podman-compose | | -f --file
docker | bake | WORDS -f --file
podman | play,kube | WORDS
cookiecutter cruft copier yo projen hygen kickstart boilr | | WORDS
pre-commit prek | try-repo | WORDS
terraform tofu | init | -from-module --from-module
terragrunt | | --terragrunt-source --source --terragrunt-config --config
pulumi | new,up,update,preview | WORDS
nix | build,develop,shell,eval,run,profile,flake,print-dev-env,bundle,repl | WORDS -f --file -I
nix-build nix-shell nix-instantiate | | WORDS -I
task go-task | | -t --taskfile
just | | -f --justfile
earthly | | WORDS
dagger | | -m --mod --module
devcontainer | templates,features | -t --template-id -f
devpod | up | WORDS
gitpod coder | | WORDS
deno | install,compile,test,bench,task,eval,serve,add | WORDS -c --config --import-map --lock
cargo | generate | WORDS --git -g
mvn mvnw | | -s --settings -gs --global-settings -f --file -DarchetypeCatalog -DarchetypeRepository
gradle gradlew | | -I --init-script -b --build-file -c --settings-file
rails | | -m --template LOCATION
django-admin manage.py | startproject,startapp | --template
vagrant | box,init | WORDS --box
packer | build,init,validate | WORDS -var-file
conda mamba micromamba | create,update,install | -f --file
ansible-galaxy | | WORDS -r --requirement --role-file -s --server
kubectl oc kustomize | kustomize,build,apply,create,delete,diff | WORDS -k
mise rtx | plugin,plugins,trust | WORDS
nomad | run,plan,job | WORDS
meson | wrap,subprojects | WORDS
bazel | | --registry --override_repository --override_module
skaffold tilt | | -f --filename --file -m
helmfile | | -f --file
semgrep ansible-lint yamllint | | -c --config --config-file
renovate | | --config
eslint prettier stylelint | | -c --config --resolve-plugins-relative-to
jupyter jupyter-lab | | --config
bundle bundler | | --gemfile
composer | create-project | --repository --repository-url
dotnet | new | WORDS --install -i --add-source --nuget-source
"""
"""Programs | required words among their operands, alternatives separated by commas | where the source they obey is
named: options, names before ``=``, or any operand."""

_HOSTS = """
adb sdb hdc | connect,pair,tconn | WORDS
adb sdb | | -H
docker podman nerdctl | context | --docker host
docker | buildx create | WORDS
podman | | --url --connection
podman | system connection | WORDS
virsh virt-manager virt-install | | -c --connect
lxc incus | remote add | WORDS
kubectl oc | | -s --server
helm | | --kube-apiserver
nomad consul vault boundary | | -address -http-addr --address --http-addr
etcdctl | | --endpoints
aws | | --endpoint-url
pulumi | login | WORDS
argocd | login | WORDS
talosctl | | -e --endpoints -n --nodes
temporal tctl | | --address
rabbitmqadmin | | -H --host
"""
"""The same for hosts that receive the user's rights or control what is sent to them: devices, daemons."""


_FILES = """
make gmake | | -f --file --makefile
ninja samu | | -f
cmake | | -P
ctest | | -S
java javaw | | -jar
tox nox rake fab doit scons ant invoke inv gulp grunt | | -c --conf -f --file --rakefile --gulpfile --gruntfile -r
just | | -f --justfile
task go-task | | -t --taskfile
gradle gradlew | | -b --build-file -I --init-script
mvn mvnw | | -f --file
cargo | | --manifest-path
go | run | WORDS
dotnet | | --project
java javaw | | -cp -classpath --class-path
ruby perl | | -I
coverage | run | WORDS
docker | stack,bake | -c --compose-file -f --file
overmind goreman foreman honcho | | -f --procfile
skaffold tilt | | -f --filename --file
docker podman nerdctl | compose | -f --file
docker-compose podman-compose | | -f --file
pytest py.test rspec bats mocha phpunit | | WORDS -c
"""
"""Where programs are given the file that says what they run, which is usually in the workspace."""

_FOLDERS = """
make gmake ninja samu scons go meson bazel | | -C --directory
ctest | | --test-dir
just task go-task invoke inv | | -d --dir --working-directory
gradle gradlew | | -p --project-dir
npm pnpm yarn bun | | --prefix -C --dir --cwd
terraform tofu | apply,plan,destroy | -chdir
docker podman nerdctl | compose | --project-directory
docker-compose podman-compose | | --project-directory
"""
"""The same for the folder that contains it."""


_Row = tuple[tuple[frozenset[str], ...], frozenset[str]]


def _rows(text: str) -> dict[str, list[_Row]]:
    made: dict[str, list[_Row]] = {}
    for row in text.strip().splitlines():
        programs, words, where = row.split("|")
        for name in programs.split():
            made.setdefault(name, []).append((tuple(frozenset(one.split(",")) for one in words.split()), names(where)))
    return made


_OBEYED, _REACHED, _RUN, _BUILT = map(_rows, (_CODE, _HOSTS, _FILES, _FOLDERS))
_NOT_HERE = (Place.OUTSIDE, Place.SYSTEM, Place.DOCUMENTS, Place.HOME, Place.ROOT)
_INSTALLED = re.compile(r"/(?:usr|opt|lib)/")


def is_elsewhere(text: str) -> bool:
    """Whether a text is an address on another machine, or was just fetched from one."""
    found = _ELSEWHERE.match(text)
    if found is None:
        return REMOTE in text
    return not found["host"] or reachable(found["host"].rpartition("@")[2])


def comes_from(call: Call) -> None:
    """Record remote sources that a command obeys, and hosts that it lets in or acts on."""
    name, args = call.name, call.args
    if name in ("python", "python3", "pypy") and args[:1]:
        # The file, or the module, of a Python program that can also be run by its own name.
        module = args[0] == "-m"
        name = "".join(args[1:2]).replace("_", "-") if module else args[0].rpartition("/")[2]
        args = args[2:] if module else args[1:]
    for given in _given(_OBEYED.get(name, ()), args):
        if is_elsewhere(given) or call.scope.fetched(given) or (given == "-" and REMOTE in (call.stdin or "")):
            call.find("remote-code", given)
    for rows, places in ((_RUN, (*_NOT_HERE, Place.TEMPORARY)), (_BUILT, _NOT_HERE)):
        for given in _given(rows.get(name, ()), args):
            path = call.path(given)
            if place_of(path) in places and path not in call.scope.files and not _INSTALLED.match(path):
                call.find("unread-file", given)
    for given in _given(_REACHED.get(name, ()), args):
        host = given.partition("host=")[2] or given
        if _is_host(host) or (name in _DEVICES and not known(host)):
            call.find("other-machine", host)
    if name in _DEVICES and "push" in args:
        call.reads(*args[args.index("push") + 1 : -1])


_DEVICES = names("adb sdb hdc")


def _is_host(text: str) -> bool:
    """Whether a text is the address of another machine: a name with dots or a port, or a URL."""
    if _ELSEWHERE.match(text):
        return is_elsewhere(text)
    return re.match(r"\[?[\w-]+(?:[.:][\w-]+)+", text) is not None and reachable(text)


def _given(rows: Sequence[_Row], args: Sequence[str]) -> Iterator[str]:
    operands = [arg for arg in args if not arg.startswith("-") or arg == "-"]
    for words, where in rows:
        if any(one.isdisjoint(operands) for one in words):
            continue
        if "WORDS" in where:
            yield from operands
        for place, arg in enumerate(args):
            name, equals, value = arg.partition("=")
            if name in where:
                yield value if equals else "".join(args[place + 1 : place + 2])
            elif arg[:2] in where and arg[:2] != "--":
                yield arg[2:]
