"""Images from a folder, a zip or an address to batches."""
