"""Errors of a user's input: one message that says what is wrong, where, and the mend."""


class CatalogueError(ValueError):
    """The table or its configuration cannot be used as it is; the message is meant for the user."""
