//! Which partition goes to which free area, and where in it: the part of the planner that differs from systemd-repart
//! on purpose (README, "What to make, and where").
//!
//! Pure; knows neither numbers nor GUIDs.

use super::Error;
use super::share::{Claim, Kind, share};
use crate::config::{Declared, Padding};
use crate::table::{FreeArea, Layout, Occupied};
use crate::units::{Extent, MIB, round_down, round_up, show_exact};

/// A declared partition with its limits as multiples of the alignment.
#[derive(Clone, Copy)]
pub(super) struct Sized<'a> {
    /// The wish.
    pub wish: &'a Declared,
    /// Smallest size; of an existing one never less than it has.
    pub min: u64,
    /// Largest size.
    pub max: u64,
    /// What stays free behind it.
    pub padding: Limits,
}

/// The least and the most.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub min: u64,
    pub max: u64,
}

impl Sized<'_> {
    /// What it takes of an area at least.
    fn needed(&self) -> u64 {
        self.min.saturating_add(self.padding.min)
    }

    /// Its two claims on an area: for itself, and for the padding.
    fn claims(&self) -> [Claim; 2] {
        let padding = self.wish.padding.weight;
        [
            Claim { weight: self.wish.weight, min: self.min, max: self.max, kind: Kind::Size },
            Claim { weight: padding, min: self.padding.min, max: self.padding.max, kind: Kind::Padding },
        ]
    }
}

/// A missing partition with its limits.
pub(super) fn sized(wish: &Declared, alignment: u64) -> Result<Sized<'_>, Error> {
    let min = round_up(wish.size_min.max(1), alignment);
    let max = round_down(wish.size_max.unwrap_or(u64::MAX), alignment);
    if min <= max {
        return Ok(Sized { wish, min, max, padding: padding(wish.padding, alignment) });
    }
    Err(Error::NoAlignedSize {
        label: wish.label.clone(),
        min: show_exact(wish.size_min),
        max: show_exact(wish.size_max.unwrap_or(u64::MAX)),
        alignment: show_exact(alignment),
    })
}

/// An existing partition with its limits: it never shrinks.
pub(super) fn sized_existing(wish: &Declared, size: u64, alignment: u64) -> Sized<'_> {
    let min = round_up(wish.size_min, alignment).max(size);
    let max = round_down(wish.size_max.unwrap_or(u64::MAX), alignment).max(size);
    Sized { wish, min: min.min(max), max, padding: padding(wish.padding, alignment) }
}

fn padding(wish: Padding, alignment: u64) -> Limits {
    let min = round_up(wish.min, alignment);
    Limits { min, max: round_down(wish.max.unwrap_or(u64::MAX), alignment).max(min) }
}

/// A free area, and the partition before it where that one takes part.
pub(super) struct Area<'a> {
    /// The gap.
    pub free: FreeArea,
    /// The partition just before it, where it may grow into it.
    pub grower: Option<Sized<'a>>,
}

impl Area<'_> {
    /// What the partition before it needs of it to have its minimum and padding.
    fn reserved(&self, alignment: u64) -> u64 {
        let needed = |before: Extent, grower: &Sized| {
            round_up(before.start.saturating_add(grower.needed()), alignment).saturating_sub(self.free.extent.start)
        };
        self.free.after.zip(self.grower.as_ref()).map_or(0, |(before, grower)| needed(before, grower))
    }

    /// Whether the partition before it can have its minimum.
    pub fn suffices(&self, alignment: u64) -> bool {
        self.reserved(alignment) <= self.free.extent.size
    }
}

/// For each missing partition the index of its area, or nothing when it was dropped.
pub(super) type Allocation = Vec<Option<usize>>;

