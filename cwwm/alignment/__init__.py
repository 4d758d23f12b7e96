"""Alignment: find a network's channels again in a suspect whose channels were moved, scaled, removed or added."""

from cwwm.alignment.align import AlignedWeights, Alignment, align
from cwwm.alignment.channel_map import ChannelMap
from cwwm.alignment.responses import Responses, record_responses

__all__ = ["AlignedWeights", "Alignment", "ChannelMap", "Responses", "align", "record_responses"]
