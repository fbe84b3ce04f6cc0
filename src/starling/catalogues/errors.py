"""Errors of a user's input: one message that says what is wrong, where, and the mend."""

import numpy as np


class CatalogueError(ValueError):
    """The table or its configuration cannot be used as it is; the message is meant for the user."""


class NothingToFit(CatalogueError):
    """No row of a table can be fitted; ``status`` says why of each."""

    def __init__(self, message: str, status: np.ndarray) -> None:
        super().__init__(message)
        self.status = status
