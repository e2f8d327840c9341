"""A progress bar on standard error, so that standard output holds results alone."""

from typing import Self


class ProgressBar:
    """Appears with the first `update`, so that an error before it has its line for itself. shown: False for none."""

    def __init__(self, title: str, *, shown: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not shown)
        self._task = self._progress.add_task(title, total=None)

    def update(self, done: int, total: int, title: str | None = None) -> None:
        self._progress.start()
        self._progress.update(self._task, completed=done, total=total, description=title)

    def update_stage(self, stage: str, done: int, total: int) -> None:
        """`update`, in the order in which work of several stages reports."""
        self.update(done, total, stage)

    def print(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress.live.is_started:
            self._progress.stop()
