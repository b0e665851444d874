from verifiers.v1 import Env

__all__ = ["Env"]
