"""Look inside, without a window: activations, explanations, and how they are laid out."""
