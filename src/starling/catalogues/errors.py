"""Errors of a user's input: one message that says what is wrong, where, and the mend."""

import difflib
from collections.abc import Iterable


class CatalogueError(ValueError):
    """The table or its configuration cannot be used as it is; the message is meant for the user."""


def nearest(name: str, options: Iterable[str], n: int = 3) -> str:
    """``"; did you mean 'a' or 'b'?"``, or the known names where they are few, or nothing."""
    options = list(dict.fromkeys(options))
    folded = {option.casefold(): option for option in options}
    if name.casefold() in folded:
        return f"; did you mean {folded[name.casefold()]!r}?"
    matches = difflib.get_close_matches(name.casefold(), folded, n=n, cutoff=0.5)
    if matches:
        return "; did you mean " + " or ".join(repr(folded[match]) for match in matches) + "?"
    if 0 < len(options) <= 12:
        return "; known are " + ", ".join(repr(option) for option in options)
    return ""
