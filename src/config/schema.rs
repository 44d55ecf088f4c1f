//! The JSON schema of a configuration file, for editors and for checks before deployment.

use serde_json::{Map, Value as Json, json};

use super::keys::{Key, SECTIONS};

/// JSON schema, draft 2020-12. Relations between keys (cross-checks) are not in it.
#[must_use]
pub fn json_schema() -> Json {
    let mut root = table();
    for section in SECTIONS {
        let mut at = &mut root;
        for segment in section.path.split('.') {
            at = child(at, segment);
        }
        at["description"] = json!(section.doc);
        for key in section.keys {
            at["properties"][key.name] = property(key);
            if key.kind.is_secret() {
                let doc = format!("A file to read {} from.", key.name);
                at["properties"][format!("{}_file", key.name)] =
                    json!({"type": "string", "minLength": 1, "description": doc});
            }
        }
    }
    root["description"] = json!("Configuration of Airlock.");
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root
}

fn table() -> Json {
    json!({"type": "object", "properties": Map::new(), "additionalProperties": false})
}

/// The schema of what stands under `segment` in `parent`; `*` is any name in `policy`, any element in
/// `route`.
fn child<'a>(parent: &'a mut Json, segment: &str) -> &'a mut Json {
    match segment {
        "*" if parent["type"] == "array" => &mut parent["items"],
        "*" => {
            if !parent["additionalProperties"].is_object() {
                parent["additionalProperties"] = table();
                parent["propertyNames"] = json!({"pattern": "^[a-z0-9_-]{1,32}$"});
            }
            &mut parent["additionalProperties"]
        }
        name => {
            let properties = &mut parent["properties"];
            if properties[name].is_null() {
                properties[name] = match name {
                    "route" => json!({"type": "array", "items": table()}),
                    _ => table(),
                };
            }
            &mut properties[name]
        }
    }
}

fn property(key: &Key) -> Json {
    let mut schema = key.kind.json_schema();
    schema["description"] = json!(format!("{} Allowed: {}.", key.doc, key.kind.allowed()));
    if let Some(default) = key.default.value().filter(|_| key.default != super::keys::Preset::Cores) {
        schema["default"] = json!(default);
    }
    schema
}
