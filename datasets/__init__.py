"""Recipes for data sets, run from a checkout: `python -m datasets.synthetic`, `python -m datasets.lfw`."""
