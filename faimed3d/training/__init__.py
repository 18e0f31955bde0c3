"""Training: learners, losses, metrics and callbacks for volumes."""
