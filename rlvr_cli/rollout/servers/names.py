"""What both sides of a server call things by."""

from __future__ import annotations

from rlvr_cli.core.server_token import TOKEN as TOKEN

BACKEND = "rlvr_servers"
"""Of vLLM's weight transfer."""
ABOUT = "RLVR_SERVER_ABOUT"
"""Environment variable with what a server says of itself."""
SEES = "RLVR_SERVER_SEES"
"""Environment variable that is set where its model sees images."""
ABOUT_ROUTE = "/rlvr/about"
PARCEL_ROUTE = "/rlvr/parcels"
SAMPLE_ROUTE, ABORT_ROUTE = "/rlvr/samples", "/rlvr/abort"
