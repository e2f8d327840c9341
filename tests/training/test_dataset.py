import numpy as np
import pytest
import torch

from helpers.drawn import write_store
from oamface.datasets.store import Store
from oamface.errors import TrainError
from oamface.preprocessing import WHOLE_CROP, Preprocessing
from oamface.training.dataset import batches, gather, mixed, steps_a_pass
from oamface.training.losses import set_loss


@pytest.fixture(scope="module")
def faces(store_folder):
    return gather([Store.open(store_folder)], "train", repeat={})


def stream(faces, **changes):
    settings = {"size": 64, "batch": 8, "seed": 0, "number": 0, "skip": 0, "occluded": 0.5, "paired": 1.0, "workers": 0}
    settings["preprocessing"] = Preprocessing(WHOLE_CROP, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return list(batches(faces, **(settings | changes)))


def same(one, other) -> bool:
    return torch.equal(one.crops, other.crops) and torch.equal(one.coverage, other.coverage)


def test_only_the_split_asked_for(store_folder) -> None:
    store = Store.open(store_folder)
    assert [len(gather([store], split, repeat={})) for split in ("train", "calibrate", "test")] == [40, 20, 12]
    left = gather([store, store], "train", repeat={}, left_out=[np.arange(72) < 30, np.zeros(72, bool)])
    assert len(left) == 10 + 40
    with pytest.raises(TrainError, match="no face"):
        gather([store], "holdout", repeat={})


def test_a_pass_shows_every_face_once_in_its_own_order(faces) -> None:
    one, other = (stream(faces, number=number, occluded=0.0) for number in (0, 1))
    ages = [torch.cat([batch.members["age"] for batch in passed]).float() for passed in (one, other)]
    assert len(one) == 5
    assert not torch.equal(*ages)
    assert torch.equal(ages[0].sum(0), ages[1].sum(0))


def test_the_same_seed_gives_the_same_and_skipping_loses_nothing(faces) -> None:
    whole = stream(faces)
    assert all(same(one, other) for one, other in zip(whole, stream(faces), strict=True))
    assert all(same(one, other) for one, other in zip(whole[2:], stream(faces, skip=2), strict=True))
    assert not same(whole[0], stream(faces, seed=1)[0])


def test_workers_give_the_same_batches(faces) -> None:
    assert all(same(one, other) for one, other in zip(stream(faces), stream(faces, workers=2), strict=True))


def test_covered_faces_come_with_their_bare_selves(faces) -> None:
    for batch in stream(faces, occluded=1.0):
        assert batch.crops.shape == (16, 64, 64, 3)
        assert torch.equal(batch.covered, torch.arange(8))
        assert torch.equal(batch.bare, torch.arange(8, 16))
        assert not batch.coverage[batch.bare].any()
        assert (batch.coverage[batch.covered].sum((1, 2)) > 0).all()
        for task in ("age", "gender", "race"):
            assert torch.equal(batch.members[task][batch.covered], batch.members[task][batch.bare])
        # Where nothing is drawn, both views are the same image.
        nothing = torch.nn.functional.max_pool2d(batch.coverage[batch.covered, None], 25, 1, 12)[:, 0] == 0
        away = (batch.crops[batch.covered].int() - batch.crops[batch.bare].int()).abs().amax(3)
        assert away[nothing].float().mean() < 1


def test_mask_labels_say_what_was_drawn(faces) -> None:
    drawn = torch.cat([batch.members["mask"] for batch in stream(faces, occluded=1.0, paired=0.0)])
    assert (drawn.sum(1) == 1).all()
    share = drawn.float().mean(0)
    assert 0.15 < share[0] < 0.6  # hands, scarves and the like are no masks
    assert share[2] > share[1] > 0


def test_real_masks_keep_their_labels_and_count_as_untraced(tmp_path) -> None:
    store = Store.open(write_store(tmp_path / "store"))
    store.labels[:] = [type(label)(mask=frozenset({"incorrect", "worn"})) for label in store.labels]
    for batch in stream(gather([store], "train", repeat={}), occluded=1.0):
        assert not batch.traced.any()
        assert len(batch.covered) == 0
        assert torch.equal(batch.members["mask"], torch.tensor([[False, True, True]]).expand(8, 3))


def test_repeat_and_features(tmp_path) -> None:
    taught = Store.open(write_store(tmp_path / "taught", features=5))
    plain = Store.open(write_store(tmp_path / "plain", data_set="fairface", seed=1))
    faces = gather([taught, plain], "train", repeat={"fairface": 3})
    assert steps_a_pass(faces, 8) == (40 + 3 * 40) // 8
    assert faces.features.shape == (80, 5)
    assert np.abs(faces.features[:40].mean(0)).max() < 1e-3
    assert np.isnan(faces.features[40:]).all()
    with pytest.raises(TrainError, match="do not fill one batch"):
        steps_a_pass(faces, 1000)


def test_a_batch_becomes_another_of_the_same_shapes(faces) -> None:
    one, other, *_ = stream(faces, occluded=1.0)
    short = stream(faces, occluded=0.0)[0]
    kept = one.like()
    assert kept.take(one) and same(kept, one)
    assert kept.take(other) and same(kept, other)
    assert all(torch.equal(kept.members[task], table) for task, table in other.members.items())
    assert not kept.take(short) and same(kept, other)


def test_mixed_rows_lie_between_two_faces_and_tell_nothing(faces) -> None:
    batch = stream(faces)[0]
    before = batch.crops.clone()
    torch.manual_seed(3)
    one = mixed(batch)
    assert torch.equal(batch.crops, before)
    assert one.crops.shape == batch.crops.shape and one.crops.dtype == torch.uint8
    sides = torch.cat([before, before.flip(2)])
    assert (one.crops <= sides.amax(0)).all() and (one.crops >= sides.amin(0)).all()
    new = [all(not torch.equal(row, side) for side in sides) for row in one.crops]
    assert sum(new) >= len(new) - 2  # one may by chance be laid over itself
    assert not one.traced.any() and len(one.covered) == len(one.bare) == 0
    for members in one.members.values():
        assert set_loss(torch.randn(members.shape), members.float()) == 0
    torch.manual_seed(3)
    assert torch.equal(mixed(batch).crops, one.crops)
