"""Injective flows: M as the image of a decoder of a base of the right topology, laws included."""

from .flow import InjectiveFlow as InjectiveFlow
