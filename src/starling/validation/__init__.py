"""Whether results can be trusted: the accuracy of emulators."""