/// Finds an area for each; as long as that fails, drops the optional ones, highest priority number first. An existing
/// one that is dropped does not grow, and before a missing one is refused, no existing one keeps anything for its
/// minimum: it is there, after all. Those that would be dropped before one that fits nowhere are not tried with it.
pub(super) fn allocate(
    sized: &[Sized],
    areas: &mut [Area],
    layout: &Layout,
    alignment: u64,
    numbers: usize,
) -> Result<Allocation, Error> {
    let largest = areas.iter().map(|area| area.free.extent.size).max().unwrap_or(0);
    let fits_nowhere = sized.iter().filter(|sized| sized.needed() > largest).map(|sized| sized.wish.priority);
    let mut limit = fits_nowhere.min().map_or(i32::MAX, |lowest| lowest.saturating_sub(1).max(0));
    loop {
        stop_growing(areas, |area| area.grower.is_some_and(|grower| grower.wish.priority > limit));
        let wanted: Vec<bool> = sized.iter().map(|sized| sized.wish.priority <= limit).collect();
        let count = wanted.iter().filter(|wanted| **wanted).count();
        let allocation = if count <= numbers { allocate_wanted(sized, &wanted, areas, alignment) } else { None };
        if let Some(allocation) = allocation {
            return Ok(allocation);
        }
        let keeps_room = |area: &Area| area.grower.is_some() && area.reserved(alignment) > 0;
        let growers = areas.iter().filter_map(|area| area.grower.as_ref());
        let missing = sized.iter().zip(&wanted).filter(|(_, wanted)| **wanted).map(|(sized, _)| sized);
        match missing.chain(growers).map(|sized| sized.wish.priority).max() {
            Some(highest) if highest > 0 => limit = highest - 1,
            _ if count > numbers => {
                let (slots, used) = (layout.slots, layout.partitions.len() + layout.ignored.len());
                return Err(Error::NoSlot { slots, used, needed: count });
            }
            _ if areas.iter().any(keeps_room) => stop_growing(areas, keeps_room),
            _ => return Err(no_space(sized, &wanted, areas, layout)),
        }
    }
}

fn stop_growing(areas: &mut [Area], which: impl Fn(&Area) -> bool) {
    for area in areas.iter_mut().filter(|area| which(area)) {
        area.grower = None;
    }
}

/// The largest area when it holds all; else each in turn goes to the smallest area that still holds it, as
/// systemd-repart does with all of them.
fn allocate_wanted(sized: &[Sized], wanted: &[bool], areas: &[Area], alignment: u64) -> Option<Allocation> {
    let wishes = || sized.iter().zip(wanted).map(|(sized, wanted)| wanted.then(|| sized.needed()));
    let needed = wishes().flatten().try_fold(0u64, u64::checked_add);
    let room = |area: &Area| area.free.extent.size.saturating_sub(area.reserved(alignment));
    let mut left: Vec<(usize, u64)> = areas.iter().map(room).enumerate().collect();
    let largest = left.iter().copied().max_by_key(|(index, room)| (*room, std::cmp::Reverse(*index)));
    if let Some((largest, _)) = largest.filter(|(_, room)| needed.is_some_and(|needed| needed <= *room)) {
        return Some(wishes().map(|wish| wish.map(|_| largest)).collect());
    }
    left.sort_by_key(|(_, room)| *room);
    let mut fit = |needed: u64| {
        let (smallest, left) = left.iter_mut().find(|(_, left)| *left >= needed)?;
        *left -= needed;
        Some(*smallest)
    };
    wishes().map(|wish| wish.map_or(Some(None), |needed| fit(needed).map(Some))).collect()
}

