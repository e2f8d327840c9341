import pytest

from oamface.export.model_card import terms_of_use

OPEN = "The data sets allow commercial use with attribution."
OWN = "Your own faces have terms of their own."
UTKFACE = "UTKFace may be used for non-commercial research only, and so may these weights."


@pytest.mark.parametrize(
    ("data_sets", "terms"),
    [
        ({"fairface", "masks"}, OPEN),
        ({"synth"}, OPEN),
        ({"csv"}, OWN),
        ({"folders", "fairface"}, f"{OPEN} {OWN}"),
        ({"mafa"}, "The terms of mafa are not known to oamface; ask those who publish them."),
        ({"lfw", "rmfrd"}, "The terms of lfw and rmfrd are not known to oamface; ask those who publish them."),
        (
            {"mafa", "fairface"},
            "The terms of mafa are not known to oamface; ask those who publish them. "
            "The other data sets allow commercial use with attribution.",
        ),
        ({"lfw", "utkface"}, f"The terms of lfw are not known to oamface; ask those who publish them. {UTKFACE}"),
        ({"utkface", "fairface", "csv"}, f"{UTKFACE} {OWN}"),
        ({"aaf"}, UTKFACE.replace("UTKFace", "All-Age-Faces")),
    ],
)
def test_terms_of_use_are_those_of_all_data_sets(data_sets, terms) -> None:
    assert terms_of_use([{"data": {name: {} for name in data_sets}}]) == terms
    assert terms_of_use([{"data": {name: {}}} for name in sorted(data_sets)]) == terms
