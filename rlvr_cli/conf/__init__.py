"""The YAML groups that recipes are composed of."""
