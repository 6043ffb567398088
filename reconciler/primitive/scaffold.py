"""Writing a primitive: what is missing of its owned files, and its generated files anew.

A new primitive is written aside and then given its name, so it is there whole or not at all. In one that is there, each
file appears whole; a run that is cut short is made up for by the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reconciler.primitive import layout
from reconciler.primitive.bpmn_compile import V1, Compiled, compile_process
from reconciler.primitive.bpmn_model import Violation
from reconciler.primitive.layout import BPMN, LOCK, POLICIES, Tree, from_templates, is_test
from reconciler.primitive.names import Kind, Language, Primitive
from reconciler.primitive.safe_files import Folder, draft_of
from reconciler.primitive.templates_data import read_templates
from state.errors import ConfigError

_V1_HAS_OTHERS = ("internal/worker/", "cmd/worker/", "internal/tests/")
"""What the templates of the current profile's worker are about: the older profile has its own."""


@dataclass(frozen=True, slots=True)
class Scaffolded:
    """What a run did; paths are relative to the repository. With violations it did nothing."""

    primitive: Primitive
    created: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()
    workspace: bool = False
    """The repository has a Go workspace, which has to name the module."""

    @property
    def summary(self) -> str:
        if self.violations:
            return f"{self.primitive.path}: {BPMN} has {len(self.violations)} violations; nothing was written"
        done = [
            f"{len(paths)} files {how}"
            for how, paths in (("created", self.created), ("rewritten", self.rewritten), ("removed", self.removed))
            if paths
        ]
        return f"{self.primitive.path}: {', '.join(done) or 'nothing to do'}"

    @property
    def next_steps(self) -> tuple[str, ...]:
        kind, name, path = self.primitive.kind, self.primitive.name, self.primitive.path
        if self.violations:
            return (f"correct {path}/{BPMN}", f"ameide primitive scaffold --kind {kind} --name {name}")
        tests = {Language.GO: "go test ./...", Language.PYTHON: "python3 -m pytest", Language.NODE: "npm test"}
        return (
            *([f"go work use ./{path}"] if self.workspace and self.primitive.language is Language.GO else []),
            f"replace each {layout.MARKER} in the tests of {path} by what the code must do, then write the code",
            f"cd {path} && {tests[self.primitive.language]}",
            f"ameide primitive verify --kind {kind} --name {name} --mode repo",
        )


def expected_tree(
    primitive: Primitive, bpmn: bytes | None, lock: bytes | None, policies: bytes | None
) -> Tree | Compiled:
    """All files of a primitive (pure but for the templates); or a process that does not compile."""
    tree = from_templates(primitive, read_templates(primitive.kind))
    if primitive.kind is not Kind.PROCESS:
        return tree
    compiled = compile_process(tree.owned[BPMN] if bpmn is None else bpmn, lock, policies)
    if compiled.violations:
        return compiled
    owned = dict(tree.owned)
    if compiled.profile == V1:
        owned = {path: content for path, content in owned.items() if not path.startswith(_V1_HAS_OTHERS)}
    return Tree({**owned, **compiled.owned}, {**tree.generated, **compiled.generated})


def scaffold(repository: Path, primitive: Primitive) -> Scaffolded:
    """Write the primitive into the repository.

    Raises:
        ConfigError: this is no repository, a link or another kind of file is in the way, or the process is no document.
        Unavailable: another run is writing the same kind of primitives.
    """
    with Folder.open(repository) as root:
        if root.kind(".git") is None:
            raise ConfigError(f"{repository}: expected the root of a git repository, found no .git in it")
        workspace = root.kind("go.work") == "file"
        for ahead in ("primitives", f"primitives/{primitive.kind}"):
            if (kind := root.kind(ahead)) not in (None, "folder"):
                raise ConfigError(f"{root.at(ahead)}: expected a folder, found a {kind}")
        if (twin := primitive.twin_in(root.names(f"primitives/{primitive.kind}"))) is not None:
            raise ConfigError(
                f"{root.at(primitive.path)}: {twin} is there already, and has the same image and identifiers"
            )
        if (kind := root.kind(primitive.path)) not in (None, "folder"):
            raise ConfigError(f"{root.at(primitive.path)}: expected a folder or nothing, found a {kind}")
        tree = _tree(root, primitive)
        if isinstance(tree, Compiled):
            if tree.unreadable:
                raise ConfigError(f"{root.at(f'{primitive.path}/{BPMN}')}: {tree.violations[0]}")
            return Scaffolded(primitive, violations=tree.violations)
        with root.descend(f"primitives/{primitive.kind}", create=True) as home:
            home.lock()
            home.remove(draft_of(primitive.name))
            if home.kind(primitive.name) is None:
                done = _write_new(home, primitive, tree)
            else:
                done = _fill(home, primitive, tree)
    return _told(primitive, *done, workspace=workspace)


def _tree(root: Folder, primitive: Primitive) -> Tree | Compiled:
    if primitive.kind is not Kind.PROCESS:
        return expected_tree(primitive, None, None, None)
    bpmn, lock, policies = (root.read(f"{primitive.path}/{path}") for path in (BPMN, LOCK, POLICIES))
    return expected_tree(primitive, bpmn, lock, policies)


def _write_new(home: Folder, primitive: Primitive, tree: Tree) -> tuple[list[str], list[str], list[str]]:
    aside = draft_of(primitive.name)
    files = tree.merged()
    with home.descend(aside, create=True) as folder:
        for path, content in files.items():
            folder.replace(path, content)
    home.rename(aside, primitive.name)
    return list(files), [], []


def _fill(home: Folder, primitive: Primitive, tree: Tree) -> tuple[list[str], list[str], list[str]]:
    created: list[str] = []
    rewritten: list[str] = []
    removed: list[str] = []
    with home.descend(primitive.name) as folder:
        # All that could be in the way is looked at before the first write.
        for path in tree.merged():
            if (kind := folder.kind(path)) not in (None, "file"):
                raise ConfigError(f"{folder.at(path)}: expected a regular file or nothing, found a {kind}")
        for path in tree.merged():
            folder.remove(draft_of(path))
        for path, content in sorted(tree.owned.items()):
            if folder.kind(path) is None and folder.create(path, content):
                created.append(path)
        # The lock says what the others are: it comes last.
        for path, content in sorted(tree.generated.items(), key=lambda item: (item[0] == LOCK, item[0])):
            before = folder.read(path)
            if before != content:
                folder.replace(path, content)
                (created if before is None else rewritten).append(path)
        for root in layout.GENERATED_ROOTS[primitive.kind]:
            for stranger in _strangers(folder, root, tree):
                folder.remove(stranger)
                removed.append(stranger)
    return created, rewritten, removed


def _strangers(folder: Folder, root: str, tree: Tree) -> list[str]:
    """What is in a generated root and not generated, folders as wholes."""
    found = []
    for name in folder.names(root):
        path = f"{root}/{name}"
        if path in tree.generated:
            continue
        if any(known.startswith(f"{path}/") for known in tree.generated) and folder.kind(path) == "folder":
            found += _strangers(folder, path, tree)
        else:
            found.append(path)
    return found


def _told(
    primitive: Primitive, created: list[str], rewritten: list[str], removed: list[str], *, workspace: bool
) -> Scaffolded:
    def below(paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{primitive.path}/{path}" for path in sorted(paths))

    return Scaffolded(
        primitive,
        below(created),
        below(rewritten),
        below(removed),
        below(p for p in created if is_test(p, primitive.language)),
        workspace=workspace,
    )
