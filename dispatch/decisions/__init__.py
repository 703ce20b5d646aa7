"""Typed questions, answered with calibrated probabilities by whichever model the policy gives them to."""
