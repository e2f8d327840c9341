import pytest
import torch

from oamface.training.dataset import Batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU of NVIDIA's")


def batch(rows: int) -> Batch:
    table = torch.rand(rows, 3, device="cuda")
    pair = torch.zeros(0, dtype=torch.long, device="cuda")
    return Batch(table, table, table, {"gender": table}, {}, table, pair, pair)


def test_a_recorded_step_does_what_the_step_does() -> None:
    from oamface.training.captured import WARM, Captured

    def steps(record: bool) -> tuple[torch.Tensor, list[float]]:
        torch.manual_seed(0)
        given = [batch(4) for _ in range(WARM + 4)]
        given.insert(WARM + 2, batch(7))  # of another shape
        layer = torch.nn.Linear(3, 2).cuda()
        optimizer = torch.optim.AdamW(layer.parameters(), lr=torch.tensor(0.1, device="cuda"), capturable=True)

        def step(batch: Batch) -> dict[str, torch.Tensor]:
            optimizer.zero_grad(set_to_none=True)
            noise = torch.rand_like(batch.crops)
            loss = (layer(batch.crops + noise) ** 2).sum()
            loss.backward()
            optimizer.step()
            return {"loss": loss.detach()}

        taken, losses = Captured(step) if record else step, []
        for number, one in enumerate(given):
            torch.manual_seed(number)
            optimizer.param_groups[0]["lr"].fill_(0.1 / (1 + number))
            losses.append(float(taken(one)["loss"]))
        return layer.weight.detach(), losses

    (one, seen), (other, expected) = steps(True), steps(False)
    assert torch.allclose(one, other, atol=1e-5)
    assert seen == pytest.approx(expected, rel=1e-4)
