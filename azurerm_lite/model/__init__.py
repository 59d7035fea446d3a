"""Compare and patch models of a scale set. PURE.

`diff` lists the differences of two models, `merge_patch` builds the PATCH between them, `unexplained` compares what
Azure shows with what was written, and `fingerprint` changes when instances would be built differently. `edits` has the
usual changes.
"""

from .compare import IMAGE as IMAGE
from .compare import Change as Change
from .compare import Diff as Diff
from .compare import diff as diff
from .compare import redact as redact
from .compare import without_read_only as without_read_only
from .compare import without_secrets as without_secrets
from .completions import fingerprint as fingerprint
from .completions import matches_written as matches_written
from .completions import outline as outline
from .completions import shows_write as shows_write
from .completions import unexplained as unexplained
from .patches import WHOLE as WHOLE
from .patches import apply_patch as apply_patch
from .patches import merge_patch as merge_patch
from .patches import rebase_tags as rebase_tags
from .plain import MISSING as MISSING
from .plain import Path as Path
from .plain import apply_merge_patch as apply_merge_patch
from .plain import is_no_zone as is_no_zone
from .plain import json_only as json_only
