"""The rules of command risk, each with an id, a risk, an effect and one line of reason."""

from __future__ import annotations

from dataclasses import dataclass

from ...configs.words import Effect, Risk

__all__ = ["RULES", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that a command can match.

    Attributes:
        risk: How bad it is.
        effect: What it does.
        text: Why, in one line.
    """

    risk: Risk
    effect: Effect
    text: str


_ROWS = """
reads               low      read         only reads
leaves              medium   external     reaches outside this machine, to read
writes              medium   write        writes files
deletes             medium   destructive  deletes files it names
unknown-program     medium   write        is a program that is not known here
workspace-code      medium   write        runs code of the workspace
code                medium   write        runs code written in the command
installs-listed     medium   external     installs what the workspace lists
changes-elsewhere   medium   external     changes what lies outside this machine
ends-own            medium   write        ends processes it names
unknown-text        unknown  destructive  cannot be read as shell text
too-long            unknown  destructive  is longer than what is read
too-deep            unknown  destructive  is nested deeper than what is read
too-much            unknown  destructive  has more parts than what is read
fault               unknown  destructive  made its reader fail, which is a fault of the reader
unknown-command     unknown  destructive  runs a command that is known only when it runs
unknown-code        unknown  destructive  runs code that is known only when it runs
unread-file         unknown  destructive  runs a file that is not read here
unknown-target      unknown  destructive  deletes or changes what is known only when it runs
functions           unknown  destructive  defines functions, so it is a program and more than its commands
interactive         unknown  destructive  starts a shell or an interpreter whose input is not known
option-runs         high     destructive  runs a command out of an option
hidden-name         high     destructive  hides which command it runs
hidden-characters   high     destructive  has characters that cannot be seen, or that change the reading direction
hidden-code         high     destructive  runs code that is written so that it cannot be read
look-alike          high     destructive  is written with letters that look like others
privilege           high     write        runs with more rights than the user's
credentials         high     read         reads keys, passwords or what keeps them
system-read         high     read         reads files of the system or of other users
finds-privilege     high     read         looks for programs that give more rights
records             high     read         records what is typed, shown, said or sent on this machine
system-write        high     destructive  changes the system
protected-write     high     destructive  writes what will run later, or what decides who may come in
outside-delete      high     destructive  deletes outside the workspace
mass-delete         high     destructive  deletes the whole workspace or its history
history-rewrite     high     destructive  changes or drops what version control keeps
permissions         high     destructive  gives more rights to files
accounts            high     destructive  changes users, groups or passwords
services            high     destructive  changes services, jobs or the boot
power               high     destructive  stops or restarts the machine
processes           high     destructive  ends processes that it did not start
hides               high     destructive  removes or falsifies traces
round-trip          high     write        encodes a text and decodes it again, which only hides it
encrypts            high     destructive  encrypts files outside the workspace
firewall            high     destructive  changes the network of this machine
kernel              high     destructive  changes the kernel or its settings
environment         high     destructive  changes which code other programs load
sends               high     external     sends data out of this machine
changes-outside     high     external     changes what lies outside this machine, and may not be changed back
other-machine       high     external     acts on another machine
opens               high     external     opens this machine to others
installs            high     external     installs and runs code from outside
downloads-system    high     external     puts what it fetches where it will run
container           high     destructive  starts or enters a container that reaches this machine
attack              high     external     is a tool for attacking or probing other machines
database            high     destructive  drops or changes data in a database
desktop             high     destructive  drives other programs of the desktop
remote-code         critical destructive  runs code from outside that nobody has read
reverse-shell       critical destructive  gives a shell on this machine to another
wipes               critical destructive  destroys a disk, the system or all of a user's files
exhausts            critical destructive  starts processes until the machine stops
"""

RULES: dict[str, Rule] = {
    code: Rule(Risk(risk), Effect(effect), text)
    for code, risk, effect, text in (row.split(None, 3) for row in _ROWS.strip().splitlines())
}
"""Id -> rule. Rules below ``unknown`` do not ask a person."""
