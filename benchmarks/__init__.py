"""Measurements: speed and ablations, run by hand (`python -m benchmarks.NAME`), never by the tests."""
