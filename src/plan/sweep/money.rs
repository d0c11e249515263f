//! What things have cost since they were made, by today's prices.

use rust_decimal::Decimal;

use crate::units::Money;

/// DigitalOcean's month: what a size costs by the month is reached after so many hours.
const HOURS_OF_MONTH: i64 = 730;
const HOUR: i64 = 3_600;

/// Of something billed by the hour up to the price of a month.
pub(super) fn hourly(hourly: Money, monthly: Money, seconds: i64) -> Money {
    let (months, rest) = whole_months(seconds);
    let rest = hourly.0 * Decimal::from(rest) / Decimal::from(HOUR);
    Money(monthly.0 * Decimal::from(months) + rest.min(monthly.0))
}

/// Of something billed by the month, for the part of it that has passed.
pub(super) fn monthly(monthly: Money, seconds: i64) -> Money {
    let seconds = Decimal::from(seconds.max(0));
    Money(monthly.0 * seconds / Decimal::from(HOURS_OF_MONTH * HOUR))
}

fn whole_months(seconds: i64) -> (i64, i64) {
    let month = HOURS_OF_MONTH * HOUR;
    let seconds = seconds.max(0);
    (seconds / month, seconds % month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_costs_no_more_than_its_price() {
        let money = |text: &str| Money(text.parse().expect("an amount"));
        let of = |hours: i64| hourly(money("0.01"), money("6"), hours * HOUR).to_string();
        assert_eq!(of(0), "$0.00");
        assert_eq!(of(-5), "$0.00");
        assert_eq!(of(10), "$0.10");
        assert_eq!(of(700), "$6.00");
        assert_eq!(of(740), "$6.10");
        assert_eq!(monthly(money("1"), 365 * HOUR).to_string(), "$0.50");
    }
}
