"""What holds for all tests."""

from hypothesis import settings

# How long an example takes says how busy the machine is; a test that hangs has pytest's own deadline.
settings.register_profile("securechat", deadline=None)
settings.load_profile("securechat")
