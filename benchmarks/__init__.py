"""The cost of a heatmap, as a ratio to the plain prediction on the same machine in the same run.

The command is `python -m benchmarks`; its options are in `__main__.py`.
"""
