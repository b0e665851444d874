"""Benchmarks: samples, scores, intervals, comparisons; and verifiers on responses that are there already."""
