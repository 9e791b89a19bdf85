"""Shows how far a long step is: a bar on a terminal, a plain line now and then in a log."""

import sys
import time

from tqdm import tqdm

# Without its thread, which looks after bars that pause: a process with threads isn't forked.
tqdm.monitor_interval = 0


class Progress:
    """Counts to a total and shows count, rate, time left and a detail, on standard error.

    On a terminal it is tqdm's bar. Elsewhere it is one line after the first item, one every
    `interval` seconds and one at the end, so that a log stays readable and still shows life.
    """

    def __init__(self, total, unit, start=0, interval=10.0, stream=None):
        """Counts from `start` to `total` things called `unit` ("step", "image").

        Args:
            total: how many there are; None where nobody knows.
            unit: what one is called.
            start: how many are done.
            interval: seconds between two lines of a log.
            stream: where it is shown; by default standard error.
        """
        self._stream = stream or sys.stderr
        self._unit, self._start, self.count, self._total = unit, start, start, total
        self._interval = interval
        self._began = self._shown = time.monotonic()
        self._bar = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._bar is not None:
            self._bar.close()

    def update(self, make_detail=None):
        """Counts one more; `make_detail()` gives the text shown beside it, called only if shown."""
        self.count += 1
        if self._stream.isatty():
            self._update_bar(make_detail)
            return
        now = time.monotonic()
        first, last = self.count == self._start + 1, self._is_last()
        if first or last or now - self._shown >= self._interval:
            detail = f"  {make_detail()}" if make_detail is not None else ""
            now = time.monotonic()
            print(self._line(now) + detail, file=self._stream, flush=True)
            self._shown = now
            if first:
                self._began = now  # the first includes what is done once: a trace, a start-up

    def leave_out(self, seconds):
        """Doesn't count seconds that went into something else when it tells the pace."""
        self._began += seconds
        if self._bar is not None:
            self._bar.start_t += seconds
            self._bar.last_print_t += seconds

    def _update_bar(self, make_detail):
        """Moves the bar; it appears after the first item, so that its rate is the others'."""
        is_first = self._bar is None
        if is_first:
            self._bar = tqdm(
                total=self._total,
                initial=self.count,
                unit=f" {self._unit}",
                miniters=1,
                file=self._stream,
                dynamic_ncols=True,
            )
        due = time.monotonic() - self._shown > self._bar.mininterval
        if make_detail is not None and (is_first or due or self._is_last()):
            self._shown = time.monotonic()
            self._bar.set_postfix_str(make_detail(), refresh=is_first)
        if not is_first:
            self._bar.update()

    def _is_last(self):
        return self.count == self._total

    def _line(self, now):
        text = f"{self._unit} {self.count}" + (f"/{self._total}" if self._total else "")
        done = self.count - self._start - 1
        if done > 0 and now > self._began:
            seconds = (now - self._began) / done
            pace = f"{seconds:.2f} s/{self._unit}" if seconds >= 0.1 else f"{1 / seconds:.0f}/s"
            text += f"  {pace}"
            if self._total is not None:
                left = max(self._total - self.count, 0)  # a video may hold more frames than it says
                text += f"  left {tqdm.format_interval(seconds * left)}"
        return text
