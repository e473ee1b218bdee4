//! Which partition goes to which free area, and where in it: the part of the planner that differs from systemd-repart
//! on purpose (README, "What to make, and where").
//!
//! Pure; knows neither numbers nor GUIDs.

use super::Error;
use super::share::{Claim, Kind, share};
use crate::config::Declared;
use crate::table::{FreeArea, Layout};
use crate::units::{Extent, MIB, round_down, round_up, show_exact};

/// A missing partition with its limits as multiples of the alignment.
pub(super) struct Sized<'a> {
    /// The wish.
    pub wish: &'a Declared,
    /// Smallest size.
    pub min: u64,
    /// Largest size.
    pub max: u64,
}

/// Limits in multiples of the alignment.
pub(super) fn sized(wish: &Declared, alignment: u64) -> Result<Sized<'_>, Error> {
    let min = round_up(wish.size_min.max(1), alignment);
    let max = round_down(wish.size_max.unwrap_or(u64::MAX), alignment);
    if min <= max {
        return Ok(Sized { wish, min, max });
    }
    Err(Error::NoAlignedSize {
        label: wish.label.clone(),
        min: show_exact(wish.size_min),
        max: show_exact(wish.size_max.unwrap_or(u64::MAX)),
        alignment: show_exact(alignment),
    })
}

/// For each missing partition the index of its area, or nothing when it was dropped.
pub(super) type Allocation = Vec<Option<usize>>;

/// Finds an area for each; as long as that fails, drops the optional ones, highest priority number first.
pub(super) fn allocate(
    sized: &[Sized],
    areas: &[FreeArea],
    layout: &Layout,
    numbers: usize,
) -> Result<Allocation, Error> {
    let mut limit = i32::MAX;
    loop {
        let wanted: Vec<bool> = sized.iter().map(|sized| sized.wish.priority <= limit).collect();
        let count = wanted.iter().filter(|wanted| **wanted).count();
        let allocation = if count <= numbers { allocate_wanted(sized, &wanted, areas) } else { None };
        if let Some(allocation) = allocation {
            return Ok(allocation);
        }
        let remaining = sized.iter().zip(&wanted).filter(|(_, wanted)| **wanted);
        match remaining.map(|(sized, _)| sized.wish.priority).max() {
            Some(highest) if highest > 0 => limit = highest - 1,
            _ if count > numbers => {
                let (slots, used) = (layout.slots, layout.partitions.len());
                return Err(Error::NoSlot { slots, used, needed: count });
            }
            _ => return Err(no_space(sized, &wanted, areas, layout)),
        }
    }
}

/// The largest area when it holds all; else each in turn goes to the smallest area that still holds it, as
/// systemd-repart does with all of them.
fn allocate_wanted(sized: &[Sized], wanted: &[bool], areas: &[FreeArea]) -> Option<Allocation> {
    let wishes = || sized.iter().zip(wanted).map(|(sized, wanted)| wanted.then_some(sized.min));
    let needed = wishes().flatten().try_fold(0u64, u64::checked_add);
    let largest = (0..areas.len()).max_by_key(|index| (areas[*index].extent.size, std::cmp::Reverse(*index)));
    if let Some(largest) = largest.filter(|largest| needed.is_some_and(|needed| needed <= areas[*largest].extent.size))
    {
        return Some(wishes().map(|wish| wish.map(|_| largest)).collect());
    }
    let mut left: Vec<u64> = areas.iter().map(|area| area.extent.size).collect();
    let mut fit = |min: u64| {
        let smallest =
            (0..areas.len()).filter(|index| left[*index] >= min).min_by_key(|index| areas[*index].extent.size)?;
        left[smallest] -= min;
        Some(smallest)
    };
    wishes().map(|wish| wish.map_or(Some(None), |min| fit(min).map(Some))).collect()
}

fn no_space(sized: &[Sized], wanted: &[bool], areas: &[FreeArea], layout: &Layout) -> Error {
    let wishes: Vec<&Sized> = sized.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(sized, _)| sized).collect();
    let floor = |sized: &Sized| sized.wish.content.as_ref().map_or(0, |content| content.format.minimum());
    let mut needed: Vec<String> = wishes.iter().map(|sized| need(sized, floor(sized))).collect();
    if needed.len() > 1 {
        let sum = wishes.iter().fold(0u64, |sum, sized| sum.saturating_add(sized.min));
        needed.push(format!("together {}", show_exact(sum)));
    }
    let free = |area: &FreeArea| format!("{} at byte {}", show_exact(area.extent.size), area.extent.start);
    let free: Vec<String> = areas.iter().map(free).collect();
    let leading = layout.leading_gap();
    let unused = (leading > MIB).then(|| {
        let leading = show_exact(leading);
        format!("The {leading} before the first partition are not used: boot loaders live there. ")
    });
    let can_shrink = wishes.iter().any(|sized| sized.min > floor(sized).max(1));
    let remedy = if can_shrink { "Use a larger card, or lower size-min" } else { "Use a larger card" };
    Error::NoSpace {
        needed: needed.join(", "),
        free: if free.is_empty() { "nothing".to_owned() } else { free.join(", ") },
        remedy: unused.unwrap_or_default() + remedy,
    }
}

fn need(sized: &Sized, floor: u64) -> String {
    let own = sized.wish.content.as_ref().filter(|_| sized.wish.size_min <= floor);
    let because = own.map(|content| format!(", the least for {}", content.format.name())).unwrap_or_default();
    format!("{} {}{because}", sized.wish.label, show_exact(sized.min))
}

/// Shares each area among its partitions and puts them one behind the other.
pub(super) fn place(
    sized: &[Sized],
    areas: &[FreeArea],
    allocation: &Allocation,
    alignment: u64,
) -> Vec<Option<Extent>> {
    let mut extents = vec![None; sized.len()];
    for (index, area) in areas.iter().enumerate() {
        let members: Vec<usize> = (0..sized.len()).filter(|member| allocation[*member] == Some(index)).collect();
        let claims: Vec<Claim> = members.iter().map(|member| claim(&sized[*member])).collect();
        let mut start = area.extent.start;
        for (member, size) in members.into_iter().zip(share_area(area, &claims, alignment)) {
            extents[member] = Some(Extent { start, size });
            start += size;
        }
    }
    extents
}

fn claim(sized: &Sized) -> Claim {
    Claim { weight: sized.wish.weight, min: sized.min, max: sized.max, kind: Kind::Size }
}

/// The sizes of the new partitions in an area. The partition before it takes part with what it has: that is how
/// systemd-repart counts, and where its growth will come in.
fn share_area(area: &FreeArea, claims: &[Claim], alignment: u64) -> Vec<u64> {
    let Some(before) = area.after else {
        return share(area.extent.size, alignment, claims);
    };
    let own = round_up(before.end(), alignment).saturating_sub(before.start);
    let fixed = Claim { weight: 1000, min: before.size, max: before.size, kind: Kind::Fixed };
    let all: Vec<Claim> = [fixed].into_iter().chain(claims.iter().copied()).collect();
    share(area.extent.size.saturating_add(own), alignment, &all).split_off(1)
}
