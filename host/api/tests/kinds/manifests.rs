//! The manifests below `tests/cluster`, and the checks of an API server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use coffer_api::crd::{Definition, definitions};
use jsonschema::error::ValidationErrorKind;
use serde_json::{Value, json};

/// A file with its comment and its objects.
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) comment: String,
    pub(crate) objects: Vec<Value>,
}

/// The manifests in a directory below `tests/cluster`.
pub(crate) fn read(directory: &str) -> Vec<Manifest> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cluster").join(directory);
    let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    paths.iter().map(|path| manifest(path)).collect()
}

fn manifest(path: &Path) -> Manifest {
    let text = fs::read_to_string(path).expect("the manifest can be read");
    let comment = text.lines().next().unwrap_or_default().trim_start_matches('#').trim().to_owned();
    let objects = text.split("\n---\n").map(|document| serde_saphyr::from_str(document).expect("it is YAML")).collect();
    Manifest { name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), comment, objects }
}

/// All definitions, made once: that takes seconds.
pub(crate) static DEFINITIONS: LazyLock<Vec<Definition>> =
    LazyLock::new(|| definitions().expect("the definitions can be made"));

/// What an API server with our definitions checks.
pub(crate) struct Server(Vec<Checked>);

struct Checked {
    definition: &'static Definition,
    schema: jsonschema::Validator,
    rules: kube_cel::CompiledSchema,
}

impl Server {
    pub(crate) fn new() -> Self {
        let checked = |definition: &'static Definition| {
            let schema = definition.schema().expect("it has a schema");
            let rules = kube_cel::compile_schema(schema);
            assert!(!rules.has_errors(), "{}: {:?}", definition.kind, rules.compilation_errors());
            let schema = jsonschema::options().should_validate_formats(true).build(&json_schema(schema.clone()));
            let schema = schema.expect("a JSON schema");
            Checked { definition, schema, rules }
        };
        Self(DEFINITIONS.iter().map(checked).collect())
    }

    fn checked(&self, object: &Value) -> &Checked {
        self.0.iter().find(|checked| object["kind"] == checked.definition.kind.as_str()).expect("the kind is ours")
    }

    /// The definition of an object's kind.
    pub(crate) fn definition(&self, object: &Value) -> &Definition {
        self.checked(object).definition
    }

    /// What a server answers to the creation of an object, or to an update of `old`: nothing, or what is wrong, in words
    /// such as a server uses. As there, the rules are asked only about objects that fit the schema.
    pub(crate) fn problems(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let Checked { definition, schema, rules } = self.checked(object);
        let defaulted = kube_cel::apply_defaults(definition.schema().expect("it has a schema"), object);
        let problems: Vec<_> = schema
            .iter_errors(&defaulted)
            .map(|error| {
                let problem = match error.kind() {
                    ValidationErrorKind::Enum { .. } => "Unsupported value".to_owned(),
                    ValidationErrorKind::MaxItems { limit } => format!("Too many: must have at most {limit} items"),
                    ValidationErrorKind::Required { property } => format!("{property}: Required value"),
                    _ => error.to_string(),
                };
                format!("{}: {problem}", error.instance_path())
            })
            .collect();
        if !problems.is_empty() {
            return problems;
        }
        let answer = kube_cel::Validator::new().validate_compiled(rules, &defaulted, old);
        answer.err().into_iter().flat_map(kube_cel::ValidationErrors::into_vec).map(|error| error.to_string()).collect()
    }
}

/// A schema in the words of JSON Schema alone: what is an integer or a string.
fn json_schema(schema: Value) -> Value {
    match schema {
        Value::Object(mut fields) => {
            if fields.remove("x-kubernetes-int-or-string").is_some() {
                fields.insert("type".to_owned(), json!(["integer", "string"]));
            }
            Value::Object(fields.into_iter().map(|(name, field)| (name, json_schema(field))).collect())
        }
        Value::Array(items) => items.into_iter().map(json_schema).collect(),
        other => other,
    }
}
