"""`rlvr init`: a file of problems and a model, looked at, become a short recipe that runs."""
