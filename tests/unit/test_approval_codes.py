"""Codes are a closed list: each has its meaning, and each is what some attack is refused with."""

from __future__ import annotations

from reconciler.approval.codes import MEANING, Code, RefusedMarker, explained
from tests.contract.web.test_markers import CARRIERS
from tests.unit.test_envelopes import REFUSED
from tests.unit.test_evaluate import ATTACKS
from tests.unit.test_marker_rights import ADMISSIONS

ELSEWHERE = {
    Code.CERTIFICATE_REFUSED,  # contract/evidence/test_signed_markers.py
    Code.OIDC_REPLAYED,  # contract/web/test_markers.py, test_40
    Code.NOTHING_TO_DO,  # this and the next two: e2e/test_publish.py
    Code.DECLINED,
    Code.FOREIGN_BRANCH,
}


def test_every_code_has_one_meaning_and_every_meaning_a_code() -> None:
    assert MEANING.keys() == set(Code)
    for meaning in MEANING.values():
        assert meaning.text == meaning.text.strip()
        assert meaning.text.endswith(".")
        assert meaning.text.count(". ") == 0
        assert meaning.remedy
        assert not meaning.remedy.endswith(".")
    assert len({meaning.text for meaning in MEANING.values()}) == len(MEANING)


def test_every_code_is_what_an_attack_of_these_tests_is_refused_with() -> None:
    met = {code for _, code in REFUSED.values()} | {case.code for case in ATTACKS.values()}
    met |= {code for _, code in CARRIERS.values()} | {code for code, _ in ADMISSIONS.values()}
    assert met - {None} | ELSEWHERE == set(Code)
    assert not met & ELSEWHERE


def test_a_refusal_says_its_sentence_and_what_is_particular() -> None:
    assert explained(Code.EXPIRED) == "Its time is over."
    assert explained(Code.EXPIRED, "5 s ago") == "Its time is over: 5 s ago"
    assert str(RefusedMarker(Code.EXPIRED, "5 s ago")) == "expired: Its time is over: 5 s ago"
