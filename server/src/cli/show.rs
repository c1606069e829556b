//! `lfsfsd config`: the configuration that a server would run with, and where each value came from.

use serde_json::{Map, json};

use super::configuration::{Configuration, Entry};
use super::keys::Unset;
use super::kinds::Value;

/// Returns the configuration as a file that sets the same.
pub(super) fn text(configuration: &Configuration) -> String {
    let mut text = format!("# {}\n", configuration.role);
    for entry in &configuration.entries {
        // A path may have any character, and a comment ends with its line.
        let origin = entry.origin_text().replace(char::is_control, "?");
        text += &format!("{}  # {origin}\n", assignment(entry));
    }
    text
}

fn assignment(entry: &Entry) -> String {
    let name = entry.key.name;
    match (&entry.value, entry.key.unset) {
        (Some(value), _) => format!("{name} = {}", toml_value(value)),
        (None, Unset::Means(what)) => format!("# {name} is not set: {what}"),
        (None, _) => format!("# {name} is not set"),
    }
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::Text(text) => toml_string(text),
        // What is no text cannot stand in a file.
        Value::Path(path) => toml_string(&path.to_string_lossy()),
        Value::Paths(paths) => match &paths[..] {
            [path] => toml_string(&path.to_string_lossy()),
            paths => {
                let texts = paths
                    .iter()
                    .map(|path| toml_string(&path.to_string_lossy()));
                format!("[{}]", texts.collect::<Vec<_>>().join(", "))
            }
        },
        Value::Number(number) => number.to_string(),
        Value::Switch(is_on) => is_on.to_string(),
    }
}

/// A string of JSON is one of TOML, but for one character that JSON does not escape.
fn toml_string(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007f")
}

/// Returns the configuration as one object, `{key: {value, source}}`. What is not set is null.
pub(super) fn json(configuration: &Configuration) -> serde_json::Value {
    let entries = configuration.entries.iter().map(|entry| {
        let value = json!({"value": json_value(entry), "source": entry.origin_text()});
        (entry.key.name.to_owned(), value)
    });
    entries.collect::<Map<_, _>>().into()
}

fn json_value(entry: &Entry) -> serde_json::Value {
    match &entry.value {
        Some(Value::Text(text)) => json!(text),
        Some(Value::Path(path)) => json!(path.to_string_lossy()),
        Some(Value::Paths(paths)) => match &paths[..] {
            [path] => json!(path.to_string_lossy()),
            paths => json!(
                paths
                    .iter()
                    .map(|path| path.to_string_lossy())
                    .collect::<Vec<_>>()
            ),
        },
        Some(Value::Number(number)) => json!(number),
        Some(Value::Switch(is_on)) => json!(is_on),
        None => serde_json::Value::Null,
    }
}
