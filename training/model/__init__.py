"""The network that is trained: a backbone and its new head."""
