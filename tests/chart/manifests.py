"""Reads YAML documents from standard input, and prints them as JSON with the Kubernetes versions that accept them.

Each document is validated strictly: an unknown member is an error, as in `kubectl apply --validate=strict`.
"""

import functools
import json
import pathlib
import sys

import jsonschema
import yaml
from kubernetes_validate import utils

OLDEST = (1, 31)
DEFINITIONS = pathlib.Path(__file__).parents[2] / "target/chart/definitions"

# Otherwise each call would read megabytes again.
utils.schema_contents = functools.cache(utils.schema_contents)


class Loader(yaml.CSafeLoader):
    """Refuses a mapping that has a key twice; other loaders silently use one of the values."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            sys.exit(f"{', '.join(twice)} twice in a mapping\n{node.start_mark}")
        return super().construct_mapping(node, deep)


def versions():
    found = {utils.major_minor(version) for version in utils.all_versions()}
    return sorted((v for v in found if number(v) >= OLDEST), key=number)


def number(version):
    return tuple(map(int, version.split(".")))


def validate(document):
    if document["apiVersion"].startswith("monitoring.coreos.com/"):
        validate_custom(document)
    else:
        for version in versions():
            utils.validate(document, version, strict=True)


def validate_custom(document):
    [version] = definition(document["kind"])["versions"]
    assert document["apiVersion"] == f"monitoring.coreos.com/{version['name']}", document["apiVersion"]
    jsonschema.Draft202012Validator(strict(version["schema"]["openAPIV3Schema"])).validate(document)


def definition(kind):
    path = DEFINITIONS / f"monitoring.coreos.com_{kind.lower()}s.yaml"
    return yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]


def strict(schema):
    """Refuses members that the schema does not name."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: strict(part) for name, part in schema.items()}
    if isinstance(parts.get("properties"), dict) and not parts.get("x-kubernetes-preserve-unknown-fields"):
        parts.setdefault("additionalProperties", False)
    return parts


def main():
    documents = [document for document in yaml.load_all(sys.stdin, Loader) if document]
    for document in documents:
        try:
            validate(document)
        except (jsonschema.ValidationError, utils.SchemaNotFoundError) as error:
            where = f"{document['kind']} {document['metadata']['name']}"
            sys.exit(f"{where}: {getattr(error, 'json_path', '')} {error.message} {getattr(error, 'version', '')}")
    json.dump({"versions": versions(), "documents": documents}, sys.stdout)


if __name__ == "__main__":
    main()
