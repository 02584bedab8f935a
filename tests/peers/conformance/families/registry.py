"""The generator's table: for each operator of the compiler, functions that add a node of it to a graph."""

from conformance.builder import NotPossible

STEPS = {}  # operator -> [(first opset, function)]


def step(*operators, since=7, until=99):
    """Registers `function(builder, operator)` for the operators, from one opset to another."""

    def register(function):
        for operator in operators:
            STEPS.setdefault(operator, []).append((since, until, function))
        return function

    return register


def add(builder, operator):
    """Adds a node of the operator, with what it needs; NotPossible if this graph does not allow one."""
    fitting = [function for since, until, function in STEPS[operator] if since <= builder.opset <= until]
    if not fitting:
        raise NotPossible(f"{operator} is not in opset {builder.opset}")
    return builder.pick(fitting)(builder, operator)


def opsets(operator):
    """The opsets that have it: first and last."""
    return min(entry[0] for entry in STEPS[operator]), max(entry[1] for entry in STEPS[operator])
