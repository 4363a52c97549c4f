"""Jobs on Ray, on one machine or a cluster, and the demo."""
