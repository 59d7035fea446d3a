"""What can be said of two models of a scale set. PURE.

`diff` shows a change, `merge_patch` is the PATCH body for it, `unexplained` says whether Azure shows what was written,
`fingerprint` whether anything differs that instances are made from. Changes that people make are in `edits`.
"""

from .compare import IMAGE as IMAGE
from .compare import Change as Change
from .compare import Diff as Diff
from .compare import diff as diff
from .compare import redacted as redacted
from .compare import without_read_only as without_read_only
from .compare import without_secrets as without_secrets
from .completions import fingerprint as fingerprint
from .completions import outline as outline
from .completions import reflects as reflects
from .completions import shows_write as shows_write
from .completions import unexplained as unexplained
from .patches import WHOLE as WHOLE
from .patches import apply_patch as apply_patch
from .patches import merge_patch as merge_patch
from .patches import retagged as retagged
from .plain import MISSING as MISSING
from .plain import Path as Path
from .plain import is_no_zone as is_no_zone
from .plain import json_only as json_only
from .plain import merged as merged
