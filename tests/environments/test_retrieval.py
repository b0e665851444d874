"""Corpora, their BM25 index, and retrievers behind HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import log
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.retrieval import Document, Retrieval, index_path, open_retriever
from rlvr_cli.environments.retrieval.document import from_row
from rlvr_cli.environments.servers import NoAnswer
from rlvr_cli.gym import two_hop

ROWS = [
    {"id": "7", "contents": '"Eiffel Tower"\nThe tower in Paris.\nBuilt by Eiffel.'},
    {"title": "Paris", "text": "Capital of France."},
    {"id": 9, "title": "Bern", "text": "Capital of Switzerland."},
]


def corpus(folder: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path = folder / "corpus.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_both_forms_of_a_document() -> None:
    assert from_row(ROWS[0], 1) == Document(
        id="7", title="Eiffel Tower", text="The tower in Paris.\nBuilt by Eiffel."
    )
    assert from_row(ROWS[1], 2) == Document(id="2", title="Paris", text="Capital of France.")
    assert from_row(ROWS[1], 2).contents == '"Paris"\nCapital of France.'
    with pytest.raises(ValueError, match="neither `contents` nor `text`, but id, body"):
        from_row({"id": 1, "body": "x"}, 1)


def test_an_index_finds_scores_and_orders(tmp_path: Path) -> None:
    found = open_retriever(Retrieval(corpus=str(corpus(tmp_path)), stopwords=False, b=0.0, k1=1.0))
    (capitals, tower, nothing, empty) = found.search(["capital", "Eiffel tower", "Rome", ""], 2)
    assert [each.title for each in capitals] == ["Paris", "Bern"]  # equal scores: the corpus's order
    # BM25 with b=0: idf * tf / (tf + k1), idf = ln(1 + (N - n + 0.5) / (n + 0.5)), N=3, n=2, tf=1.
    assert capitals[0].score == pytest.approx(log(1 + 1.5 / 2.5) / 2, abs=1e-6)
    assert [each.id for each in tower] == ["7"] and tower[0].title == "Eiffel Tower"
    assert nothing == empty == []


def test_stems_and_stopwords(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    plain, stemmed = (open_retriever(Retrieval(corpus=str(path), stem=stem)) for stem in (False, True))
    assert plain.search(["capitals"], 3) == [[]]
    assert [each.title for each in stemmed.search(["capitals"], 3)[0]] == ["Paris", "Bern"]
    assert plain.search(["of the"], 3) == [[]]


def test_the_index_is_kept_and_made_anew_where_the_corpus_changes(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    settings = Retrieval(corpus=str(path))
    open_retriever(settings)
    first = index_path(settings)
    assert first is not None and first.is_dir() and first.parent == tmp_path
    built = (first / "documents.jsonl").stat().st_mtime_ns
    assert open_retriever(settings).search(["France"], 1)[0][0].title == "Paris"
    assert (first / "documents.jsonl").stat().st_mtime_ns == built  # read, not built again

    corpus(tmp_path, [*ROWS, {"title": "Rome", "text": "Capital of Italy."}])
    assert open_retriever(settings).search(["Italy"], 1)[0][0].title == "Rome"
    assert index_path(settings) != first
    assert index_path(Retrieval(corpus=str(path), k1=0.9)) != index_path(settings)


def test_parquet_and_an_index_elsewhere(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"id": str(n), "contents": f'"T{n}"\nword{n}'} for n in range(1500)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")
    settings = Retrieval(corpus=str(tmp_path / "c.parquet"), index=str(tmp_path / "index"))
    found = open_retriever(settings).search(["word1499"], 5)[0]
    assert [each.id for each in found] == ["1499"]
    assert index_path(settings).parent == tmp_path / "index"  # type: ignore[union-attr]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.parquet", "index"]


@pytest.mark.slow
def test_processes_that_start_together_build_one_index(tmp_path: Path) -> None:
    path = corpus(tmp_path, [{"title": f"T{n}", "text": f"word{n} " * 40} for n in range(3000)])
    code = (
        "import sys; from rlvr_cli.environments.retrieval import *\n"
        "found = open_retriever(Retrieval(corpus=sys.argv[1])).search(['word77'], 1)\n"
        "print(found[0][0].title)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    ended = [each.communicate(timeout=120) for each in started]
    assert [out for out, _ in ended] == ["T77\n"] * 3
    assert sum("3,000 documents built" in err for _, err in ended) == 1
    assert len(list(tmp_path.glob("*.bm25"))) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.jsonl", None, "there is no file"),
        ("c.jsonl", "", "is empty; give a file with at least one document"),
        ("c.jsonl", "\n \n", "is empty; give a file with at least one document"),
        ("c.jsonl", '{"text": "a b"}\nnonsense\n', "row 2 is not valid JSON"),
        ("c.jsonl", '["text"]\n', "row 1 is list; a row must be a JSON object"),
        ("c.jsonl", '{"text": "fox"}\n{"body": "b"}\n', "row 2 is no document: it has neither"),
        ("c.jsonl", '{"text": "?!"}\n', "has no document with a word in it"),
        ("c.parquet", "no parquet", "is not readable as parquet"),
        ("c.csv", "text\na\n", "formats are .jsonl and .parquet"),
    ],
)
def test_a_bad_corpus_is_one_line_and_leaves_no_index(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said) as raised:
        open_retriever(Retrieval(corpus=str(tmp_path / name)))
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("*.bm25"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"set retrieval\.index"):
        open_retriever(Retrieval(corpus=str(path)))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"corpus": "c.jsonl", "url": "http://h/retrieve"}, "both corpus and url"),
        ({"url": "h:8000"}, "must begin with http"),
        ({"b": 1.5}, "at most 1"),
        ({"k1": -1.0}, "at least 0"),
        ({"timeout_s": 0.0}, "above 0"),
    ],
)
def test_bad_settings_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Retrieval(**keys)


def test_the_made_up_world_is_a_corpus(tmp_path: Path) -> None:
    assert len(two_hop.documents()) == 200
    two_hop.write_corpus(tmp_path / "world.jsonl")
    made = open_retriever(Retrieval(corpus="synthetic:two_hop"))
    stored = open_retriever(Retrieval(corpus=str(tmp_path / "world.jsonl")))
    queries = ["Pun maker born", "Bun lives", "Goz"]
    assert made.search(queries, 4) == stored.search(queries, 4)


class Fake:
    """A retriever's server that answers as it is told to."""

    def __init__(self, answers: list[tuple[int, Any]]) -> None:
        self.answers, self.asked = answers, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, body))
                status, answer = outer.answers[min(len(outer.asked), len(outer.answers)) - 1]
                made = answer(body) if callable(answer) else answer
                sent = made if isinstance(made, bytes) else json.dumps(made).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/retrieve"

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def found(body: dict[str, Any]) -> Any:
    """Search-R1's answer with scores; the first document names the query."""
    rows = [
        [{"id": str(n), "contents": f'"{q} {n}"\nt'} for n in range(body["topk"])] for q in body["queries"]
    ]
    return {"result": [[{"document": row, "score": 1.0} for row in each] for each in rows]}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlvr_cli.environments.servers.BACKOFF_S", 0.01)


