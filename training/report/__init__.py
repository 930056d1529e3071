"""Numbers and figures of a finished run."""
