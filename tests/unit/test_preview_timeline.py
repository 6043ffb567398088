"""What plugin mode and label mode each show over the life of a pull request; the table of docs/previews.md.

The reconciler's own logic says what is answered and labelled, the rendered ApplicationSets what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reconciler.preview.applications import PullRequest as Asked
from reconciler.preview.applications import generate
from reconciler.preview.manifests import parse
from reconciler.readiness import Readiness, Seen, label_changes
from state.git import CommitId, RefName
from state.observed import Listing, PullRequest
from tests.fixtures.lane import variant_files

A, B, C = (CommitId(letter * 40) for letter in "abc")
NAMES = {A: "A", B: "B", C: "C"}
IMAGES_LABEL, GATE = "preview-images", "preview"
MAX_AGE_S = 300
PAGE = Path(__file__).parents[2] / "docs" / "previews.md"
APPS = "argocd/applicationsets/preview-apps.yaml"
OTHER = PullRequest(2, A, RefName.branch("main"), 1, 1, (GATE, IMAGES_LABEL))


def orders_image(variant: str, asked: Asked) -> str | None:
    """The image of one component in the Applications that the rendered set makes; None if there is none."""
    for manifest in parse(variant_files(variant)[APPS], APPS):
        for application in generate(manifest.value, asked):
            if application["metadata"]["name"].endswith("-orders"):
                return str(application["spec"]["sources"][0]["helm"]["parameters"][0]["value"])
    return None


@dataclass
class World:
    """One pull request, and a quiet second one so that an answer is never empty. Two controllers watch it."""

    is_open: bool = True
    head: CommitId = A
    labels: set[str] = field(default_factory=set)
    built: set[CommitId] = field(default_factory=set)
    forge: str = "answers"
    at_s: float = 0
    readiness: Readiness = field(default_factory=Readiness)
    log: dict[int, CommitId] = field(default_factory=dict)
    by_plugin: str | None = None
    by_label: str | None = None

    def passes(self) -> None:
        """A pass of the reconciler, then both controllers list once."""
        self.at_s += 10
        if self.forge == "answers":
            self._observe()
        self._plugin_controller()
        self._label_controller()

    def _observe(self) -> None:
        own = PullRequest(1, self.head, RefName.branch("main"), 1, 1, tuple(sorted(self.labels)))
        listing = Listing(complete=True, pull_requests=(own, OTHER) if self.is_open else (OTHER,))
        wanted = self.is_open and GATE in self.labels  # admission.labels: [preview]
        complete = {2: A} | ({1: self.head} if wanted and self.head in self.built else {})
        filling = frozenset({1} if wanted and self.head not in self.built else ())
        self.log |= complete
        seen = Seen(complete, filling)
        self.readiness = self.readiness.after(seen, self.log, self.at_s)
        for number, on in label_changes(listing, seen, self.readiness.served, IMAGES_LABEL):
            if number == 1:
                (self.labels.add if on else self.labels.discard)(IMAGES_LABEL)

    def _plugin_controller(self) -> None:
        if self.readiness.unsure(self.at_s, MAX_AGE_S) is not None:
            return  # 503: the controller leaves everything as it is
        head = self.readiness.served.get(1)
        self.by_plugin = None if head is None else orders_image("plugin-daemon", Asked(1, head))

    def _label_controller(self) -> None:
        if self.forge != "answers":
            return  # an error of the listing, and a 404 without continueOnRepoNotFoundError: everything stays
        asked = Asked(1, self.head, tuple(sorted(self.labels)))
        self.by_label = orders_image("pull-request", asked) if self.is_open else None

    def shown(self) -> tuple[str, str]:
        """What each mode shows, with a mark where the image is not there."""
        return self._short(self.by_plugin), self._short(self.by_label)

    def _short(self, image: str | None) -> str:
        if image is None:
            return "nothing"
        head = CommitId(image.rpartition(":")[2])
        return NAMES[head] if head in self.built else f"{NAMES[head]}, whose image is missing"


def timeline() -> list[tuple[str, str, str]]:
    world = World()
    rows = []

    def after(event: str) -> None:
        world.passes()
        rows.append((event, *world.shown()))

    world.labels.add(GATE)
    after("opened at A with `preview`, no image yet")
    world.built.add(A)
    after("the images of A are there")
    world.head = B
    after("push of B")
    world.built.add(B)
    after("the images of B are there")
    world.forge = "is down"
    after("the forge answers 502")
    world.at_s += 2 * MAX_AGE_S
    after("… and for longer than ten polls")
    world.forge = "says 404"
    after("the token loses access: 404")
    world.forge = "answers"
    after("the forge answers again")
    world.labels.discard(GATE)
    after("`preview` is taken away")
    world.labels.add(GATE)
    after("`preview` is set again")
    world.is_open = False
    after("closed")
    world.is_open = True
    after("reopened")
    world.is_open, world.head = False, C
    after("closed, and C is pushed meanwhile")
    world.is_open = True
    after("reopened at C")
    world.built.add(C)
    after("the images of C are there")
    return rows


EXPECTED = [
    ("nothing", "nothing"),
    ("A", "A"),
    ("A", "B, whose image is missing"),
    ("B", "B"),
    ("B", "B"),
    ("B", "B"),
    ("B", "B"),
    ("B", "B"),
    ("nothing", "nothing"),
    ("B", "B"),
    ("nothing", "nothing"),
    ("B", "B"),
    ("nothing", "nothing"),
    ("B", "C, whose image is missing"),
    ("C", "C"),
]


def test_each_mode_shows_what_it_promises_over_the_life_of_a_pull_request() -> None:
    assert [(plugin, label) for _, plugin, label in timeline()] == EXPECTED


def test_plugin_mode_never_shows_a_head_whose_image_is_missing() -> None:
    assert not any("missing" in plugin for _, plugin, _ in timeline())


def test_the_page_has_this_table() -> None:
    table = "\n".join(f"| {event} | {plugin} | {label} |" for event, plugin, label in timeline())
    assert table in PAGE.read_text(), f"docs/previews.md is to have:\n{table}"
