"""DeepSpeed: the policy, its critic and reference, logprobs, micro-batches, searches for bad gradients."""
