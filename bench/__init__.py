"""Benchmarks, each beside its baseline: `python -m bench [case ...]`. Not a timed test."""
