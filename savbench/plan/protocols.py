"""Protocols: how each benchmark scores an object, as its own tool does it.

| name | frames scored | objects | measures |
|---|---|---|---|
| sav | annotated frames without the first and last, from the object's first appearance on | each alone | J and F |
| davis2017 | annotated frames without the first and last | in one picture | J and F |
| lvos | the same, of the frames that the meta file lists for the object | in one picture | J and F |
| mose | as davis2017 | in one picture | J with 1 added to both areas, F with a radius that shrinks with the object |

Sources: sav_dataset/utils/sav_benchmark.py of facebookresearch/sam2; davis2017/evaluation.py of davisvideochallenge/davis2017-evaluation,
task semi-supervised; lvos/evaluation.py of LingyiHongfd/lvos-evaluation; MOSEv2/sam2_rcms/tools/score.py of henghuiding/MOSE-api, whose
`J&F_new` it is. MOSE v1 publishes no tool; use davis2017 for its training set.

In one picture a pixel belongs to one object. Of several predictions for it, the object with the lowest label keeps it, as in
tools/vos_inference.py of facebookresearch/sam2, which writes such pictures.

Means over a data set are of objects. LVOS's tool also takes the mean of the means over seen and unseen categories, which is not done here.
"""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL_VERSION = 1
"""Version of how objects are timed and scored, in every row. Results of two versions are compared only on request.

Raise it by 1 with every change after which the same masks get other scores, or the same calls of a model other times: what the latency
begins and ends with, which frames are timed or scored, how prompts are made, how figures of a row follow from its frames.
tests/test_protocol_version.py fails where the figures of a fixed clip change under the same number."""


@dataclass(frozen=True)
class Protocol:
    """A way to score objects."""

    name: str
    in_one_picture: bool
    """Whether predictions of a video's objects are put into one picture before they are scored."""
    from_appearance: bool
    """Whether frames before the object first appears, in truth or prediction, are left out, and objects that are in no truth scored."""
    is_adaptive: bool = False
    """Whether MOSE's measures are taken in place of DAVIS's."""


SAV = Protocol("sav", in_one_picture=False, from_appearance=True)
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        SAV,
        Protocol("davis2017", in_one_picture=True, from_appearance=False),
        Protocol("lvos", in_one_picture=True, from_appearance=False),
        Protocol("mose", in_one_picture=True, from_appearance=False, is_adaptive=True),
    )
}
"""By the value of --protocol."""
AUTO = "auto"


def protocol_named(name: str, of_layout: str) -> Protocol:
    """The protocol of a value of --protocol; `auto` is that of the data set's layout."""
    return PROTOCOLS[of_layout if name == AUTO else name]
