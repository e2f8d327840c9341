from oamface import list_models, zoo
from oamface.weights import WEIGHTS


def test_list_models_describes_every_shipped_file() -> None:
    models = list_models()
    assert tuple(model.name for model in models) == WEIGHTS
    for model in models:
        assert model.size == model.file.stat().st_size > 1e6
        assert model.precision == ("int8" if model.name in ("oam-int8", "oam-small") else "float16")
        assert model.licence == ("commercial use" if model.name in ("oam-open", "oam-small") else "research only")
        age = model.figures["utkface/age/mae"]
        assert 3 < age.low < age.value < age.high < 9
        assert model.to_dict()["file"] == str(model.file)


def test_licence_is_unknown_where_a_training_set_is(monkeypatch) -> None:
    monkeypatch.setattr(zoo, "OPEN_SETS", {"fairface"})  # as if the terms of the mask images were not known
    assert {model.name: model.licence for model in list_models()}["oam-open"] == "unknown"
