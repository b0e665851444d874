"""A recipe with stages."""

from __future__ import annotations

from rlvr_cli import compose
from rlvr_cli.schema import Recipe

RECIPE = """
defaults:
  - algorithm: prorl
  - model: tiny
  - data@data.sum: addition
  - data@data.product: multiplication
  - verifier@verifiers.chance: random
  - rollout: vllm
  - trainer: zero0
  - _self_
name: staged
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 64}}
data: {sum: {limit: 24, verifiers: [chance]}, product: {limit: 24, verifiers: [chance], weight: 0}}
batch: {prompts_per_step: 6, group_size: 4}
rollout: {max_prompt_tokens: 16, max_tokens: 8, oversample: 1.5, kv_cache_gb: 0.25}
trainer: {steps: 7, lr: 1e-3, warmup_steps: 2, precision: fp32}
algorithm: {kl: {coef: 0.05}, reference: {every: 4, reset_optimizer: false}}
stages:
  mixed: {after: 2, weights: {product: 1}, max_tokens: 12, reset_reference: true, reset_optimizer: true}
  long: {after: 5, weights: {sum: 0}, max_tokens: 16, group_size: 3, temperature: 0.9, lr: 5e-4,
         shaping: {name: stop_properly}}
checkpoint: {every: 2}
tracker: {wandb: disabled}
"""


def load(path: str, *overrides: str) -> Recipe:
    recipe = compose.load(path, list(overrides))
    assert isinstance(recipe, Recipe)
    return recipe
