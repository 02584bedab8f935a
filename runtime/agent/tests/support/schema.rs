//! Whether a JSON value is what a schema of `docs/openapi.json` says: as much of JSON Schema as that file
//! uses, and a panic for whatever it does not know.

use serde_json::Value;

pub struct Description(Value);

impl Description {
    pub fn parse(text: &str) -> Description {
        Description(serde_json::from_str(text).unwrap())
    }

    /// Every path with its methods.
    pub fn operations(&self) -> Vec<(String, String)> {
        let paths = self.0["paths"].as_object().unwrap();
        let of = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (path.clone(), method.clone())).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    }

    /// What is wrong with an answer in JSON.
    pub fn check_answer(&self, path: &str, method: &str, status: u16, answer: &Value) -> Result<(), String> {
        let responses = &self.0["paths"][path][method]["responses"];
        let response = responses
            .get(status.to_string())
            .ok_or_else(|| format!("{method} {path} does not tell of {status}"))?;
        let response = self.followed(response);
        self.check(&response["content"]["application/json"]["schema"], answer, &format!("{method} {path}"))
    }

    /// What is wrong with a body in JSON.
    pub fn check_body(&self, path: &str, method: &str, body: &Value) -> Result<(), String> {
        let content = &self.0["paths"][path][method]["requestBody"]["content"];
        self.check(&content["application/json"]["schema"], body, &format!("{method} {path}"))
    }

    fn followed<'a>(&'a self, node: &'a Value) -> &'a Value {
        match node["$ref"].as_str() {
            Some(reference) => self.followed(self.0.pointer(&reference[1..]).unwrap()),
            None => node,
        }
    }

    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = self.followed(schema).as_object().unwrap_or_else(|| panic!("{at} has no schema"));
        for (word, meaning) in schema {
            match word.as_str() {
                "type" => {
                    let fits = match meaning.as_str().unwrap() {
                        "object" => value.is_object(),
                        "array" => value.is_array(),
                        "string" => value.is_string(),
                        "boolean" => value.is_boolean(),
                        "number" => value.is_number(),
                        "integer" => value.is_i64() || value.is_u64(),
                        other => panic!("{at}: type {other}"),
                    };
                    let nullable = value.is_null() && schema.get("nullable") == Some(&Value::Bool(true));
                    (fits || nullable)
                        .then_some(())
                        .ok_or_else(|| format!("{at}: {value} is no {meaning}"))?;
                }
                "properties" => {
                    for (name, schema) in meaning.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.check(schema, member, &format!("{at}.{name}"))?;
                        }
                    }
                }
                "required" => {
                    for name in meaning.as_array().unwrap() {
                        let name = name.as_str().unwrap();
                        value.get(name).ok_or_else(|| format!("{at}: {name} is missing"))?;
                    }
                }
                "additionalProperties" => {
                    assert_eq!(meaning, &Value::Bool(false), "{at}");
                    for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
                        let known = schema["properties"].get(name).is_some();
                        known.then_some(()).ok_or_else(|| format!("{at}: {name} is not described"))?;
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(meaning, item, &format!("{at}[{index}]"))?;
                    }
                }
                "anyOf" => {
                    let fits = |schema| self.check(schema, value, at).is_ok();
                    let any = meaning.as_array().unwrap().iter().any(fits);
                    any.then_some(()).ok_or_else(|| format!("{at}: {value} is none of {meaning}"))?;
                }
                "enum" => {
                    let known = meaning.as_array().unwrap().contains(value);
                    known.then_some(()).ok_or_else(|| format!("{at}: {value} is none of {meaning}"))?;
                }
                "minimum" => {
                    let low = value.as_f64().is_some_and(|value| value < meaning.as_f64().unwrap());
                    (!low).then_some(()).ok_or_else(|| format!("{at}: {value} is below {meaning}"))?;
                }
                "maxLength" => {
                    let length = value.as_str().map_or(0, str::len) as u64;
                    let fits = length <= meaning.as_u64().unwrap();
                    fits.then_some(()).ok_or_else(|| format!("{at}: longer than {meaning}"))?;
                }
                "description" | "nullable" => {}
                other => panic!("{at}: the word {other} is not known"),
            }
        }
        Ok(())
    }
}
