"""The report of an audit: one HTML page, and its numbers as JSON."""
