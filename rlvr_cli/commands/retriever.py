"""`rlvr retriever`: a corpus behind HTTP."""

from __future__ import annotations

import argparse
from importlib import import_module

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.core.errors import UserError

RETRIEVER = """\
Answers POST /retrieve as the servers of Search-R1 and s3 do, by BM25 over the corpus, whose index is built
first where there is none. Whoever reaches the address can search.

examples:
  rlvr retriever documents.jsonl
  rlvr retriever wiki-18.jsonl --stem --k1 0.9 --b 0.4 --host 0.0.0.0
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, RETRIEVER, "CORPUS [--host 127.0.0.1] [--port 8000] [--topk 3]")
    add(parser)
    given = parser.parse_args(arguments)
    if not 0 <= given.port < 65536:
        raise UserError(f"--port is {given.port}; it must be from 0 to 65535")
    if given.topk < 1:
        raise UserError(f"--topk is {given.topk}; it must be at least 1")
    retrieval = import_module("rlvr_cli.environments.retrieval")
    try:
        settings = retrieval.Retrieval(
            corpus=given.corpus, k1=given.k1, b=given.b, stem=given.stem, index=given.index
        )
    except ValueError as error:
        raise UserError(str(error).replace("retrieval.", "--")) from error
    serve = import_module("rlvr_cli.environments.retrieval.serve").serve
    return int(serve(settings, given.host, given.port, given.topk))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", metavar="CORPUS", help=".jsonl or .parquet file of documents")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port (default 8000; 0: any free one)")
    parser.add_argument("--topk", type=int, default=3, help="documents where a request does not say (3)")
    parser.add_argument("--k1", type=float, default=1.2, help="of BM25 (default 1.2)")
    parser.add_argument("--b", type=float, default=0.75, help="of BM25 (default 0.75)")
    parser.add_argument("--stem", action="store_true", help="reduce English words to their stems")
    parser.add_argument("--index", metavar="FOLDER", help="where the index is kept (beside the corpus)")
