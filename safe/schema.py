"""Whether plain values from a file have the form that is expected."""

import sys


def check_schema(value, schema, name):
    """Raises ValueError unless a value is as the schema says.

    schema: a type (float: any finite number, but no bool; object: anything); [schema] for a list of such; {type:
    schema} for a dict with such keys and values; {"key": schema, ...} for a dict with just these keys.
    """
    if isinstance(schema, list):
        _check_type(value, list, name)
        for i, part in enumerate(value):
            check_schema(part, schema[0], f"{name}[{i}]")
    elif isinstance(schema, dict) and isinstance(next(iter(schema)), type):
        _check_type(value, dict, name)
        ((of_key, of_value),) = schema.items()
        for key, part in value.items():
            check_schema(key, of_key, f"a key of {name}")
            check_schema(part, of_value, f"{name}.{key}")
    elif isinstance(schema, dict):
        _check_type(value, dict, name)
        if value.keys() != schema.keys():
            raise ValueError(f"{name} has other entries than {', '.join(schema)}")
        for key, part in schema.items():
            check_schema(value[key], part, f"{name}.{key}")
    elif schema is float:
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            raise ValueError(f"{name} is no finite number")
    else:
        _check_type(value, schema, name)


def _check_type(value, kind, name):
    if not isinstance(value, kind):
        raise ValueError(f"{name} is a {type(value).__name__}, not a {kind.__name__}")
