"""Extracts the part of three published API descriptions that the adapters use into `tests/data/api`, one JSON each.

The simulators of `tests/fixtures` are held to it: a request that the description does not know, or an answer that has
not its shape, fails the test that saw it. `python tools/api_descriptions.py` writes the files anew from the packages
that `SOURCES` names; with `--check` it writes nothing and exits with 1 where they differ. It needs npm, Go and the
network.

The form is one for all: `operations` by method and path, each with `query`, `body` and `answers` by status, and
`schemas` (JSON Schema 2020-12) that they point to. Objects are closed, so that a member nobody published is found.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.go_structs import Structs

TO: Final = Path(__file__).parents[1] / "tests" / "data" / "api"
GITHUB: Final = ("@octokit/openapi", "23.0.2", "package/generated/api.github.com.json")
GITEA: Final = ("code.gitea.io/gitea", "v1.26.0", "templates/swagger/v1_json.tmpl")
GITLAB: Final = ("gitlab.com/gitlab-org/api/client-go", "v1.46.0")
SOURCES: Final = {
    "github": {"package": f"npm {GITHUB[0]} {GITHUB[1]}", "file": GITHUB[2], "licence": "MIT, © Octokit contributors"},
    "gitea": {"package": f"Go {GITEA[0]} {GITEA[1]}", "file": GITEA[2], "licence": "MIT, © The Gitea Authors"},
    "gitlab": {
        "package": f"Go {GITLAB[0]} {GITLAB[1]}",
        "file": "the structs of its requests and answers",
        "licence": "Apache-2.0, © GitLab's Go client authors",
    },
}
_R: Final = "/repos/{owner}/{repo}"
GITHUB_OPERATIONS: Final = (
    "GET /app/installations/{installation_id}",
    "POST /app/installations/{installation_id}/access_tokens",
    "GET /user/{account_id}",
    f"GET {_R}",
    f"GET {_R}/pulls",
    f"POST {_R}/pulls",
    f"GET {_R}/pulls/{{pull_number}}",
    f"PATCH {_R}/pulls/{{pull_number}}",
    f"POST {_R}/issues/{{issue_number}}/comments",
    f"POST {_R}/issues/{{issue_number}}/labels",
    f"DELETE {_R}/issues/{{issue_number}}/labels/{{name}}",
    f"POST {_R}/statuses/{{sha}}",
    f"GET {_R}/commits/{{ref}}/status",
    f"GET {_R}/commits/{{ref}}/check-runs",
    f"POST {_R}/check-runs",
    f"PATCH {_R}/check-runs/{{check_run_id}}",
    f"GET {_R}/activity",
    f"GET {_R}/collaborators/{{username}}/permission",
    # What doctor asks to find out what a token may do.
    f"GET {_R}/commits",
    f"GET {_R}/actions/permissions",
    f"GET {_R}/actions/secrets",
    f"GET {_R}/actions/variables",
    f"GET {_R}/dependabot/secrets",
    f"GET {_R}/hooks",
    f"GET {_R}/branches/{{branch}}",
    f"GET {_R}/rules/branches/{{branch}}",
    "GET /user",
    f"POST {_R}/issues",
    f"POST {_R}/actions/workflows/{{workflow_id}}/dispatches",
    f"POST {_R}/deployments",
)
GITEA_OPERATIONS: Final = (
    f"GET {_R}",
    f"GET {_R}/pulls",
    f"POST {_R}/pulls",
    f"GET {_R}/pulls/{{index}}",
    f"PATCH {_R}/pulls/{{index}}",
    f"GET {_R}/labels",
    f"POST {_R}/labels",
    f"POST {_R}/issues/{{index}}/comments",
    f"POST {_R}/issues/{{index}}/labels",
    f"DELETE {_R}/issues/{{index}}/labels/{{id}}",
    f"POST {_R}/statuses/{{sha}}",
    f"GET {_R}/commits/{{ref}}/status",
    f"GET {_R}/collaborators/{{collaborator}}/permission",
    "GET /users/search",
    # What doctor asks to find out what a token may do.
    f"GET {_R}/branches/{{branch}}",
    "GET /admin/cron",
    "GET /notifications/new",
    "GET /orgs/{org}",
    "POST /orgs",
    "GET /packages/{owner}",
    "POST /packages/{owner}/{type}/{name}/-/unlink",
    "GET /user",
    "POST /user/keys",
    "POST /admin/cron/{task}",
    "PATCH /notifications/threads/{id}",
)


GITHUB_EXAMPLES: Final = (
    "GET /app/installations/{installation_id}",
    "GET /user/{account_id}",
    f"GET {_R}",
    f"GET {_R}/branches/{{branch}}",
    f"GET {_R}/pulls",
    f"POST {_R}/issues/{{issue_number}}/comments",
    f"POST {_R}/issues/{{issue_number}}/labels",
    f"POST {_R}/statuses/{{sha}}",
    f"GET {_R}/commits/{{ref}}/status",
    f"POST {_R}/check-runs",
    f"GET {_R}/collaborators/{{username}}/permission",
)
"""Whose documented answer is kept, too: the simulator's answers are made of them."""


