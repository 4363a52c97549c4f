"""Train a model on a balanced set, name the people in photos with it, and measure it. Never imports Ray."""
