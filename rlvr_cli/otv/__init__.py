"""One-token verification: a token, its adapters and a head that read a frozen model's cache."""
