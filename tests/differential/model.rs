//! systemd-repart's rules in as few words as they can be said in (repart.d(5), and what it does), and each rule by
//! which makeroom differs from them as a switch. Knows nothing of `src/plan`.
//!
//! With no switch it must give what systemd-repart gives, with all of them what makeroom gives.

use std::collections::BTreeSet;

use makeroom::units::MIB;

use crate::case::{Case, Definition, Entry, GRAIN};
use crate::rules::Rule::{self, *};
use crate::seeded;

use Refusal::*;

/// What a run leaves in the table, by number.
pub type Outcome = Result<Vec<Entry>, Refusal>;

/// The table stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// With a message.
    Refuses,
    /// By a failed assertion.
    Aborts,
}

pub fn outcome(case: &Case, version: u32, rules: &BTreeSet<Rule>) -> Outcome {
    let mut table = case.partitions.clone();
    loop {
        let run = Run { case, version, rules, table: &table };
        let next = run.outcome()?;
        if next == table || !rules.contains(&NothingIsLeftForTheNextRun) {
            return Ok(next);
        }
        table = next;
    }
}

struct Run<'a> {
    case: &'a Case,
    version: u32,
    rules: &'a BTreeSet<Rule>,
    table: &'a [Entry],
}

/// Somebody who may get a place: declared, there, or both.
#[derive(Clone, Debug)]
struct Member<'a> {
    wish: Option<&'a Definition>,
    old: Option<&'a Entry>,
    /// Left out, if it is new.
    dropped: bool,
    gap: Option<usize>,
    size: u64,
    padding: u64,
}

impl Member<'_> {
    fn is_new(&self) -> bool {
        self.old.is_none() && !self.dropped
    }

    /// There already, and allowed to grow.
    fn is_ours(&self) -> bool {
        self.old.is_some() && self.wish.is_some()
    }

    fn is_before(&self, gap: &Gap) -> bool {
        self.old.is_some_and(|old| Some(old.number) == gap.after)
    }
}

/// A gap in whole grains, and the number of the partition before it.
struct Gap {
    after: Option<u32>,
    start: u64,
    size: u64,
}

fn up(bytes: u64) -> u64 {
    bytes.next_multiple_of(GRAIN)
}

fn down(bytes: u64) -> u64 {
    bytes / GRAIN * GRAIN
}

impl<'a> Run<'a> {
    fn has(&self, rule: Rule) -> bool {
        self.rules.contains(&rule)
    }

    fn outcome(&self) -> Outcome {
        if self.has(MaximumBelowMinimum) && self.case.definitions.iter().any(|wish| self.contradicts_itself(wish)) {
            return Err(Refuses);
        }
        let mut members = self.members().ok_or(Refuses)?;
        let gaps = self.gaps();
        let order = self.allocate(&mut members, &gaps).ok_or(Refuses)?;
        let mut starts = vec![0; members.len()];
        for (index, gap) in gaps.iter().enumerate() {
            self.share(&mut members, index, gap, &mut starts)?;
        }
        let mut new: Vec<usize> = (0..members.len()).filter(|member| members[*member].is_new()).collect();
        if !self.has(NextNumber) {
            new.sort_by_key(|member| order.iter().position(|gap| members[*member].gap == Some(*gap)));
        }
        if !self.has(GrowthByOneSector) && (0..members.len()).any(|member| self.is_stuck(member, &members, &starts)) {
            return Err(Refuses);
        }
        self.table_of(&members, &new, &starts)
    }

    // --- who ---