fn no_space(sized: &[Sized], wanted: &[bool], areas: &[Area], layout: &Layout) -> Error {
    let wishes: Vec<&Sized> = sized.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(sized, _)| sized).collect();
    let floor = |sized: &Sized| sized.wish.content.as_ref().map_or(0, |content| content.format.minimum());
    let mut needed: Vec<String> = wishes.iter().map(|sized| need(sized, floor(sized))).collect();
    if needed.len() > 1 {
        let sum = wishes.iter().fold(0u64, |sum, sized| sum.saturating_add(sized.needed()));
        needed.push(format!("together {}", show_exact(sum)));
    }
    let free = |area: &Area| format!("{} at byte {}", show_exact(area.free.extent.size), area.free.extent.start);
    let free: Vec<String> = areas.iter().map(free).collect();
    let leading = layout.leading_gap();
    let unused = (leading > MIB).then(|| {
        let leading = show_exact(leading);
        format!("The {leading} before the first partition are not used: boot loaders live there. ")
    });
    let can_shrink = wishes.iter().any(|sized| sized.min > floor(sized).max(1));
    let larger = if can_shrink { "Use a larger card, or lower size-min" } else { "Use a larger card" };
    let reserve = layout.large_reserve().map(|reserve| format!("But {reserve}"));
    let occupied = layout
        .occupied
        .iter()
        .map(|Occupied { extent, by }| format!("{} are {by}, unless it is taken out there. ", show_exact(extent.size)));
    Error::NoSpace {
        needed: needed.join(", "),
        free: if free.is_empty() { "nothing".to_owned() } else { free.join(", ") },
        remedy: occupied.chain(unused).chain([reserve.unwrap_or(larger.to_owned())]).collect(),
    }
}

fn need(sized: &Sized, floor: u64) -> String {
    let own = sized.wish.content.as_ref().filter(|_| sized.wish.size_min <= floor);
    let because = own.map(|content| format!(", the least for {}", content.format.name())).unwrap_or_default();
    let padding = sized.padding.min;
    let padding = if padding > 0 { format!(" and {} behind it", show_exact(padding)) } else { String::new() };
    format!("{} {}{because}{padding}", sized.wish.label, show_exact(sized.min))
}

/// What a free area is made into.
pub(super) struct Shared {
    /// The size that the partition before it shall have; nothing when it takes no part.
    pub before: Option<u64>,
    /// The places of the new partitions, with their index among the missing.
    pub new: Vec<(usize, Extent)>,
}

/// Shares an area among its partitions, `index` being its own in `allocation`, and puts them one behind the other.
pub(super) fn share_area(
    area: &Area,
    index: usize,
    sized: &[Sized],
    allocation: &Allocation,
    alignment: u64,
) -> Shared {
    let members: Vec<usize> = (0..sized.len()).filter(|member| allocation[*member] == Some(index)).collect();
    let claims: Vec<Claim> = members.iter().flat_map(|member| sized[*member].claims()).collect();
    let (before, values) = values(area, &claims, alignment);
    let before_end = area.free.after.zip(before).map(|(extent, [size, padding])| extent.start + size + padding);
    let mut start = before_end.map_or(area.free.extent.start, |end| round_up(end, alignment));
    let mut new = Vec::new();
    for (member, value) in members.into_iter().zip(values.chunks_exact(2)) {
        new.push((member, Extent { start, size: value[0] }));
        start = round_up(start + value[0] + value[1], alignment);
    }
    Shared { before: before.map(|[size, _]| size), new }
}

/// Size and padding of the partition before an area, where it takes part, and of those in it. It counts with what it
/// has even where it does not grow: that is how systemd-repart does it.
fn values(area: &Area, claims: &[Claim], alignment: u64) -> (Option<[u64; 2]>, Vec<u64>) {
    let Some(before) = area.free.after else {
        return (None, share(area.free.extent.size, alignment, claims));
    };
    let own = round_up(before.end(), alignment).saturating_sub(before.start);
    let span = area.free.extent.size.saturating_add(own);
    let fixed = Claim { weight: 1000, min: before.size, max: before.size, kind: Kind::Fixed };
    let first = area.grower.map_or(vec![fixed], |grower| grower.claims().to_vec());
    let all: Vec<Claim> = first.iter().chain(claims).copied().collect();
    let mut values = share(span, alignment, &all);
    let rest = values.split_off(first.len());
    (<[u64; 2]>::try_from(values).ok(), rest)
}
