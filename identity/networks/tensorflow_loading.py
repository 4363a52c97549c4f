"""Load TensorFlow without the lines its libraries write to stderr whatever the log level.

A command that is called wrongly promises one clear line on stderr; TensorFlow 2.21 writes six at import (that it uses
oneDNN, that it found no GPU driver) before its log level is in force.
"""

import os
import sys
import tempfile


def load_tensorflow(threads: int | None = None) -> None:
    """Import TensorFlow; what it writes meanwhile is shown only if that fails.

    Args:
        threads: for each operation, where other processes keep the cores busy; all cores if None. Has no effect once
            networks have run.

    Raises:
        ImportError: as the import does.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            import tensorflow

            if threads is not None:
                tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        except BaseException:
            written.seek(0)
            os.write(stderr, written.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
