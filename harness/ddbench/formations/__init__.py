"""Formations: how the stored tensors of a set become the batches that a network is trained on.

A set names its parts, at most one for each of three stages:

=========  ====================================  ==============================================
stage      built in                              gives
=========  ====================================  ==============================================
decode     `identity`, `upsample`                the images, and the stored row of each
views      `protocol`, `replay`                  for each epoch, the batches of images
targets    `stored`, `replayed`, `teacher`       what a network should answer to a batch
=========  ====================================  ==============================================

A stage that a set does not name is its first part here. Parts are ddbench's own, or those that an
installed extension registers (`register_formations`). A set holds no code, and naming a part
imports nothing.
"""

from ddbench.formations.batches import Batch as Batch
from ddbench.formations.batches import Batches as Batches
from ddbench.formations.batches import Targets as Targets
from ddbench.formations.batches import View as View
from ddbench.formations.batches import drawn_batches as drawn_batches
from ddbench.formations.checks import problems as problems
from ddbench.formations.decoding import decode as decode
from ddbench.formations.decoding import upsample as upsample
from ddbench.formations.own import own_batches as own_batches
from ddbench.formations.own import regime as regime
from ddbench.formations.parts import Decoded as Decoded
from ddbench.formations.parts import Fit as Fit
from ddbench.formations.parts import Formation as Formation
from ddbench.formations.parts import Own as Own
from ddbench.formations.parts import part_names as part_names
from ddbench.formations.parts import register_formations as register_formations
from ddbench.formations.replay import as_payload as as_payload
from ddbench.formations.replay import draw_views as draw_views
from ddbench.formations.replay import view as view
from ddbench.formations.targets import teacher_payload as teacher_payload
