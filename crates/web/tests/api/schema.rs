//! As much of JSON Schema as the document uses. A word it does not know is an error, so that nothing goes unchecked.

use serde_json::Value;

/// What a value has against a schema, if anything.
pub(crate) fn check(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
) -> Result<(), String> {
    let schema = schema
        .as_object()
        .ok_or_else(|| format!("{at}: {schema} is no schema of ours"))?;
    for (word, rule) in schema {
        let wrong = |what: &str| Err(format!("{at}: {value} {what} {rule}"));
        match word.as_str() {
            "description" | "title" | "format" | "default" | "examples" | "$schema" => {}
            "$ref" => {
                let place = rule.as_str().and_then(|rule| rule.strip_prefix('#'));
                let target = place.and_then(|place| document.pointer(place));
                let target = target.ok_or_else(|| format!("{at}: {rule} leads nowhere"))?;
                check(document, target, value, at)?;
            }
            "type" => {
                let one = std::slice::from_ref(rule);
                let all = rule.as_array().map_or(one, Vec::as_slice);
                let types: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
                if !types.iter().any(|kind| is_of(kind, value)) {
                    return wrong("is not of type");
                }
            }
            "properties" => {
                for (name, property) in rule.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        check(document, property, value, &format!("{at}.{name}"))?;
                    }
                }
            }
            "required" => {
                let Some(object) = value.as_object() else {
                    continue;
                };
                for name in rule
                    .as_array()
                    .expect("a list")
                    .iter()
                    .filter_map(Value::as_str)
                {
                    if !object.contains_key(name) {
                        return Err(format!("{at}: {name} is missing in {value}"));
                    }
                }
            }
            "additionalProperties" if rule == &Value::Bool(false) => {
                let known = schema.get("properties").and_then(Value::as_object);
                for name in value
                    .as_object()
                    .into_iter()
                    .flat_map(|object| object.keys())
                {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        return Err(format!("{at}: {name} is not known"));
                    }
                }
            }
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, rule, item, &format!("{at}[{place}]"))?;
                }
            }
            "enum" if rule.as_array().is_some_and(|all| !all.contains(value)) => {
                return wrong("is none of");
            }
            "const" if rule != value => return wrong("is not"),
            "enum" | "const" => {}
            "anyOf" | "oneOf" => {
                let all = rule.as_array().expect("a list");
                let fits = |schema: &&Value| check(document, schema, value, at).is_ok();
                let count = all.iter().filter(fits).count();
                if count == 0 || (word == "oneOf" && count > 1) {
                    return wrong(&format!("fits {count} of"));
                }
            }
            "minimum"
                if value
                    .as_f64()
                    .zip(rule.as_f64())
                    .is_some_and(|(value, least)| value < least) =>
            {
                return wrong("is less than");
            }
            "maximum"
                if value
                    .as_f64()
                    .zip(rule.as_f64())
                    .is_some_and(|(value, most)| value > most) =>
            {
                return wrong("is more than");
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minimum" | "maximum" => {
                let length = match value {
                    Value::String(text) => text.chars().count(),
                    Value::Array(items) => items.len(),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => continue,
                } as u64;
                let bound = rule.as_u64().expect("a bound");
                let fits = if word.starts_with("min") {
                    length >= bound
                } else {
                    length <= bound
                };
                if !fits {
                    return wrong("breaks a bound");
                }
            }
            other => return Err(format!("{at}: nobody checks {other:?}")),
        }
    }
    Ok(())
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => false,
    }
}
