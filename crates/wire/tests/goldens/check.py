"""Reads every golden with the official Python models: each field known, none lost, each of its documented type.

Run it in the environment of ../captures/README.md. What it prints are our own additions and nothing else."""
import importlib, json, pathlib, sys, typing

HERE = pathlib.Path(__file__).parent
MODELS = {"hbr": "alibabacloud_hbr20170908.models", "ecs": "alibabacloud_ecs20140526.models"}


def compare(ours, theirs, path):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                compare(value, theirs[key], f"{path}.{key}")
            else:
                print(f"{path}.{key}: not a field of theirs")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for pair in zip(ours, theirs):
            compare(*pair, f"{path}[]")
    elif ours != theirs or type(ours) is not type(theirs):
        print(f"{path}: {ours!r} is read as {theirs!r}")


def types(model, path):
    hints = typing.get_type_hints(type(model).__init__, vars(sys.modules[type(model).__module__]))
    for name, hint in hints.items():
        value = getattr(model, name, None)
        for element in value if isinstance(value, list) else [value]:
            if hasattr(element, "to_map"):
                types(element, f"{path}.{name}")
        if value is not None and hint in (str, int, bool, float) and type(value) is not hint:
            print(f"{path}.{name}: {value!r} is no {hint.__name__}")


for golden in sorted(HERE.glob("*.json")):
    product, action, _ = golden.name.split(".")
    body = json.loads(golden.read_text())
    model = getattr(importlib.import_module(MODELS[product]), f"{action}ResponseBody")().from_map(body)
    compare(body, model.to_map(), golden.stem)
    types(model, golden.stem)
