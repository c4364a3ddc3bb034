"""Log-probs → learning: the objective, its metrics, and the LightningModule around them."""
