"""vLLM and numba in one process."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_llvmlites_library_does_not_claim_a_dict() -> None:
    """It has every attribute that it is asked for; vLLM takes `__dict__` at its word."""
    from llvmlite.binding import ffi

    from rlvr_cli.rollout.spare_llvmlite import spare_llvmlite

    spare_llvmlite()
    assert not hasattr(ffi.lib, "__dict__")
    assert callable(ffi.lib.LLVMPY_GetVersionInfo)
    spare_llvmlite()  # again, for the next engine
    assert callable(ffi.lib.LLVMPY_GetVersionInfo)