class Described(NamedTuple):
    """One operation at GitLab by the names of its Go types; an answer in brackets is a list."""

    operation: str
    query: str
    body: str
    status: int
    answer: str


_P: Final = "/projects/{id}"
GITLAB_OPERATIONS: Final = (
    Described("GET /user", "", "", 200, "User"),
    Described("GET /personal_access_tokens/self", "", "", 200, "PersonalAccessToken"),
    Described(f"GET {_P}", "GetProjectOptions", "", 200, "Project"),
    Described(f"GET {_P}/merge_requests", "ListProjectMergeRequestsOptions", "", 200, "[BasicMergeRequest]"),
    Described(f"POST {_P}/merge_requests", "", "CreateMergeRequestOptions", 201, "MergeRequest"),
    Described(f"GET {_P}/merge_requests/{{iid}}", "GetMergeRequestsOptions", "", 200, "MergeRequest"),
    Described(f"PUT {_P}/merge_requests/{{iid}}", "", "UpdateMergeRequestOptions", 200, "MergeRequest"),
    Described(f"GET {_P}/merge_requests/{{iid}}/notes", "ListMergeRequestNotesOptions", "", 200, "[Note]"),
    Described(f"POST {_P}/merge_requests/{{iid}}/notes", "", "CreateMergeRequestNoteOptions", 201, "Note"),
    Described(f"PUT {_P}/merge_requests/{{iid}}/notes/{{note}}", "", "UpdateMergeRequestNoteOptions", 200, "Note"),
    Described(f"GET {_P}/repository/branches/{{branch}}", "", "", 200, "Branch"),
    Described(f"GET {_P}/repository/commits/{{sha}}/merge_requests", "ListOptions", "", 200, "[BasicMergeRequest]"),
    Described(f"GET {_P}/repository/commits/{{sha}}/statuses", "GetCommitStatusesOptions", "", 200, "[CommitStatus]"),
    Described(f"POST {_P}/statuses/{{sha}}", "", "SetCommitStatusOptions", 201, "CommitStatus"),
    Described(f"GET {_P}/protected_branches", "ListProtectedBranchesOptions", "", 200, "[ProtectedBranch]"),
    Described(f"GET {_P}/events", "ListProjectVisibleEventsOptions", "", 200, "[ProjectEvent]"),
    Described(f"GET {_P}/members/all/{{user}}", "", "", 200, "ProjectMember"),
)
GITLAB_RECORDED: Final = {
    "MergeRequest": "get_merge_request.json",
    "BasicMergeRequest": "get_merge_requests.json",
    "Branch": "get_branch.json",
    "User": "get_user_bot.json",
    "PersonalAccessToken": "list_personal_access_tokens_single.json",
}
"""Answers that the client is tested with. They have members that the client does not read, which count, too."""
GITLAB_ALSO: Final = {"ProjectEventPushData": ("ref_count",)}
"""What neither has and GitLab answers. Source: its lib/api/entities/push_event_payload.rb."""
_KEPT: Final = frozenset(
    {"type", "enum", "required", "minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum", "pattern"}
)
Schema = dict[str, Any]


