"""Load TensorFlow without the lines that its libraries write to stderr at every log level.

A command that is called wrongly promises one clear line on stderr. TensorFlow 2.21 writes six lines at import (that it
uses oneDNN, that there is no GPU driver) before its log level takes effect.
"""

import os
import sys
import tempfile


def load_tensorflow(threads: int | None = None) -> None:
    """Import TensorFlow; what it writes meanwhile is shown only if the import fails.

    Args:
        threads: for each operation, where other processes keep the cores busy; None: all cores. It has no effect once
            networks have run.

    Raises:
        ImportError: TensorFlow cannot be imported.
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
