"""Shared settings of the tests: Hypothesis draws the same examples in every run."""

import hypothesis

hypothesis.settings.register_profile("quprop", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("quprop")
