"""A bench for recipes of tests, as YAML."""

from __future__ import annotations

BENCH = """
eval:
  every: 1
  benches:
    chance:
      source: {path: "synthetic:addition", split: eval, chat: never, options: {size: 12}}
      verifier: {name: contains, text: "1"}
      k: 2
      seed: 5
      max_tokens: 12
      problems: 13
checkpoint: {every: 1, keep: 1, best: chance/avg@2}
"""