    /// In their order: definitions, then what nobody declared.
    fn members(&self) -> Option<Vec<Member<'a>>> {
        let found = self.found()?;
        let member = |wish, old| Member { wish, old, dropped: false, gap: None, size: 0, padding: 0 };
        let declared = self.case.definitions.iter().zip(&found).map(|(wish, old)| member(Some(wish), *old));
        let mut members: Vec<Member> = declared.collect();
        let is_found = |old: &Entry| found.iter().flatten().any(|other| other.number == old.number);
        members.extend(self.table.iter().filter(|old| !is_found(old)).map(|old| member(None, Some(old))));
        // A partition of another type is kept as it is.
        for member in &mut members {
            let same = |wish: &Definition, old: &Entry| wish.guid() == old.kind;
            member.wish = member.wish.filter(|wish| member.old.is_none_or(|old| same(wish, old)));
            let is_read_only = member.old.is_some_and(|old| old.attributes & 1 << 60 != 0);
            member.wish = member.wish.filter(|_| !(is_read_only && self.has(ReadOnlyStays)));
        }
        Some(members)
    }

    /// Which partition each definition means.
    fn found(&self) -> Option<Vec<Option<&'a Entry>>> {
        let mut left: Vec<&Entry> = self.table.iter().collect();
        let mut found = vec![None; self.case.definitions.len()];
        let mut take = |index: usize, is_meant: &dyn Fn(&Entry) -> bool| {
            let at = left.iter().position(|old| is_meant(old)).filter(|_| found[index].is_none());
            found[index] = at.map(|at| left.remove(at)).or(found[index]);
        };
        let definitions = || self.case.definitions.iter().enumerate();
        if !self.has(KnownByLabel) {
            definitions().for_each(|(index, wish)| take(index, &|old| old.kind == wish.guid()));
            return Some(found);
        }
        for (index, label) in definitions().filter_map(|(index, wish)| Some((index, wish.label.as_ref()?))) {
            if self.table.iter().filter(|old| old.label == *label).count() > 1 {
                return None;
            }
            take(index, &|old| old.label == *label);
        }
        for any_name in [false, true] {
            for (index, wish) in definitions().filter(|(_, wish)| wish.label.is_none()) {
                let has_name = |old: &Entry| any_name || old.label == self.type_name(index);
                take(index, &|old| old.kind == wish.guid() && has_name(old));
            }
        }
        Some(found)
    }

    // --- where ---

    fn gaps(&self) -> Vec<Gap> {
        let mut old: Vec<&Entry> = self.table.iter().collect();
        old.sort_by_key(|old| old.start);
        let gap = |after, from: u64, to: u64| Gap { after, start: up(from), size: down(to).saturating_sub(up(from)) };
        let ends = old.iter().skip(1).map(|next| next.start).chain([self.case.usable_end()]);
        let mut gaps: Vec<Gap> = old.iter().zip(ends).map(|(old, to)| gap(Some(old.number), old.end(), to)).collect();
        let first = old.first().map_or(self.case.usable_end(), |old| old.start);
        if old.is_empty() || !self.has(NoLeadingGap) {
            gaps.push(gap(None, self.case.first_usable, first));
        }
        gaps.retain(|gap| gap.size > 0);
        gaps
    }

    /// Finds a gap for each that is new; as long as that fails, leaves out what has the highest priority number. The
    /// gaps in the order in which they were tried.
    fn allocate(&self, members: &mut [Member], gaps: &[Gap]) -> Option<Vec<usize>> {
        if self.has(KeptWithoutRoom) {
            for member in members.iter_mut().filter(|member| self.cannot_reach_its_minimum(member, gaps)) {
                member.wish = None;
            }
        }
        loop {
            if let Some(order) = self.try_to_allocate(members, gaps) {
                return Some(order);
            }
            let can_go = members.iter().filter(|member| !member.dropped).filter_map(|member| member.wish);
            let highest = can_go.map(|wish| wish.priority).max().unwrap_or(0);
            if highest > 0 {
                for member in members.iter_mut().filter(|it| it.wish.is_some_and(|wish| wish.priority == highest)) {
                    match member.old {
                        Some(_) => member.wish = None,
                        None => member.dropped = true,
                    }
                }
                continue;
            }
            let keep_room = |member: &&mut Member| member.is_ours() && self.reserved_by(member, gaps) > 0;
            let let_go = members.iter_mut().filter(keep_room).map(|member| member.wish = None).count();
            if !self.has(KeptWithoutRoom) || let_go == 0 {
                return None;
            }
        }
    }

    fn cannot_reach_its_minimum(&self, member: &Member, gaps: &[Gap]) -> bool {
        let gap = gaps.iter().find(|gap| member.is_before(gap));
        let room = gap.map_or(0, |gap| gap.size);
        let is_short = match gap {
            // What alignment takes before a gap is room as well.
            Some(_) if self.has(KeptWithoutRoom) => self.reserved_by(member, gaps) > room,
            _ => member.old.is_some_and(|old| old.size + room < self.needed(member)),
        };
        member.is_ours() && is_short
    }

    /// What one that is there wants of the gap behind it.
    fn reserved_by(&self, member: &Member, gaps: &[Gap]) -> u64 {
        let gap = gaps.iter().find(|gap| member.is_before(gap));
        gap.zip(member.old).map_or(0, |(gap, old)| (old.start + self.needed(member)).saturating_sub(gap.start))
    }

    fn try_to_allocate(&self, members: &mut [Member], gaps: &[Gap]) -> Option<Vec<usize>> {
        let numbers = self.case.entries as usize - self.table.len();
        let new = members.iter().filter(|member| member.is_new()).count();
        let is_full = self.has(OptionalWithoutEntry) && new > numbers;
        if is_full || members.iter().any(|member| self.cannot_reach_its_minimum(member, gaps)) {
            return None;
        }
        let taken =
            |gap: &Gap| members.iter().filter(|it| it.is_before(gap)).map(|it| self.reserved_by(it, gaps)).sum();
        let mut rooms: Vec<u64> = gaps.iter().map(|gap| gap.size.saturating_sub(taken(gap))).collect();
        let mut order: Vec<usize> = (0..gaps.len()).collect();
        order.sort_by_key(|gap| rooms[*gap]);
        let needs: Vec<u64> = members.iter().map(|member| self.needed(member)).collect();
        let all: u64 = members.iter().zip(&needs).filter(|(member, _)| member.is_new()).map(|(_, need)| need).sum();
        let largest = (0..gaps.len()).rev().max_by_key(|gap| rooms[*gap]);
        if let Some(largest) = largest.filter(|gap| self.has(LargestArea) && rooms[*gap] >= all) {
            order = vec![largest];
        }
        members.iter_mut().for_each(|member| member.gap = None);
        for (member, need) in members.iter_mut().zip(needs).filter(|(member, _)| member.is_new()) {
            member.gap = order.iter().copied().find(|gap| rooms[*gap] >= need);
            rooms[member.gap?] -= need;
        }
        Some(order)
    }

    // --- how large ---

    /// The least and the most that a partition may have.
    fn limits(&self, member: &Member) -> (u64, u64) {
        let current = member.old.map_or(0, |old| old.size);
        let Some(wish) = member.wish else { return (current, current) };
        let floor = self.floor(wish, member.old.is_none());
        let min = self.at_least(wish.size_min.unwrap_or(10 * MIB)).max(floor).max(current);
        (min, wish.size_max.map_or(u64::MAX, |max| self.at_most(max).max(min)))
    }

    /// What its file system needs.
    fn floor(&self, wish: &Definition, is_new: bool) -> u64 {
        match (wish.format, self.has(FileSystemHasItsMinimum)) {
            (Some("ext4"), ours) if ours || is_new => 32 * MIB,
            (Some("swap"), true) => 640 << 10,
            _ => GRAIN,
        }
    }

    fn contradicts_itself(&self, wish: &Definition) -> bool {
        let least = self.at_least(wish.size_min.unwrap_or(10 * MIB)).max(self.floor(wish, true));
        wish.size_max.is_some_and(|max| self.at_most(max) < least)
    }

    /// The least and the most that stays free behind it.
    fn padding(&self, member: &Member) -> (u64, u64) {
        let Some(wish) = member.wish else { return (0, u64::MAX) };
        let min = self.at_least(wish.padding_min.unwrap_or(0));
        (min, wish.padding_max.map_or(u64::MAX, |max| self.at_most(max).max(min)))
    }

    fn at_least(&self, bytes: u64) -> u64 {
        if self.has(RoundedInside) { up(bytes) } else { down(bytes) }
    }

    fn at_most(&self, bytes: u64) -> u64 {
        if self.has(RoundedInside) { down(bytes) } else { up(bytes) }
    }

    /// With its padding, up to a whole grain.
    fn needed(&self, member: &Member) -> u64 {
        let start = member.old.map_or(0, |old| old.start);
        up(start + self.limits(member).0 + self.padding(member).0) - start
    }

    /// Gives those in a gap and the one before it their sizes, and the new ones their places.
    fn share(&self, members: &mut [Member], index: usize, gap: &Gap, starts: &mut [u64]) -> Result<(), Refusal> {
        let before = members.iter().position(|member| member.is_before(gap));
        let new: Vec<usize> = (0..members.len()).filter(|member| members[*member].gap == Some(index)).collect();
        let mut sharing = new.clone();
        match before {
            Some(before) if self.has(OrderOfTheDisk) => sharing.insert(0, before),
            before => sharing.extend(before),
        }
        if !self.has(OrderOfTheDisk) {
            sharing.sort_unstable();
        }
        let old = before.and_then(|before| members[before].old);
        let span = gap.size + old.map_or(0, |old| up(old.end()) - old.start);
        let left = self.weigh(members, &sharing, span)?;
        let takes_more = |member: usize| members[member].is_new() || self.has(LeftoverBehind);
        let more: Vec<usize> = sharing.iter().copied().filter(|member| takes_more(*member)).collect();
        let left = self.hand_out(members, &more, left);
        let mut start = match before.map(|before| (&members[before], old.unwrap())) {
            Some((before, old)) => {
                let leading = if self.has(LeftoverBehind) { 0 } else { left };
                up(old.start + before.size + before.padding + leading)
            }
            None => gap.start,
        };
        for member in new {
            starts[member] = start;
            start = up(start + members[member].size + members[member].padding);
        }
        Ok(())
    }

    /// Shares a span by weight; what nobody may have of it.
    fn weigh(&self, members: &mut [Member], sharing: &[usize], span: u64) -> Result<u64, Refusal> {
        let mut claims: Vec<Claim> =
            sharing.iter().flat_map(|member| self.claims(*member, &members[*member])).collect();
        let mut open = Open { is_overdrawn: false, span, weight: claims.iter().map(|claim| claim.weight).sum() };
        open.pass(&mut claims, |claim, _| claim.is_fixed.then_some(claim.min));
        while open.pass(&mut claims, |claim, share| (claim.min > share).then_some(claim.min)) {}
        while open.pass(&mut claims, |claim, share| (claim.max < share).then_some(claim.max)) {}
        open.pass(&mut claims, |claim, share| Some(down(share).clamp(claim.min, claim.max)));
        for claim in claims {
            let member = &mut members[claim.member];
            *(if claim.is_padding { &mut member.padding } else { &mut member.size }) = claim.value.unwrap();
        }
        let is_fine = !open.is_overdrawn || self.has(ExactFitBehindUnaligned);
        is_fine.then_some(open.span).ok_or(Aborts)
    }

    fn claims(&self, index: usize, member: &Member) -> Vec<Claim> {
        let is_fixed = member.wish.is_none();
        let claim = |is_padding, weight, (min, max)| Claim {
            member: index,
            is_padding,
            is_fixed: is_fixed && !is_padding,
            weight,
            min,
            max,
            value: None,
        };
        let own = claim(false, member.wish.and_then(|wish| wish.weight).unwrap_or(1000).into(), self.limits(member));
        let padding = member.wish.and_then(|wish| wish.padding_weight).unwrap_or(0).into();
        let behind = claim(true, padding, self.padding(member));
        if is_fixed { vec![own] } else { vec![own, behind] }
    }

    /// Whether one grows by just one sector to what is in the table when it does: libfdisk takes a single sector for
    /// no space. Until 262 what is new is there before it by the order of the definitions, then never.
    fn is_stuck(&self, index: usize, members: &[Member], starts: &[u64]) -> bool {
        let Some(old) = members[index].old else { return false };
        let end = old.start + members[index].size;
        let is_new_before = |other: usize| members[other].is_new() && starts[other] == end && !self.has(OrderOfTheDisk);
        let is_met = self.table.iter().any(|other| other.start == end)
            || end == self.case.usable_end()
            || (0..index).any(is_new_before);
        end == old.end() + self.case.sector_size && is_met
    }

    fn hand_out(&self, members: &mut [Member], to: &[usize], mut left: u64) -> u64 {
        for member in to {
            let max = self.limits(&members[*member]).1;
            let size = members[*member].size;
            let more = match self.has(LeftoverInWholeGrains) {
                true => down(left.min(max - size)),
                false => down(left.saturating_add(size).min(max)).saturating_sub(size),
            };
            members[*member].size += more;
            left -= more;
        }
        left
    }

    // --- the table ---

    fn table_of(&self, members: &[Member], new: &[usize], starts: &[u64]) -> Outcome {
        let mut table: Vec<Entry> = self.table.to_vec();
        for (member, old) in members.iter().filter_map(|member| Some((member, member.old?))) {
            let entry = table.iter_mut().find(|entry| entry.number == old.number).unwrap();
            entry.size = entry.size.max(member.size);
        }
        let names = self.names(members);
        for (index, member) in new.iter().map(|index| (*index, &members[*index])) {
            let wish = member.wish.unwrap();
            let earlier = self.case.definitions.iter().take(index).filter(|other| other.guid() == wish.guid()).count();
            table.push(Entry {
                number: self.number(wish, &table).ok_or(Refuses)?,
                start: starts[index],
                size: member.size,
                kind: wish.guid(),
                guid: wish.uuid.unwrap_or_else(|| seeded(wish.guid(), earlier as u64)),
                attributes: self.attributes(wish),
                label: names[index].clone(),
            });
        }
        table.sort_by_key(|entry| entry.number);
        Ok(table)
    }

    fn attributes(&self, wish: &Definition) -> u64 {
        let read_only = wish.read_only.unwrap_or(false);
        let asked = wish.grow_file_system.filter(|_| read_only || self.has(NotGrowingIsHonoured));
        let grows = asked.or((!read_only).then_some(true));
        let is_known = wish.is_mounted();
        let knows_no_auto = is_known || wish.kind == "swap";
        let flags = [(63, wish.no_auto.filter(|_| knows_no_auto)), (60, wish.read_only.filter(|_| is_known))];
        let flags = flags.into_iter().chain([(59, grows.filter(|_| is_known))]);
        let all = flags.fold(wish.flags.unwrap_or(0), |bits, (bit, flag)| match flag {
            Some(true) => bits | 1 << bit,
            Some(false) => bits & !(1 << bit),
            None => bits,
        });
        let is_lost = all % (1 << 48) > 0 && !self.has(FlagsBelow48);
        if is_lost { 0 } else { all }
    }

    fn number(&self, wish: &Definition, table: &[Entry]) -> Option<u32> {
        let highest = |entries: &mut dyn Iterator<Item = &Entry>| entries.map(|entry| entry.number).max().unwrap_or(0);
        let above = match self.has(NextNumber) {
            true => highest(&mut table.iter()),
            false if self.version >= 262 => highest(&mut table.iter().filter(|entry| entry.kind == wish.guid())),
            false => 0,
        };
        let is_free = |number: &u32| table.iter().all(|entry| entry.number != *number);
        (above + 1..=self.case.entries).chain(1..=above).find(is_free)
    }

    /// What a partition is called whose definition has no label.
    fn type_name(&self, index: usize) -> String {
        let name = self.case.definitions[index].type_name();
        if !self.has(NamesAreUnique) {
            return name.to_owned();
        }
        let mut taken: Vec<String> = self.case.definitions.iter().filter_map(|wish| wish.label.clone()).collect();
        let earlier =
            self.case.definitions[..index].iter().filter(|wish| wish.label.is_none() && wish.type_name() == name);
        let free = |taken: &[String]| numbered(name).find(|name| !taken.contains(name)).unwrap();
        earlier.for_each(|_| taken.push(free(&taken)));
        free(&taken)
    }

    /// Whether a partition is called so, or a new one of another definition would be.
    fn is_known(&self, index: usize, name: &str) -> bool {
        let label = |(other, wish): (usize, &Definition)| wish.label.clone().unwrap_or_else(|| self.type_name(other));
        let mut labels = self.case.definitions.iter().enumerate().filter(|(other, _)| *other != index).map(label);
        labels.any(|label| label == name) || self.table.iter().any(|old| old.label == *name)
    }

    /// The names of all members.
    fn names(&self, members: &[Member]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let said = member.old.map(|old| old.label.clone()).or(member.wish.and_then(|wish| wish.label.clone()));
            let is_taken =
                |name: &String| names.contains(name) || self.has(NamesAreUnique) && self.is_known(index, name);
            let name = said.or_else(|| numbered(&self.type_name(index)).find(|name| !is_taken(name)));
            names.push(name.unwrap());
        }
        names
    }
}

/// A name, and what follows when it is taken.
fn numbered(name: &str) -> impl Iterator<Item = String> {
    std::iter::once(name.to_owned()).chain((2..).map(move |number| format!("{name}-{number}")))
}

struct Claim {
    member: usize,
    is_padding: bool,
    is_fixed: bool,
    weight: u64,
    min: u64,
    max: u64,
    value: Option<u64>,
}

struct Open {
    is_overdrawn: bool,
    span: u64,
    weight: u64,
}

impl Open {
    fn pass(&mut self, claims: &mut [Claim], decide: impl Fn(&Claim, u64) -> Option<u64>) -> bool {
        let mut any = false;
        for claim in claims.iter_mut().filter(|claim| claim.value.is_none()) {
            let share = u128::from(self.span) * u128::from(claim.weight) / u128::from(self.weight.max(1));
            claim.value = decide(claim, share as u64);
            if let Some(value) = claim.value {
                self.is_overdrawn |= value > self.span;
                self.span = self.span.saturating_sub(up(value));
                self.weight -= claim.weight;
                any = true;
            }
        }
        any
    }
}
