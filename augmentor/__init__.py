"""From few photos per person to a balanced set: faces, pose, views, rendering, balance.

Importing this package loads neither TensorFlow nor Ray and reads no file.
"""
