"""The main job's ways in: over Ray, on one machine or a cluster, and the demo."""
