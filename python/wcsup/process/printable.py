"""Text of others, made safe for a terminal: a word, a file's name or a log line may hold escape codes."""

import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline; 0x9b alone begins an escape code
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # controls of writing direction reorder what is around them
    "\u2028\u2029\ufeff"  # line ends that are no newline, and a character without width
    "\ud800-\udfff]"  # bytes that are no text, as Python keeps them
)
_WHITE = str.maketrans({"\t": "\\t", "\n": "\\n"})


def printable(text: str) -> str:
    """Return a text in one line whose every character is shown: what a terminal would act on is an escape."""
    return _UNSAFE.sub(_escape, text).translate(_WHITE)


def printable_lines(text: str) -> str:
    """Return the same of a text whose lines and tabs stay."""
    return _UNSAFE.sub(_escape, text)


def printable_json(document: str) -> str:
    """Return a JSON document with the same meaning and nothing in it that a terminal would act on."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
