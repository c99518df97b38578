"""Claims of Liu et al., Nat. Commun. 15, 434 (2024), on training networks as linear systems."""

from __future__ import annotations

from quprop.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
