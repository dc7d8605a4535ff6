//! Power: whether the machine has batteries, how full they are, what becomes of them, and whether it runs on them.
//!
//! Batteries of mice, keyboards and headsets are listed among the others and left out. An uninterruptible supply counts as a battery: whoever
//! runs on one has little time.

use super::answer::{Answer, whole};
use super::disk::value;
use super::root::{Root, SMALL};

const SUPPLIES: &str = "/sys/class/power_supply";

/// What becomes of a battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It gets fuller.
    Charging,
    /// It gets emptier.
    Discharging,
    /// Neither: it is full, or kept as it is.
    Resting,
    /// It does not say.
    Unknown,
}

impl Charge {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Charging => "charging",
            Self::Discharging => "discharging",
            Self::Resting => "resting",
            Self::Unknown => "unknown",
        }
    }
}

/// All batteries together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Battery {
    /// How full, if they say so.
    pub percent: Option<u64>,
    /// What becomes of them.
    pub charge: Charge,
}

/// What a machine runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// The mains.
    Mains,
    /// A battery.
    Battery,
}

impl Power {
    /// As the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mains => "mains",
            Self::Battery => "battery",
        }
    }

    /// The one that is written so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut all = [Self::Mains, Self::Battery].into_iter();
        all.find(|power| power.name() == name)
    }
}

/// Both answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Supply {
    /// None without one.
    pub(crate) battery: Answer<Option<Battery>>,
    pub(crate) power: Answer<Power>,
}

/// One supply, as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    /// It brings power from outside, or would.
    Line { is_on: bool },
    /// It stores power.
    Store {
        charge: Charge,
        percent: Option<u64>,
        /// What is in it and what it takes, in whatever unit.
        amount: Option<(u64, u64)>,
    },
}

/// Reads and decides.
pub(crate) fn look(root: &Root) -> Supply {
    let names = match root.list(SUPPLIES) {
        Ok(names) => names,
        Err(unread) => {
            return Supply {
                battery: Answer::unknown(&unread),
                power: Answer::unknown(unread),
            };
        }
    };
    let mut devices = Vec::new();
    for name in names {
        let text = root.read(&format!("{SUPPLIES}/{name}/uevent"), SMALL);
        let Ok(text) = text else { continue };
        // Older kernels do not say in there of which type it is.
        let kind = value(&text, "POWER_SUPPLY_TYPE").map(str::to_owned);
        let kind = kind.or_else(|| root.said(&format!("{SUPPLIES}/{name}/type")));
        devices.extend(device(&kind.unwrap_or_default(), &text));
    }
    decide(&devices)
}

/// What a description says; nothing of what powers no machine.
fn device(kind: &str, text: &str) -> Option<Device> {
    let of = |name: &str| value(text, name).map(str::trim);
    let number = |name: &str| of(name).and_then(whole);
    if of("POWER_SUPPLY_SCOPE") == Some("Device") {
        return None;
    }
    let is_store = matches!(kind, "Battery" | "UPS");
    if !is_store {
        // 0 is off, and some numbers are kinds of on.
        let is_on = number("POWER_SUPPLY_ONLINE")? > 0;
        return Some(Device::Line { is_on });
    }
    if number("POWER_SUPPLY_PRESENT") == Some(0) {
        return None;
    }
    let charge = match of("POWER_SUPPLY_STATUS") {
        Some("Charging") => Charge::Charging,
        Some("Discharging") => Charge::Discharging,
        Some("Full" | "Not charging") => Charge::Resting,
        Some(_) | None => Charge::Unknown,
    };
    let pair = |now: &str, full: &str| {
        let (now, full) = (number(now)?, number(full)?);
        (full > 0 && now <= full.saturating_mul(2)).then_some((now.min(full), full))
    };
    let amount = pair("POWER_SUPPLY_ENERGY_NOW", "POWER_SUPPLY_ENERGY_FULL")
        .or_else(|| pair("POWER_SUPPLY_CHARGE_NOW", "POWER_SUPPLY_CHARGE_FULL"));
    Some(Device::Store {
        charge,
        percent: number("POWER_SUPPLY_CAPACITY").filter(|percent| *percent <= 100),
        amount,
    })
}

