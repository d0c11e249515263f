//! Values of variables, from the least to the most explicit place: environment, files, `--var`.

use camino::Utf8Path;

use super::args::Global;
use super::env_vars;
use super::error::CliError;

/// Where the value of a variable was given; decides what an unknown name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `DEWPOINT_VAR_NAME`: may belong to another manifest. The name is written as the manifest
    /// declares it, or in capitals with `_` for `-`.
    Environment,
    /// `--var` or `--var-file`: means this manifest.
    Given,
}

/// Every value that was given, later ones win.
///
/// # Errors
/// When a file cannot be read or is no map of names to values.
pub fn collect(global: &Global) -> Result<Vec<(String, String, Origin)>, CliError> {
    let mut values: Vec<(String, String, Origin)> = std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name
                .to_str()?
                .strip_prefix(env_vars::VARIABLE_PREFIX)?
                .to_owned();
            Some((name, value.into_string().ok()?, Origin::Environment))
        })
        .collect();
    values.sort_by(|a, b| a.0.cmp(&b.0));
    for path in &global.variable_files {
        let text = std::fs::read_to_string(path).map_err(|cause| CliError::Read {
            path: path.to_string(),
            cause,
        })?;
        values.extend(
            parse(path, &text)?
                .into_iter()
                .map(|(name, value)| (name, value, Origin::Given)),
        );
    }
    values.extend(
        global
            .variables
            .iter()
            .map(|(name, value)| (name.clone(), value.clone(), Origin::Given)),
    );
    Ok(values)
}

/// Reads a file of variables: one map of names to scalars.
fn parse(path: &Utf8Path, text: &str) -> Result<Vec<(String, String)>, CliError> {
    let bad = |problem: String| CliError::VariableFile {
        path: path.to_owned(),
        problem,
    };
    let value: serde_yaml::Value =
        serde_yaml::from_str(text).map_err(|error| bad(error.to_string()))?;
    let map = match value {
        serde_yaml::Value::Mapping(map) => map,
        serde_yaml::Value::Null => return Ok(Vec::new()),
        _ => return Err(bad("it holds something else".to_owned())),
    };
    map.into_iter()
        .map(|(name, value)| {
            let name = name
                .as_str()
                .ok_or_else(|| bad("a name is no text".to_owned()))?
                .to_owned();
            let value = match value {
                serde_yaml::Value::String(text) => text,
                serde_yaml::Value::Bool(flag) => flag.to_string(),
                // A float such as 3.10 has lost its zero by now: as text it would be another value.
                serde_yaml::Value::Number(number) if number.is_i64() || number.is_u64() => {
                    number.to_string()
                }
                serde_yaml::Value::Number(_) => {
                    return Err(bad(format!("put the value of `{name}` in quotes")));
                }
                _ => return Err(bad(format!("the value of `{name}` is no text"))),
            };
            Ok((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_map_of_names_to_scalars() {
        let path = Utf8Path::new("vars.yaml");
        let values = parse(path, "ref: main\nn: 3\nflag: true\nversion: \"3.10\"\n").expect("read");
        let values: Vec<(&str, &str)> = values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            values,
            [
                ("ref", "main"),
                ("n", "3"),
                ("flag", "true"),
                ("version", "3.10")
            ]
        );
        assert!(parse(path, "").expect("empty").is_empty());
        for text in ["- a", "a: 3.10", "a: [1]", "a: ~", "a: b: c", "1: a"] {
            assert!(parse(path, text).is_err(), "{text} must be refused");
        }
    }
}
