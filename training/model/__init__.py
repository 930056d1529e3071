"""The network that is trained."""
