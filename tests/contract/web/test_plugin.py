"""The plugin generator's endpoint on real sockets, as Argo CD's controller asks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.forge_access import SecretFile
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.events import Emitter
from reconciler.web.apps import public_app
from reconciler.web.plugin import PREFIX, Plugin, Source
from state.git import CommitId
from tests.contract.web.test_host import Running

TOKEN = "of the controller"
PATH = "/plugins/shop/api/v1/getparams.execute"
ASKED = {"applicationSetName": "previews", "input": {"parameters": {}}}
HEAD = CommitId("a" * 40)


@dataclass
class Endpoint:
    running: Running
    token_file: Path
    metrics: PrometheusMetrics
    says: Mapping[int, CommitId] | str = field(default_factory=dict)

    def ask(self, *, path: str = PATH, token: str = TOKEN, body: object = ASKED) -> requests.Response:
        return self.running.ask("public", path, "POST", json=body, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    emitter = Emitter(lambda _: None, SystemClock())
    metrics = PrometheusMetrics()
    plugin = Plugin({"shop": Source(lambda: made.says, SecretFile(file, "plugin token file").lines)}, metrics)
    running = Running(outside=public_app(emitter, {PREFIX: plugin.handle}))
    made = Endpoint(running, file, metrics)
    yield made
    running.host.stop()


def test_each_pull_request_is_one_element_of_texts(endpoint: Endpoint) -> None:
    endpoint.says = {10: CommitId("b" * 40), 2: HEAD}
    answer = endpoint.ask()
    assert answer.status_code == 200
    assert answer.json() == {
        "output": {"parameters": [{"head_sha": "a" * 40, "number": "2"}, {"head_sha": "b" * 40, "number": "10"}]}
    }
    assert 'ameide_plugin_answers_total{repository="shop",result="served"}' in endpoint.metrics.exposition().decode()


def test_an_answer_that_is_not_sure_is_an_error_and_never_an_empty_list(endpoint: Endpoint) -> None:
    endpoint.says = "no complete listing yet"
    answer = endpoint.ask()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert answer.json() == {"error": "no complete listing yet", "status": 503}


def test_a_sure_empty_answer_is_an_empty_list(endpoint: Endpoint) -> None:
    assert endpoint.ask().json() == {"output": {"parameters": []}}


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN.upper()])
def test_a_wrong_token_is_told_nothing(endpoint: Endpoint, token: str) -> None:
    endpoint.says = {2: HEAD}
    answer = endpoint.ask(token=token)
    assert answer.status_code == 401
    assert HEAD not in answer.text


def test_an_unknown_repository_is_answered_as_a_wrong_token_is(endpoint: Endpoint) -> None:
    wrong, unknown = endpoint.ask(token="x"), endpoint.ask(path=PATH.replace("shop", "nobody"))
    assert (unknown.status_code, unknown.text) == (wrong.status_code, wrong.text)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_without_a_token_nobody_is_answered(endpoint: Endpoint, content: str | None) -> None:
    if content is None:
        endpoint.token_file.unlink()
    else:
        endpoint.token_file.write_text(content)
    assert endpoint.ask(token="").status_code == 401


def test_a_rotated_token_counts_from_the_next_question_on(endpoint: Endpoint) -> None:
    endpoint.token_file.write_text("the new one\n")
    assert (endpoint.ask().status_code, endpoint.ask(token="the new one").status_code) == (401, 200)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/plugins/shop/api/v1/other", 404),
        ("/plugins/shop", 404),
        ("/plugins//api/v1/getparams.execute", 404),
        ("/plugins/a/b/api/v1/getparams.execute", 404),
    ],
)
def test_no_other_path_is_there(endpoint: Endpoint, path: str, status: int) -> None:
    assert endpoint.ask(path=path).status_code == status


def test_a_question_that_is_no_object_is_refused(endpoint: Endpoint) -> None:
    assert endpoint.ask(body=[1]).status_code == 400
    assert endpoint.ask(body={"x": "y" * 70_000}).status_code == 400
    assert endpoint.running.ask("public", PATH).status_code == 405


def test_the_private_listener_answers_no_generator(endpoint: Endpoint) -> None:
    assert endpoint.running.ask("private", PATH, "POST", json=ASKED).status_code == 404
