"""Work in threads beside the server: the head after every few decisions, the suspects, which take
longer, whenever there is a new head, and the table."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace

from pets.errors import reason_of
from pets.labelling.journal import Entry
from pets.labelling.learn import Learner
from pets.labelling.session import Session

log = logging.getLogger(__name__)
_IDLE = 3.0  # seconds after which fewer than `every` decisions are enough
_AGAIN = 30.0  # seconds until a fit that failed is tried again


class Background:
    """Fits heads while it runs, and writes the table.

    Only coroutines change the session, in the server's thread.

    Attributes:
        heads: How many heads were fitted; pages draw anew when it changes.
        fitting: Whether one is being fitted.
        problem: Why there is no newer head, in one line; "" if nothing failed.
    """

    def __init__(self, session: Session, learner: Learner, every: int) -> None:
        self.session, self._learner, self._every = session, learner, every
        self.heads, self.fitting, self.problem = 0, False, ""
        self._changes, self._unwritten = 0, False
        self._due, self._new_head = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.Lock()
        self._logged = set[str]()

    def decided(self, entry: Entry) -> None:
        """Note a decision."""
        self._changes += entry.action != "skip"
        if self._changes >= self._every:
            self._due.set()

    async def save(self) -> None:
        """Write the table of all decisions so far. Raises OSError.

        Decisions that come while it is being written are written together, once, afterwards.
        """
        self._unwritten = True
        async with self._writing:
            if not self._unwritten:
                return
            self._unwritten = False
            try:
                await asyncio.to_thread(self.session.save, self.session.lines())
            except BaseException:
                self._unwritten = True
                raise

    async def run(self) -> None:
        """Fit until cancelled."""
        await asyncio.gather(self._fit_heads(), self._find_suspects())

    async def _fit_heads(self) -> None:
        while True:
            if self.session.fit is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE):
                        await self._due.wait()
                if not self._changes:
                    continue
            self._due.clear()
            changes, self._changes, self.fitting = self._changes, 0, True
            try:
                known, suspects = self.session.known, self.session.suspects
                fit = await asyncio.to_thread(self._learner.fit, known, suspects)
            except Exception as error:
                self._changes += changes
                self.fitting = False
                self.problem = self._log("the head could not be fitted", error)
                await asyncio.sleep(_AGAIN)
                continue
            self.problem = ""
            try:
                self.session.publish(fit)
            except OSError as error:  # of the curve on the page a point is missing
                self._log("the error of a head could not be written", error)
            self.heads += 1
            self.fitting = False
            self._new_head.set()

    async def _find_suspects(self) -> None:
        while True:
            await self._new_head.wait()
            self._new_head.clear()
            fit, known = self.session.fit, self.session.known
            if fit is None:
                continue
            try:
                suspects, odds = await asyncio.to_thread(self._learner.suspects, known, fit)
                orders = await asyncio.to_thread(
                    self._learner.orders, known, fit.probabilities, suspects
                )
            except Exception as error:  # the other orders do without
                self._log("suspected labels could not be found", error)
                continue
            self.session.suspects, self.session.odds = suspects, odds
            if self.session.fit is fit:
                self.session.fit = replace(fit, orders=orders)
                self.heads += 1

    def _log(self, what: str, error: Exception) -> str:
        """Log what failed in one line, which is returned; the same again is not logged."""
        line = f"{what}: {reason_of(error)}"
        if line not in self._logged:
            self._logged.add(line)
            log.error("%s", line, exc_info=error if log.isEnabledFor(logging.DEBUG) else None)
        return line
