//! Chance that can be had again: the same seed gives the same cycles.

use serde_json::{Value, json};

/// Numbers of a seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Whether it comes true, so many times of a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let at = self.below(all.len() as u64);
        &all[usize::try_from(at).expect("an index")]
    }

    /// A fault, and the calls that meet it.
    pub fn fault(&mut self) -> Value {
        const CALLS: [(&str, &str); 14] = [
            ("GET", "/v2/*"),
            ("GET", "/v2/droplets"),
            ("GET", "/v2/droplets/*"),
            ("GET", "/v2/volumes"),
            ("GET", "/v2/actions*/**"),
            ("POST", "/v2/droplets"),
            ("POST", "/v2/droplets/*/actions"),
            ("POST", "/v2/volumes"),
            ("POST", "/v2/volumes/**"),
            ("POST", "/v2/tags/**"),
            ("POST", "/v2/firewalls"),
            ("POST", "/v2/account/keys"),
            ("DELETE", "/v2/*/*"),
            ("DELETE", "/v2/**"),
        ];
        let (method, path) = *self.of(&CALLS);
        let fault = match self.below(14) {
            0 => json!("reset_before"),
            1 => json!("reset_after"),
            2 => json!({ "status": { "code": 500 } }),
            3 => json!({ "status": { "code": 503, "processed": true } }),
            4 => json!({ "status": { "code": 502 } }),
            5 => json!({ "status": { "code": 429, "retry_after": 1 } }),
            6 => json!({ "status": { "code": 504, "processed": true } }),
            7 => json!("truncated"),
            8 => json!({ "slow": { "ms": 300 } }),
            9 => json!({ "delay": { "ms": 700 } }),
            10 => json!({ "action": { "errored": true } }),
            11 => json!({ "action": { "delay_ms": 800 } }),
            // Of reads alone.
            12 if method == "GET" => json!({ "lag": { "ms": 400 } }),
            12 => json!("reset_after"),
            // Somebody else destroys what was just made.
            _ => {
                // A droplet that vanishes may be lag: it is waited for, for two minutes.
                let what = match self.below(10) {
                    0 => "droplets",
                    _ => "volumes",
                };
                let fault = json!({ "meanwhile": {
                    "method": "DELETE", "path": format!("/v2/{what}/{{id}}"), "after": true,
                } });
                let path = format!("/v2/{what}");
                return json!({ "method": "POST", "path": path, "fault": fault });
            }
        };
        json!({
            "method": method, "path": path, "fault": fault,
            "nth": 1 + self.below(4), "times": 1 + self.below(2),
        })
    }
}
