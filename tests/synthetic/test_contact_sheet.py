import pytest

from oamface.synthetic import contact_sheet as sheet

pytestmark = pytest.mark.slow


def test_contact_sheets_have_a_cell_for_every_person_and_condition(head_model, monkeypatch) -> None:
    monkeypatch.setattr(sheet, "SIDE", 96)
    ages = sheet.age_sheet(head_model, workers=2)
    assert ages.shape == (20 + 6 * 96, 110 + 9 * 96, 3)
    cells = ages[20:, 110:].reshape(6, 96, 9, 96, 3).swapaxes(1, 2).reshape(54, -1)
    assert len({cell.tobytes() for cell in cells}) == 54
    assert cells.std(1).min() > 10
    masks, lights = sheet.mask_sheet(head_model, workers=2), sheet.light_sheet(head_model, workers=2)
    assert masks.shape == (20 + 6 * 96, 110 + 8 * 96, 3)
    assert lights.shape == (20 + 6 * 96, 110 + 10 * 96, 3)
