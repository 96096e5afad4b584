import os
import signal

import pytest

from fairlead.cli.patience import until_told


def test_a_signal_ends_the_wait_and_a_second_one_the_work() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with until_told() as is_stopped:
        assert not is_stopped(0.0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert is_stopped(5.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
