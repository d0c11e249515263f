//! What the targets share: JSON that is mangled as JSON. A byte changed at random mostly makes text
//! that no parser lets through, and what stands behind the parser is never reached.

use fastrand::Rng;
use serde_json::{Map, Value};

/// Mangles a document in one to four places.
pub fn mangle(document: &mut Value, rng: &mut Rng) {
    for _ in 0..rng.usize(1..=4) {
        let all = count(document);
        // What is put somewhere else comes from the same document: ids and names then fit.
        let other = nth(document, &mut rng.usize(..all)).clone();
        change(nth_mut(document, &mut rng.usize(..all)), other, rng);
    }
}

fn change(value: &mut Value, other: Value, rng: &mut Rng) {
    match value {
        Value::Array(list) if !list.is_empty() && rng.u8(..4) > 0 => {
            let at = rng.usize(..list.len());
            match rng.u8(..4) {
                0 => drop(list.remove(at)),
                1 => list.insert(at, list[rng.usize(..list.len())].clone()),
                2 => list.push(other),
                _ => list.truncate(at),
            }
        }
        Value::Object(fields) if !fields.is_empty() && rng.u8(..4) > 0 => {
            let at = rng.usize(..fields.len());
            let key = fields.keys().nth(at).cloned().unwrap_or_default();
            match rng.u8(..3) {
                0 => drop(fields.remove(&key)),
                1 => drop(fields.insert(key, other)),
                _ => drop(fields.insert(text(rng), other)),
            }
        }
        Value::String(text) if rng.u8(..3) == 0 => {
            let at = text.char_indices().map(|(at, _)| at);
            let at = at.collect::<Vec<_>>();
            let at = at.get(rng.usize(..=at.len())).copied();
            let at = at.unwrap_or(text.len());
            text.insert_str(at, &self::text(rng));
        }
        Value::Number(number) if rng.bool() => {
            let near = number.as_i64().unwrap_or(0);
            *value = Value::from(near.saturating_add(rng.i64(-2..=2)));
        }
        _ => *value = if rng.bool() { other } else { extreme(rng) },
    }
}

/// Values at the edges of what programs expect.
fn extreme(rng: &mut Rng) -> Value {
    match rng.u8(..10) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => Value::from(0),
        3 => Value::from(-1),
        4 => Value::from(u64::MAX),
        5 => Value::from(i64::MIN),
        6 => Value::from(1e308),
        7 => Value::Array(Vec::new()),
        8 => Value::Object(Map::new()),
        _ => Value::from(text(rng)),
    }
}

fn text(rng: &mut Rng) -> String {
    let texts = [
        "",
        " ",
        "\u{1b}[2J",
        "\u{202e}",
        "\n",
        "../x",
        "0",
        "2038-01-19T03:14:08Z",
        "-999999-01-01T00:00:00Z",
        "dewpoint",
        "dewpoint:fleet",
        "dewpoint:fleet:main",
        "dewpoint-expires:1",
        "dewpoint-expires:99999999999999999999",
        "fleet-main-web",
        "é\u{0}",
    ];
    texts[rng.usize(..texts.len())].to_owned()
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn count(value: &Value) -> usize {
    1 + children(value).map(count).sum::<usize>()
}

/// The value that many values further on, the document itself being the first.
fn nth<'a>(value: &'a Value, further: &mut usize) -> &'a Value {
    let mut stack = vec![value];
    let mut last = value;
    while let Some(value) = stack.pop() {
        last = value;
        if *further == 0 {
            break;
        }
        *further -= 1;
        let mut below: Vec<&Value> = children(value).collect();
        below.reverse();
        stack.append(&mut below);
    }
    last
}

fn nth_mut<'a>(value: &'a mut Value, further: &mut usize) -> &'a mut Value {
    let mut stack = vec![value];
    loop {
        let value = stack.pop().expect("it was counted");
        if *further == 0 {
            return value;
        }
        *further -= 1;
        match value {
            Value::Array(list) => stack.extend(list.iter_mut().rev()),
            Value::Object(fields) => {
                let mut below: Vec<&mut Value> = fields.values_mut().collect();
                below.reverse();
                stack.append(&mut below);
            }
            _ => {}
        }
    }
}

/// A mutator for libFuzzer of inputs that are JSON, one or several split by `split`: mostly mangles
/// one of them, sometimes changes bytes.
pub fn mutate(data: &mut [u8], size: usize, max: usize, seed: u32, split: Option<u8>) -> usize {
    let mut rng = Rng::with_seed(u64::from(seed));
    if rng.u8(..8) > 0 {
        let (head, body) = data[..size].split_at(usize::from(split.is_some()).min(size));
        let mut parts: Vec<Vec<u8>> = match split {
            Some(split) => body
                .split(|byte| *byte == split)
                .map(<[u8]>::to_vec)
                .collect(),
            None => vec![body.to_vec()],
        };
        let at = rng.usize(..parts.len());
        if let Ok(mut document) = serde_json::from_slice::<Value>(&parts[at]) {
            mangle(&mut document, &mut rng);
            parts[at] = document.to_string().into_bytes();
            let mut new = head.to_vec();
            new.extend(parts.join(&split.unwrap_or_default()));
            if new.len() <= max {
                data[..new.len()].copy_from_slice(&new);
                return new.len();
            }
        }
    }
    libfuzzer_sys::fuzzer_mutate(data, size, max)
}
