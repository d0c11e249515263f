//! `--max-cost`: what a plan may cost.

use super::error::CliError;
use crate::plan::{Cost, Plan};
use crate::units::Money;

/// Refuses a plan that could cost more. Its upper bound counts, every step taking until its
/// timeout: the one figure that is not exceeded.
///
/// # Errors
/// When it could, or when something of it has no price.
pub fn check(limit: Option<Money>, plan: &Plan) -> Result<(), CliError> {
    let Some(limit) = limit else { return Ok(()) };
    let Cost {
        hourly_while_up,
        monthly_kept,
        expected_once,
        most_once,
        ..
    } = &plan.cost;
    let sizes: Vec<&str> = plan.cost.unpriced_sizes().collect();
    if !sizes.is_empty() {
        return Err(CliError::NoPrice {
            limit,
            sizes: sizes.join(", "),
        });
    }
    if *most_once <= limit {
        return Ok(());
    }
    Err(CliError::MaxCost {
        limit,
        most: *most_once,
        expected: *expected_once,
        hourly: *hourly_while_up,
        monthly: *monthly_kept,
    })
}

/// An amount of US dollars as it is typed: `5`, `0.50`, `$2.50`.
///
/// # Errors
/// When it is no amount.
pub fn amount(text: &str) -> Result<Money, String> {
    let digits = text.strip_prefix('$').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match digits.parse() {
        Ok(amount) if plain => Ok(Money(amount)),
        _ => Err("write US dollars such as 5 or 0.50".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_dollars() {
        for (text, shown) in [
            ("5", "$5.00"),
            ("0.50", "$0.50"),
            ("$2.5", "$2.50"),
            ("0", "$0.00"),
        ] {
            assert_eq!(amount(text).expect(text).to_string(), shown);
        }
        for text in ["", "$", "-1", "1e3", "5 EUR", "1,50", "1_000", "."] {
            assert!(amount(text).is_err(), "{text}");
        }
    }
}
