"""From a few photos per person to a balanced set of images: detection, pose, views, rendering, balancing.

Importing this package loads neither TensorFlow nor Ray and reads no file.
"""
