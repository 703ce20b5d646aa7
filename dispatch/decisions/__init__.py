"""Typed questions, answered with calibrated probabilities by the model that the policy chooses."""
