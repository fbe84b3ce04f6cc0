"""In what a simulator differs from that of an emulator's training."""

from starling.cli.measure import differing_keys


def test_what_an_earlier_header_does_not_say_is_no_difference() -> None:
    known = {"tables": "bc03", "pixels": 3}
    now = known | {"asked": {"simulator": {}}, "tables_sha256": "0a", "gives": "fluxes"}
    assert differing_keys(now, known) == []
    assert differing_keys(now | {"pixels": 4, "attenuation": "c"}, known) == ["attenuation", "pixels"]
    assert differing_keys(now, now | {"tables_sha256": "0b", "gives": "components"}) == [
        "gives",
        "tables_sha256",
    ]
