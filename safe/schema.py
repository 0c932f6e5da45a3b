"""Whether plain values from a file have the form that is expected."""

import sys


def check_schema(value, schema, name):
    """Raises ValueError unless a value is as the schema says.

    schema: a type (float: any finite number, but no bool; object: anything); [schema] for a list of such; {type:
    schema} for a dict with such keys and values; {"key": schema, ...} for a dict with just these keys.
    """
    if schema is float:
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            raise ValueError(f"{name} is no finite number")
        return
    kind = schema if isinstance(schema, type) else type(schema)
    if not isinstance(value, kind):
        raise ValueError(f"{name} is a {type(value).__name__}, not a {kind.__name__}")
    if isinstance(schema, list):
        for i, part in enumerate(value):
            check_schema(part, schema[0], f"{name}[{i}]")
    elif isinstance(schema, dict):
        of_key, of_value = next(iter(schema.items()))
        if isinstance(of_key, type):
            check_schema([*value], [of_key], f"keys of {name}")
            schema = dict.fromkeys(value, of_value)
        if value.keys() != schema.keys():
            raise ValueError(f"{name} has other entries than {', '.join(schema)}")
        for key, part in schema.items():
            check_schema(value[key], part, f"{name}.{key}")
