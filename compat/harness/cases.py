"""Reads the case files of the comparison. Their small language is described in compat/README.md."""

import re
from dataclasses import dataclass, field

from . import Failure

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", '"': '"', "\\": "\\"}
_WORD = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']+)""")
_REPEAT = re.compile(r"\{(.+) x (\d+)\}")
_PREFIX = re.compile(r"(@\d+|~\d*|\?|%|&)\s+")
# What `~` alone tolerates, in whatever unit the reply has.
_TOLERANCE = 2000


@dataclass
class Line:
    """One line of a section: a request, and how its replies are to be compared."""

    text: str
    words: list = field(default_factory=list)
    connection: int = 1
    tolerance: int | None = None
    type_only: bool = False
    unordered: bool = False
    unanswered: bool = False
    answer_only: bool = False
    await_blocked: int | None = None
    raw: bytes | None = None
    await_gone: str | None = None
    documented: list = field(default_factory=list)


@dataclass
class Section:
    """Lines that share connections, beginning with an empty keyspace."""

    name: str
    lines: list

    @property
    def is_newer(self):
        return any(line.documented for line in self.lines)


def read(path):
    """The sections of a file."""
    sections = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        text = text.strip()
        if text.startswith("=="):
            sections.append(Section(f"{path.stem}: {text[2:].strip()}", []))
        elif text and not text.startswith("#"):
            try:
                sections[-1].lines.append(parse(text))
            except (ValueError, IndexError) as error:
                raise Failure(f"{path.name}:{number}: {error}: {text}") from error
    return sections


def parse(text):
    """One line."""
    line = Line(text)
    while prefix := _PREFIX.match(text):
        sign, text = prefix.group(1), text[prefix.end() :]
        if sign.startswith("@"):
            line.connection = int(sign[1:])
        elif sign.startswith("~"):
            line.tolerance = int(sign[1:] or _TOLERANCE)
        line.type_only |= sign == "?"
        line.unordered |= sign == "%"
        line.unanswered |= sign == "&"
    text, *documented = re.split(r"\s=>\s", text)
    line.documented = [pattern(reply.strip()) for reply in documented]
    words = split(text)
    if words[0] == b"await-gone":
        line.await_gone = words[1].decode()
    elif words[0] == b"await-blocked":
        line.await_blocked = int(words[1])
    elif words[0] == b"answer":
        line.answer_only = True
    elif words[0] == b"raw":
        line.raw = b"".join(words[1:])
    else:
        line.words = words
    return line


def pattern(text):
    """A reply written down: its bytes, with escapes, or a regular expression between slashes."""
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        return re.compile(unescape(text[1:-1]), re.DOTALL)
    return re.compile(re.escape(unescape(text)))


def split(text):
    """Words as redis-cli reads them; {x x 1000} is a word of a thousand x."""
    words, at = [], 0
    while repeated_or_word := _next(text, at):
        word, at = repeated_or_word
        words.append(word)
    if text[at:].strip():
        raise ValueError(f"cannot read {text[at:]!r}")
    return words


def _next(text, at):
    blank = re.compile(r"\s*").match(text, at).end()
    if repeat := _REPEAT.match(text, blank):
        return unescape(repeat.group(1)) * int(repeat.group(2)), repeat.end()
    word = _WORD.match(text, at)
    if not word:
        return None
    quoted = word.group(1)
    if quoted.startswith('"'):
        return unescape(quoted[1:-1]), word.end()
    if quoted.startswith("'"):
        return quoted[1:-1].encode(), word.end()
    return quoted.encode(), word.end()


def unescape(text):
    """Bytes of a text with backslash escapes. Unknown ones stay as they are, for regular expressions."""

    def one(match):
        code = match.group(1)
        if code.startswith("x"):
            return chr(int(code[1:], 16))
        return _ESCAPES.get(code, match.group(0))

    return re.sub(r"\\(x[0-9a-fA-F]{2}|.)", one, text).encode("latin-1")