fn decide(devices: &[Device]) -> Supply {
    let (mut charges, mut percents, mut amounts, mut lines) = (vec![], vec![], vec![], vec![]);
    for device in devices {
        match *device {
            Device::Line { is_on } => lines.push(is_on),
            Device::Store {
                charge,
                percent,
                amount,
            } => {
                charges.push(charge);
                percents.push(percent);
                amounts.push(amount);
            }
        }
    }
    if charges.is_empty() {
        return Supply {
            battery: Answer::likely(None, SUPPLIES),
            // It runs, and not on a battery that anybody could see.
            power: Answer::likely(Power::Mains, SUPPLIES),
        };
    }
    let any = |wanted| charges.contains(&wanted);
    let charge = if any(Charge::Discharging) {
        Charge::Discharging
    } else if any(Charge::Charging) {
        Charge::Charging
    } else if any(Charge::Unknown) {
        Charge::Unknown
    } else {
        Charge::Resting
    };
    let battery = Battery {
        percent: together(&percents, &amounts),
        charge,
    };
    let power = match (lines.contains(&true), charge) {
        (true, _) => Answer::sure(Power::Mains, SUPPLIES),
        (false, Charge::Discharging) => Answer::sure(Power::Battery, SUPPLIES),
        (false, Charge::Charging | Charge::Resting) => Answer::likely(Power::Mains, SUPPLIES),
        (false, Charge::Unknown) if lines.is_empty() => {
            Answer::unknown("the battery does not say what becomes of it, and no line is listed")
        }
        (false, Charge::Unknown) => Answer::likely(Power::Battery, SUPPLIES),
    };
    Supply {
        battery: Answer::sure(Some(battery), SUPPLIES),
        power,
    }
}

/// How full all are: by what is in them where each says so, else the mean of what they say.
fn together(percents: &[Option<u64>], amounts: &[Option<(u64, u64)>]) -> Option<u64> {
    if let [only] = percents
        && only.is_some()
    {
        return *only;
    }
    if let Some(amounts) = amounts.iter().copied().collect::<Option<Vec<_>>>() {
        let sum = |of: fn(&(u64, u64)) -> u64| -> u128 {
            amounts.iter().map(|amount| u128::from(of(amount))).sum()
        };
        let (now, full) = (sum(|it| it.0), sum(|it| it.1));
        return u64::try_from((now * 100).checked_div(full)?).ok();
    }
    let percents = percents.iter().copied().collect::<Option<Vec<_>>>()?;
    percents
        .iter()
        .sum::<u64>()
        .checked_div(percents.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn battery(status: &str, more: &str) -> Device {
        let text = format!("POWER_SUPPLY_STATUS={status}\nPOWER_SUPPLY_PRESENT=1\n{more}");
        device("Battery", &text).unwrap()
    }

    fn line(online: &str) -> Device {
        device("Mains", &format!("POWER_SUPPLY_ONLINE={online}\n")).unwrap()
    }

    fn decided(devices: &[Device]) -> (Option<Battery>, Option<Power>) {
        let supply = decide(devices);
        let battery = supply.battery.value().copied().flatten();
        (battery, supply.power.value().copied())
    }

    #[test]
    fn what_a_machine_runs_on_follows_from_lines_and_batteries() {
        let full = "POWER_SUPPLY_CAPACITY=80\n";
        let of = |charge| {
            Some(Battery {
                percent: Some(80),
                charge,
            })
        };
        let (mains, cells) = (Some(Power::Mains), Some(Power::Battery));
        let away = battery("Discharging", full);
        assert_eq!(
            decided(&[line("0"), away]),
            (of(Charge::Discharging), cells)
        );
        let at_home = battery("Charging", full);
        assert_eq!(
            decided(&[line("1"), at_home]),
            (of(Charge::Charging), mains)
        );
        // A battery that helps out while a line brings too little.
        assert_eq!(
            decided(&[line("1"), away]),
            (of(Charge::Discharging), mains)
        );
        let silent = battery("Unknown", full);
        assert_eq!(decided(&[silent]), (of(Charge::Unknown), None));
        assert_eq!(decided(&[line("0"), silent]), (of(Charge::Unknown), cells));
        assert_eq!(decided(&[]), (None, mains));
        assert_eq!(decided(&[line("1")]), (None, mains));
    }

    #[test]
    fn two_batteries_are_one_weighted_by_what_they_take() {
        let small = battery(
            "Not charging",
            "POWER_SUPPLY_ENERGY_NOW=10\nPOWER_SUPPLY_ENERGY_FULL=10\n",
        );
        let large = battery(
            "Discharging",
            "POWER_SUPPLY_ENERGY_NOW=0\nPOWER_SUPPLY_ENERGY_FULL=30\n",
        );
        let (found, power) = decided(&[small, large]);
        let found = found.unwrap();
        assert_eq!(
            (found.percent, found.charge),
            (Some(25), Charge::Discharging)
        );
        assert_eq!(power, Some(Power::Battery));
        let silent = battery("Full", "");
        assert_eq!(decided(&[small, silent]).0.unwrap().percent, None);
    }

    #[test]
    fn a_mouse_powers_nothing_and_a_place_without_battery_is_none() {
        let mouse = "POWER_SUPPLY_SCOPE=Device\nPOWER_SUPPLY_STATUS=Discharging\n";
        assert_eq!(device("Battery", mouse), None);
        assert_eq!(device("Battery", "POWER_SUPPLY_PRESENT=0\n"), None);
        assert_eq!(device("Mains", ""), None);
        let odd = battery("Full", "POWER_SUPPLY_CAPACITY=255\n");
        assert_eq!(decided(&[odd]).0.unwrap().percent, None);
    }
}