def test_a_server_in_both_forms_of_its_answer() -> None:
    bare = {"result": [[{"id": "1", "contents": '"A"\nb'}]]}
    with Fake([(200, found), (200, bare)]) as fake:
        retriever = open_retriever(Retrieval(url=fake.url))
        assert [each.title for each in retriever.search(["q"], 2)[0]] == ["q 0", "q 1"]
        assert retriever.search(["x"], 1) == [[Document(id="1", title="A", text="b")]]
        assert fake.asked[0] == ("/retrieve", {"queries": ["q"], "topk": 2, "return_scores": True})


def test_queries_of_many_episodes_share_requests() -> None:
    with Fake([(200, found)]) as fake, ThreadPoolExecutor(32) as threads:
        retriever = open_retriever(Retrieval(url=fake.url))
        asked = [(f"q{n}", 1 + n % 3) for n in range(32)]
        lists = list(threads.map(lambda each: retriever.search([each[0]], each[1])[0], asked))
        assert [(each[0].title, len(each)) for each in lists] == [(f"{q} 0", k) for q, k in asked]
        assert len(fake.asked) < 16 and sum(len(body["queries"]) for _, body in fake.asked) == 32


def test_a_server_that_comes_back_is_waited_for() -> None:
    with Fake([(503, b"loading"), (429, b"busy"), (200, found)]) as fake:
        assert open_retriever(Retrieval(url=fake.url)).search(["q"], 1)[0][0].title == "q 0"
        assert len(fake.asked) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, b"loading"), r"it answers 503: loading \(3 attempts in \d+ s\)$"),
        ((404, b"no such path"), "it answers 404: no such path$"),
        ((200, b"<html>"), "its answer is not JSON"),
        ((200, {"results": []}), "not in Search-R1's form: KeyError: 'result'"),
        ((200, {"result": [[], []]}), "2 lists of documents for 1 queries"),
        ((200, {"result": [["text"]]}), "not in Search-R1's form"),
    ],
)
def test_a_server_that_fails_says_which_and_what(answer: tuple[int, Any], said: str) -> None:
    with Fake([answer]) as fake:
        with pytest.raises(NoAnswer, match=said) as raised:
            open_retriever(Retrieval(url=fake.url, retries=2)).search(["q"], 1)
        assert str(raised.value).startswith(f"the retriever at {fake.url}: ")


def test_a_server_that_is_not_there() -> None:
    retriever = open_retriever(Retrieval(url="http://127.0.0.1:9/retrieve", retries=1))
    with pytest.raises(
        NoAnswer, match=r"^the retriever at http://127.0.0.1:9/retrieve: ConnectError: .*2 att"
    ):
        retriever.search(["q"], 1)
    with pytest.raises(NoAnswer):  # the one after is not stuck behind it
        retriever.search(["q"], 1)
