"""What must be true of a group after every event, looked at from outside all members.

Here:   `Checks`, the one door; `Violation`; `SimMember`, what the checks see of a member.
Never:  what happens and when (the world that is checked), the product's own bookkeeping as a proof: match indexes and
        the like prove nothing about themselves.
"""

from tests.sim.checks.checks import Checks
from tests.sim.checks.violation import SimMember, Violation

__all__ = ["Checks", "SimMember", "Violation"]
