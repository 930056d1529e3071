"""Files, whole or not at all: atomic writes, locks, finding files, the manifest, class names."""
