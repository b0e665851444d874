"""A library of experiences, learned with a frozen model: rollouts compared in words, texts edited."""
