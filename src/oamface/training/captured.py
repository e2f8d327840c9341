"""Training steps as CUDA graphs: recorded once, then replayed whole.

A GPU computes a step of a small network in less time than a processor takes to launch its thousand kernels one by one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from oamface.training.dataset import Batch

WARM = 3  # steps before the recording: libraries choose their kernels, the optimizer makes its state

Step = Callable[[Batch], dict[str, Tensor]]


class Captured:
    """A step on a GPU that is recorded after a few calls; batches of other shapes than the recorded one run as ever.

    step: changes in place what it trains, and neither waits for the GPU nor reads what changes from call to call,
    unless they lie in tensors on it. What it returns is overwritten by the next call.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.calls = step, 0
        self.stream = torch.cuda.Stream()
        self.graph = torch.cuda.CUDAGraph()

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls <= WARM:
            # Beside the default stream, as the recording will be: autograd keeps to the stream that it first saw.
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                values = self.step(batch)
            torch.cuda.current_stream().wait_stream(self.stream)
            return values
        if self.calls == WARM + 1:
            self.batch = batch.like()
            # The loader's thread may pin memory meanwhile.
            with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
                self.values = self.step(self.batch)
        if not self.batch.take(batch):
            return self.step(batch)
        self.graph.replay()
        return self.values
