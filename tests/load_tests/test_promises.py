"""Groups run by name, and a missed promise shows in the exit status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from load_tests import promises
from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.target import Target


@pytest.mark.parametrize(("measured", "status"), [(0.5, 0), (2.0, 1)])
def test_groups_by_name(measured: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[Rig] = []

    async def attack(rig: Rig) -> Sequence[Target]:
        requested.append(rig)
        return [Target(name="a wait", unit="s", limit=1.0, measured=measured)]

    async def never(_: Rig) -> Sequence[Target]:
        raise AssertionError("it was not asked for")

    monkeypatch.setattr(promises, "GROUPS", {"one": attack, "other": never})
    options = ["--only", "one", "--threads", "1", "--seed", "7", "--save", "some", "--results", str(tmp_path)]
    assert promises.main(options) == status
    assert requested == [Rig(threads=1, seed=7)]
    found = json.loads((tmp_path / "some.json").read_text())
    assert [promise["name"] for promise in found["promises"]] == ["a wait"]
    assert found["promises"][0]["verdict"] == ("missed" if status else "met")
    assert found["seconds"]["one"] >= 0


def test_a_group_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        promises.main(["--only", "nothing"])
    assert "hostility" in capsys.readouterr().err
