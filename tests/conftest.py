"""What holds for all tests."""

import signal

from hypothesis import settings

# How long an example takes says how busy the machine is; a test that hangs has pytest's own deadline.
settings.register_profile("securechat", deadline=None)
settings.load_profile("securechat")

# A shell lets what it starts in the background ignore SIGINT, and the programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
