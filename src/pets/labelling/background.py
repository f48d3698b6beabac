"""Fitting in threads beside the server: the head after every few decisions, and the suspects, which
take longer, whenever there is a new head."""

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


class Background:
    """Fits heads while it runs; only `run` changes the session, in the server's thread.

    Attributes:
        heads: How many heads were fitted; pages draw anew when it changes.
        fitting: Whether one is being fitted.
        problem: What went wrong last, in one line; "" if nothing did.
    """

    def __init__(self, session: Session, learner: Learner, every: int) -> None:
        self.session, self._learner, self._every = session, learner, every
        self.heads, self.fitting, self.problem = 0, False, ""
        self._changes = 0
        self._due, self._new_head = asyncio.Event(), asyncio.Event()

    def decided(self, entry: Entry) -> None:
        """Note a decision."""
        self._changes += entry.action != "skip"
        if self._changes >= self._every:
            self._due.set()

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
            self._changes, self.fitting = 0, True
            try:
                known, suspects = self.session.known, self.session.suspects
                fit = await asyncio.to_thread(self._learner.fit, known, suspects)
                self.session.publish(fit)
                self.problem = ""
            except Exception as error:
                log.exception("the head could not be fitted")
                self.problem = f"the head could not be fitted: {reason_of(error)}"
                await asyncio.sleep(_IDLE)
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
            except Exception:  # the other orders do without
                log.exception("suspected labels could not be found")
                continue
            self.session.suspects, self.session.odds = suspects, odds
            if self.session.fit is fit:
                self.session.fit = replace(fit, orders=orders)
                self.heads += 1
