"""From a balanced set to names: frozen features, head, open-set decision, evaluation. Never imports Ray."""
