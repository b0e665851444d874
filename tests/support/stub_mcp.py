"""`python stub_mcp.py`: an MCP server over standard input and output, of the standard library only.

It speaks as servers of 2025 do. `--once FILE`: it starts only where there is no such file, and makes it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

TEXT = {"type": "object", "properties": {"text": {"$ref": "#/$defs/Text"}}, "required": ["text"]}
ECHO = {**TEXT, "$defs": {"Text": {"type": "string", "title": "Text"}}, "title": "echoArguments"}
TOOLS: list[dict[str, Any]] = [
    {"name": "echo", "description": "Say it.", "inputSchema": ECHO},
    {"name": "count", "description": "Count.", "inputSchema": {"type": "object"}},
    {"name": "env", "inputSchema": {"type": "object", "properties": {"of": {"type": "string"}}}},
    {"name": "refuse", "inputSchema": {"type": "object"}},
    {"name": "unknown", "inputSchema": {"type": "object"}},
    {"name": "die", "inputSchema": {"type": "object"}},
    {"name": "sleep", "inputSchema": {"type": "object"}},
]
counted = 0


def called(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    global counted
    text = ""
    if name == "echo":
        text = arguments["text"]
    elif name == "count":
        counted += 1
        text = str(counted)
    elif name == "env":
        text = os.environ.get(arguments["of"], "unset")
    elif name == "die":
        os._exit(1)
    elif name == "sleep":
        time.sleep(1.5)
    elif name == "refuse":
        return {"content": [{"type": "text", "text": "I refuse"}], "isError": True}
    content = [{"type": "text", "text": text}, {"type": "image", "data": "", "mimeType": "image/png"}]
    return {"content": content[: 2 if name == "echo" else 1], "isError": False}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """`result` or `error` of a request."""
    if method == "initialize":
        said = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}}
        return {"result": {**said, "serverInfo": {"name": "stub", "version": "1"}}}
    if method == "tools/list":  # in pages of two
        at = int(params.get("cursor") or 0)
        more = {"nextCursor": str(at + 2)} if at + 2 < len(TOOLS) else {}
        return {"result": {"tools": TOOLS[at : at + 2], **more}}
    if method == "tools/call" and params["name"] != "unknown":
        return {"result": called(params["name"], params.get("arguments") or {})}
    return {"error": {"code": -32602, "message": f"no {params.get('name', method)} here"}}


def main() -> None:
    if "--once" in sys.argv:
        marker = sys.argv[sys.argv.index("--once") + 1]
        if os.path.exists(marker):
            sys.exit("I start once only")
        open(marker, "w").close()
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            said = answer(message["method"], message.get("params") or {})
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}), flush=True)


if __name__ == "__main__":
    main()
