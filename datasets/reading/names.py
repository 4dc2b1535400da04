"""Names of files and classes: how they are shown, and when two of them are the same.

File systems store names as bytes. Python hands on those that are not valid UTF-8 as surrogates, which cannot be printed
or encoded; macOS writes letters and their accents apart (NFD) where other systems write them as one (NFC).
"""

import unicodedata

NOT_UTF8 = range(0xDC80, 0xDD00)  # of bytes that are not valid UTF-8, as os.fsdecode writes them


def shown(text: object) -> str:
    """Return `str(text)` as one line that can be printed and stored: what cannot is escaped, as in 'caf\\xe9'."""
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def normalized(name: str) -> str:
    """Return the form by which names are compared: NFC, of UTF-8 whatever the file system's encoding is taken for."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))


def _escaped(character: str) -> str:
    if ord(character) in NOT_UTF8:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
