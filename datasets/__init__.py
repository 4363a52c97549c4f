"""Commands that make or download data sets: `python -m datasets.synthetic`, `python -m datasets.lfw`."""
