"""How many examples each fuzz test tries: AZURERM_LITE_FUZZ_EXAMPLES, else 2,000 in CI and 200 elsewhere."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("AZURERM_LITE_FUZZ_EXAMPLES") or ("2000" if os.environ.get("CI") else "200"))
settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
fuzz = settings.get_profile("fuzz")
