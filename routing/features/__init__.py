"""The facts of a step, declared and measured."""
