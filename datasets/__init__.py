"""Recipes for data sets, run from the checkout (`python -m datasets.synthetic`); not installed."""