class _OpenApi:
    """Schemas of an OpenAPI 3.0 or Swagger 2.0 document as JSON Schema, with all that they point to."""

    def __init__(self, document: Schema, *, all_may_be_null: bool) -> None:
        self._document = document
        self._all_may_be_null = all_may_be_null
        """Where a description does not tell what may be null, every member of an answer may be."""
        self.schemas: dict[str, Schema] = {}

    def at(self, reference: str) -> Any:
        found: Any = self._document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        return found

    def resolved(self, value: Schema) -> Schema:
        return self.at(value["$ref"]) if "$ref" in value else value

    def schema(self, raw: Schema, *, closed: bool = True) -> Schema:
        if "$ref" in raw:
            name = str(raw["$ref"]).rpartition("/")[2]
            if name not in self.schemas:
                self.schemas[name] = {}  # a schema may point to itself
                self.schemas[name] = self.schema(self.at(raw["$ref"]))
            return {"$ref": f"#/schemas/{name}"}
        made: Schema = {key: value for key, value in raw.items() if key in _KEPT}
        for word in ("oneOf", "anyOf", "allOf"):
            if word in raw:
                inner = closed and word != "allOf" and "properties" not in raw
                # What is closed by itself can be no part of another.
                parts = [self.resolved(one) for one in raw[word]] if word == "allOf" else raw[word]
                made[word] = [self.schema(one, closed=inner) for one in parts]
        if "items" in raw:
            made["items"] = self.schema(raw["items"])
        if "properties" in raw:
            made["properties"] = {name: self._member(one) for name, one in raw["properties"].items()}
            if closed and "allOf" not in raw:
                made["additionalProperties"] = False
        if isinstance(extra := raw.get("additionalProperties"), dict):
            made["additionalProperties"] = self.schema(extra) if extra else True
        elif extra is True:
            made["additionalProperties"] = True
        return _nullable(made) if raw.get("nullable") else made

    def _member(self, raw: Schema) -> Schema:
        made = self.schema(raw)
        return {"anyOf": [made, {"type": "null"}]} if self._all_may_be_null else made


def _nullable(made: Schema) -> Schema:
    if "type" not in made:
        return {"anyOf": [made, {"type": "null"}]}
    made = {**made, "type": [made["type"], "null"]}
    if "enum" in made and None not in made["enum"]:
        made["enum"] = [*made["enum"], None]
    return made


def github(root: Path) -> Schema:
    """OpenAPI 3.0."""
    document = json.loads((root / GITHUB[2]).read_text())
    source = _OpenApi(document, all_may_be_null=False)
    operations: dict[str, Schema] = {}
    examples: dict[str, Any] = {}
    for operation in GITHUB_OPERATIONS:
        method, path = operation.split(" ")
        item = document["paths"][path][method.lower()]
        query = [source.resolved(p) for p in item.get("parameters", [])]
        body = source.resolved(item["requestBody"])["content"]["application/json"] if "requestBody" in item else None
        answers: dict[str, Schema] = {}
        for status, raw in item["responses"].items():
            content = source.resolved(raw).get("content", {}).get("application/json")
            answers[status] = {} if content is None else source.schema(content["schema"])
            if operation in GITHUB_EXAMPLES and status.startswith("2") and content is not None:
                first = source.resolved(next(iter(content["examples"].values())))["value"]
                examples[operation] = first[0] if isinstance(first, list) and first else first
        operations[operation] = {
            "query": {p["name"]: source.schema(p["schema"]) for p in query if p["in"] == "query"},
            "body": None if body is None else source.schema(body["schema"]),
            "answers": answers,
        }
    for name in ("pull-request", "pull-request-simple"):
        head = source.schemas[name]["properties"]["head"]["properties"]
        head["repo"] = {"anyOf": [head["repo"], {"type": "null"}]}  # once the fork was deleted; it forgets that
    return {"source": SOURCES["github"], "operations": operations, "schemas": source.schemas, "examples": examples}


