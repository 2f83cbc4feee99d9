"""Figures of results. They draw what they are given and compute no science; matplotlib (extra `plot`) is imported only
when a figure is drawn."""
