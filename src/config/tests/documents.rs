//! Compares the table of `docs/configuration.md` and `schemas/config.schema.json` with [`KEYS`].

use serde_json::{Map, Value, json};

use super::*;
use crate::contract::LARGEST_SCHEMA_NUMBER;

fn read(name: &str) -> (String, String) {
    let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).expect("a file");
    (path, text)
}

/// Describes the type of a value with its range.
fn in_words(kind: &Kind) -> String {
    let range = |least: &str, most: &str| format!("`{least}` to `{most}`");
    match kind {
        Kind::Address => "IP address and port".to_owned(),
        Kind::Boolean => "`true` or `false`".to_owned(),
        Kind::Number(numbers) => range(&numbers.start().to_string(), &numbers.end().to_string()),
        Kind::Duration(times) => range(
            &parse::in_time(*times.start()),
            &parse::in_time(*times.end()),
        ),
        Kind::Size(sizes) => range(
            &parse::in_bytes(*sizes.start()),
            &parse::in_bytes(*sizes.end()),
        ),
        Kind::Path | Kind::SecretFile => "path".to_owned(),
        Kind::Topic => "name of a topic".to_owned(),
        Kind::SchemaId => "number or GUID".to_owned(),
        Kind::Words(words) => format!("`{}`", words().join("`, `")),
        Kind::Networks => "list of networks".to_owned(),
        Kind::Hosts => "list of host names".to_owned(),
        Kind::Ratio => range("0", "1"),
        Kind::Unsafe => "list of properties".to_owned(),
        Kind::Url => "URL".to_owned(),
    }
}

#[test]
fn the_documented_table_of_keys_is_current() {
    let row = |key: &Key| {
        let default = match key.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let live = match key.applies {
            Applies::Start => "",
            Applies::Connection => "next connection",
            Applies::Request => "next request",
        };
        let (name, kind, help) = (key.name, in_words(&key.kind), key.help);
        format!("| `{name}` | {kind} | {default} | {live} | {help} |\n")
    };
    let head = "| key | value | default | while serving | meaning |\n|---|---|---|---|---|\n";
    let table = head.to_owned() + &KEYS.iter().map(row).collect::<String>();
    let (path, documented) = read("docs/configuration.md");
    assert!(
        documented.contains(&table),
        "the table in {path} has to be:\n\n{table}"
    );
}

#[test]
fn the_schema_has_every_key_with_its_type_range_and_default() {
    let (path, text) = read("schemas/config.schema.json");
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    fill("", &mut schema);
    let wanted = format!("{schema:#}\n");
    assert!(text == wanted, "{path} has to be:\n\n{wanted}");
}

/// Replaces the rules of all keys of a table and of its inner tables.
fn fill(table: &str, rules: &mut Value) {
    let rules = rules["properties"].as_object_mut().expect("a table");
    rules.retain(|name, rules| {
        let inner = format!("{table}{name}.");
        let is_table = KEYS.iter().any(|key| key.name.starts_with(&inner));
        if is_table {
            fill(&inner, rules);
        }
        is_table || inner == keys::PROPERTIES
    });
    let of_table = KEYS.iter().filter_map(|key| {
        let name = key.name.strip_prefix(table)?;
        (!name.contains('.')).then(|| (name.to_owned(), rules_of(key)))
    });
    rules.extend(of_table.collect::<Map<_, _>>());
}

fn rules_of(key: &Key) -> Value {
    let (forms, default) = forms_and_default(key);
    let from_file = json!({ "$ref": "#/$defs/from_file" });
    let forms: Vec<Value> = forms.into_iter().chain([from_file]).collect();
    let description = format!("{} ({}).", without_links(key.help), in_words(&key.kind));
    json!({ "description": description, "anyOf": forms, "default": default })
}

fn forms_and_default(key: &Key) -> (Vec<Value>, Value) {
    let defined = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    // A number, `true` or `false`; everything else is text.
    let typed = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    let numbers =
        |least: &u64, most: &u64| json!({ "type": "integer", "minimum": least, "maximum": most });
    let form = match &key.kind {
        Kind::Address => defined("address"),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Number(range) => numbers(range.start(), range.end()),
        Kind::Duration(range) if *range.start() > 0 => defined("positive_duration"),
        Kind::Duration(_) => defined("duration"),
        Kind::Size(range) => {
            let forms = vec![defined("size_text"), numbers(range.start(), range.end())];
            return (forms, Value::from(key.default));
        }
        Kind::Path | Kind::SecretFile if key.default.is_empty() => json!({ "type": "string" }),
        Kind::Path | Kind::SecretFile => defined("path"),
        Kind::Ratio => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Topic => defined("topic"),
        Kind::Url => json!({ "type": "string" }),
        Kind::Words(words) => {
            json!({ "enum": words().into_iter().map(typed).collect::<Vec<_>>() })
        }
        Kind::SchemaId => {
            let number = numbers(&1, &u64::from(LARGEST_SCHEMA_NUMBER));
            return (
                vec![defined("schema_guid"), number],
                Value::from(key.default),
            );
        }
        Kind::Networks => return (vec![defined("networks")], json!([])),
        Kind::Hosts => return (vec![defined("host_names")], json!([])),
        Kind::Unsafe => return (vec![defined("unsafe_properties")], json!([])),
    };
    (vec![form], typed(key.default))
}

/// Replaces each link by its text and the page in parentheses.
fn without_links(markdown: &str) -> String {
    let text = markdown.replace("](#", "](configuration.md#");
    let mut parts: Vec<String> = text.split("](").map(str::to_owned).collect();
    let last = parts.len() - 1;
    for part in &mut parts[..last] {
        let bracket = part.rfind('[').expect("a link has a text");
        part.remove(bracket);
    }
    parts.join(" (docs/")
}