def gitea(root: Path) -> Schema:
    """Swagger 2.0, with places for a template's values in it."""
    document = json.loads(re.sub(r"\{\{.*?\}\}", "x", (root / GITEA[2]).read_text()))
    asked, answered = _OpenApi(document, all_may_be_null=False), _OpenApi(document, all_may_be_null=True)
    operations: dict[str, Schema] = {}
    for operation in GITEA_OPERATIONS:
        method, path = operation.split(" ")
        item = document["paths"][path][method.lower()]
        parameters = item.get("parameters", [])
        body = next((asked.schema(p["schema"]) for p in parameters if p["in"] == "body" and "schema" in p), None)
        answers = {}
        for status, raw in item["responses"].items():
            schema = answered.resolved(raw).get("schema")
            answers[status] = {} if schema is None else answered.schema(schema)
        operations[operation] = {
            "query": {p["name"]: asked.schema(p) for p in parameters if p["in"] == "query"},
            "body": body,
            "answers": answers,
        }
    # One name can stand for what is asked and what is answered, which differ in what may be null.
    schemas = {**asked.schemas, **answered.schemas}
    return {"source": SOURCES["gitea"], "operations": operations, "schemas": schemas}


def gitlab(root: Path) -> Schema:
    """By the structs of GitLab's own client: names and types; what may be null it does not tell."""
    structs = Structs(file.read_text() for file in sorted(root.glob("*.go")) if not file.name.endswith("_test.go"))
    operations: dict[str, Schema] = {}
    for one in GITLAB_OPERATIONS:
        answer = structs.schema(one.answer.strip("[]"), may_be_null=True)
        operations[one.operation] = {
            "query": structs.members(one.query) if one.query else {},
            "body": structs.schema(one.body, may_be_null=False) if one.body else None,
            "answers": {str(one.status): {"type": "array", "items": answer} if "[" in one.answer else answer},
        }
    examples = {}
    for name, file in GITLAB_RECORDED.items():
        found = json.loads((root / "testdata" / file).read_text())
        examples[name] = found[0] if isinstance(found, list) else found
    for name, members in {**examples, **GITLAB_ALSO}.items():
        properties = structs.schemas[name]["properties"]
        properties |= {member: {} for member in members if member not in properties}
    return {"source": SOURCES["gitlab"], "operations": operations, "schemas": structs.schemas, "examples": examples}


def _npm(name: str, version: str, file: str, to: Path) -> Path:
    subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=to, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(to.glob("*.tgz"))) as archive:
        archive.extract(file, to, filter="data")
    return to


def _go(module: str, version: str, _: Path) -> Path:
    command = ["go", "mod", "download", "-json", f"{module}@{version}"]
    return Path(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["Dir"])


def _lines(described: Schema) -> str:
    """One line for each operation and schema: small, and a difference can be read."""

    def block(name: str, values: dict[str, Any]) -> str:
        rows = (f"  {json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in sorted(values.items()))
        return f'"{name}": {{\n' + ",\n".join(rows) + "\n}"

    return "{\n" + ",\n".join(block(name, values) for name, values in described.items()) + "\n}\n"


def made(names: Iterable[str]) -> dict[Path, str]:
    """The content of each file, from the packages."""
    found: dict[Path, str] = {}
    with tempfile.TemporaryDirectory() as directory:
        to = Path(directory)
        sources: dict[str, Callable[[], Schema]] = {
            "github": lambda: github(_npm(*GITHUB, to)),
            "gitea": lambda: gitea(_go(GITEA[0], GITEA[1], to)),
            "gitlab": lambda: gitlab(_go(*GITLAB, to)),
        }
        for name in names:
            found[TO / f"{name}.json"] = _lines(sources[name]())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("forges", nargs="*", default=[*SOURCES], help=f"of {', '.join(SOURCES)}; all by default")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file differs")
    asked = parser.parse_args()
    if unknown := set(asked.forges) - set(SOURCES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(SOURCES)}")
    differ = 0
    for path, content in made(asked.forges).items():
        if path.exists() and path.read_text() == content:
            continue
        differ += 1
        print(f"{path.name}: {'differs from its source' if asked.check else 'written'}")
        if not asked.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return 1 if asked.check and differ else 0


if __name__ == "__main__":
    sys.exit(main())
