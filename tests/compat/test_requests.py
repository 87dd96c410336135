"""The same request to TorchServe and to tserve: the same answer, byte for byte."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

import pytest
from harness.client import Answer, multipart, request
from harness.pair import Pair, observed
from harness.server import Server

# The first test waits until both servers have loaded a dozen models.
pytestmark = [pytest.mark.torchserve, pytest.mark.timeout(400)]


@dataclass(frozen=True)
class Case:
    """One request."""

    id: str
    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    port: str = "port"

    def send(self, server: Server) -> Answer:
        return request(
            getattr(server, self.port), self.method, self.path, self.body, self.headers, timeout=60
        )


JSON = "application/json"


def echo(id: str, body: bytes, content_type: str = "", tell: str = "", **more: str) -> Case:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if content_type:
        headers["Content-Type"] = content_type
    if tell:
        headers["x-tell"] = tell
    return Case(id, "POST", "/predictions/echo", body, headers)


def asked(model: str, id: str, **wish: object) -> Case:
    body = json.dumps(wish).encode()
    return Case(id, "POST", f"/predictions/{model}", body, {"Content-Type": JSON})


Part = tuple[str, str | None, str | None, bytes]


def parts_to(path: str, id: str, *parts: Part) -> Case:
    body, content_type = multipart(list(parts))
    return Case(id, "POST", path, body, {"Content-Type": content_type})


def form(id: str, *parts: Part) -> Case:
    return parts_to("/predictions/echo", id, *parts)


FORM = "application/x-www-form-urlencoded"
BYTES = bytes(range(256))

RECEIVED = [
    echo("raw", b"abc"),
    echo("empty", b""),
    echo("octets", BYTES, "application/octet-stream"),
    echo("text", "grüße".encode(), "text/plain"),
    echo("text-latin1", "grüße".encode("latin-1"), "text/plain; charset=iso-8859-1"),
    echo("html", b"<b>x</b>", "text/html"),
    echo("json", b'{"a": [1, 2.5, null, true]}', JSON),
    echo("json-charset", b'{"a": 1}', "application/json; charset=utf-8"),
    echo("json-other-case", b'{"a": 1}', "Application/JSON"),
    echo("json-broken", b"{no", JSON),
    echo("json-null", b"null", JSON),
    echo("json-scalar", b"5", JSON),
    echo("json-empty", b"", JSON),
    echo("vendor-json", b'{"a": 1}', "application/vnd.api+json"),
    echo("form", b"a=1&b=two+words&a=3&e=", FORM),
    echo("form-percent", b"k%C3%BC=%00%ff", FORM),
    echo("form-of-json", b'{"q": 1}', FORM),
    form("part", ("data", None, None, b"plain")),
    form(
        "parts",
        ("one", None, None, b"1"),
        ("blob", "b.bin", "application/octet-stream", BYTES),
        ("meta", "m.json", JSON, b'{"x": 1}'),
        ("note", "n.txt", "text/plain", b"words"),
    ),
    form("parts-same-name", ("d", "a", "text/plain", b"1"), ("d", "b", "text/plain", b"2")),
    form("part-empty-file", ("d", "e.bin", "application/octet-stream", b"")),
    echo("multipart-no-boundary", b"x", "multipart/form-data"),
    Case("get", "GET", "/predictions/echo"),
    Case("put", "PUT", "/predictions/echo", b"put"),
    Case("delete", "DELETE", "/predictions/echo"),
    Case("unknown-method", "BREW", "/predictions/echo", b"tea"),
    Case("query-dropped", "POST", "/predictions/echo?data=7", b"x"),
    Case("head", "HEAD", "/predictions/echo"),
    Case("trailing-slash", "POST", "/predictions/echo/", b"x"),
    Case("version", "POST", "/predictions/echo/1.0", b"x"),
    Case("url-path", "POST", "/predictions/echo/1.0/more/seg%20ments", b"x", {"x-tell": "lookups"}),
    Case("invoke-query", "POST", "/models/echo/invoke?k=v&k=w", b"x"),
    Case("legacy-predict", "POST", "/echo/predict?k=v", b"x"),
    Case("invocations", "POST", "/invocations?model_name=echo&k=v", b"x"),
    Case("invocations-unnamed", "POST", "/invocations", b"x"),
    Case("explain", "POST", "/explanations/echo", b"x", {"x-tell": "lookups"}),
    echo("lookups", b"x", "text/plain", "lookups", X_Probe="v"),
    echo("context", b"x", "", "context"),
]

RETURNED = [
    Case(f"returns-{kind}", "POST", "/predictions/returns", kind.encode())
    for kind in (
        *("text", "empty", "bytes", "dict", "list", "number", "float", "nan", "none", "tuple"),
        *("keys", "set", "nested", "whole-dict", "whole-text", "whole-none", "whole-tuple"),
        *("too-many", "too-few", "subclass"),
    )
]

FAILED = [
    asked("errors", "value", kind="value"),
    asked("errors", "key", kind="key"),
    asked("errors", "memory", kind="memory"),
    asked("errors", "cuda", kind="cuda"),
    asked("errors", "stop-iteration", kind="stop"),
    asked("errors", "prediction", kind="prediction", message="went wrong"),
    asked("errors", "prediction-404", kind="prediction", message="none", code=[404]),
    asked("errors", "prediction-418", kind="prediction", message="tea", code=[418]),
    asked("errors", "prediction-413", kind="prediction", message="big", code=[413]),
    asked("errors", "prediction-507", kind="prediction", message="full", code=[507]),
    asked("errors", "prediction-599", kind="prediction", message="odd", code=[599]),
    asked("errors", "prediction-unicode", kind="prediction", message='世 "q" <b>', code=[400]),
    asked("errors", "good-after-bad", kind="fine"),
]

RESPONDED = [
    asked("respond", "type", type="application/x-thing"),
    asked("respond", "type-json", type=JSON, answer={"a": 1}),
    asked("respond", "headers", headers={"X-Mine": "1", "x-other": "two"}),
    asked("respond", "reserved-headers", headers={"Cache-Control": "max-age=5", "Pragma": "x"}),
    asked("respond", "status-201", status=201),
    asked("respond", "status-phrase", status=202, phrase="Queued Up"),
    asked("respond", "status-404", status=404, phrase="Nope", answer={"e": 1}),
    asked("respond", "status-500", status=500),
]

ROUTED = [
    Case("ping", "GET", "/ping"),
    Case("ping-post", "POST", "/ping", b""),
    Case("ping-more", "DELETE", "/ping/and/more"),
    Case("root-get", "GET", "/"),
    Case("unknown", "GET", "/no/such/path"),
    Case("predictions", "POST", "/predictions", b"x"),
    Case("no-model", "POST", "/predictions/absent", b"x"),
    Case("no-version", "POST", "/predictions/echo/9.9", b"x"),
    Case("model-case", "POST", "/predictions/ECHO", b"x"),
    Case("bad-percent", "GET", "/ping%zz"),
    Case("double-slash", "POST", "//predictions/echo", b"x"),
    Case("bad-form", "POST", "/predictions/echo", b"a=%zz", {"Content-Type": FORM}),
    Case("management-unknown", "GET", "/no/such", port="management_port"),
    Case("management-methods", "PATCH", "/models/echo", port="management_port"),
    Case("describe-absent", "GET", "/models/absent", port="management_port"),
    Case("list", "GET", "/models?limit=2", port="management_port"),
]

HANDLERS = [
    Case("class", "POST", "/predictions/classy", b"x"),
    Case("entry-point", "POST", "/predictions/entry", b"x"),
    Case("files", "POST", "/predictions/files", b"x"),
    Case("eager", "POST", "/predictions/eager", b"[1, 2, 3]", {"Content-Type": JSON}),
    parts_to("/predictions/eager", "eager-form", ("data", "d", JSON, b"[0.5]")),
    Case("eager-bad-input", "POST", "/predictions/eager", b'"abc"', {"Content-Type": JSON}),
    Case("scripted", "POST", "/predictions/scripted", b"[1, 2, 3]", {"Content-Type": JSON}),
]
CASES = RECEIVED + RETURNED + FAILED + RESPONDED + ROUTED + HANDLERS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_same_answer(pair: Pair, case: Case) -> None:
    ours, theirs = pair.both(case.send)
    assert observed(ours) == observed(theirs)


def test_tensors_have_the_same_content(pair: Pair) -> None:
    import torch

    case = Case("tensor", "POST", "/predictions/returns", b"tensor")
    ours, theirs = pair.both(case.send)
    assert {**observed(ours), "body": 0} == {**observed(theirs), "body": 0}
    loaded = [torch.load(io.BytesIO(a.body), weights_only=True).tolist() for a in (ours, theirs)]
    assert loaded == [[1.0, 2.0], [1.0, 2.0]]


def test_headers_reach_the_handler_alike(pair: Pair) -> None:
    case = echo("headers", b"x", "text/plain", "headers", X_Probe="Value", x_lower="v")
    ours, theirs = pair.both(case.send)
    hosts = {str(server.port): "<port>" for server in (pair.ours, pair.theirs)}

    def scrubbed(answer: Answer) -> object:
        text = answer.text
        for port, placeholder in hosts.items():
            text = text.replace(port, placeholder)
        return json.loads(text)

    assert scrubbed(ours) == scrubbed(theirs)


def test_request_id_is_the_one_the_handler_saw(pair: Pair) -> None:
    case = echo("id", b"x", tell="id", x_request_id="chosen by the client")
    for answer in pair.both(case.send):
        assert answer.text == answer.headers["x-request-id"]
        assert answer.text.count("-") == 4
