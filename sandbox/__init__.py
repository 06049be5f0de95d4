"""Stand-ins of the remote APIs, with faults on demand, for the demo and the tests."""

from sandbox.faults import Fault
from sandbox.records import Record
from sandbox.server import Sandbox
from sandbox.social_world import SocialWorld
from sandbox.world import World

__all__ = ["Fault", "Record", "Sandbox", "SocialWorld", "World"]
