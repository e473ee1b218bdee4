//! The verdict in words: what the firmware says, and how to know each disk.

use crate::boot_disk::firmware::{Firmware, Hardware, Named};
use crate::boot_disk::hardware::Agreement;
use crate::boot_disk::look::{Candidate, Identity};
use crate::text::escape;
use crate::units::show_size;

impl Firmware {
    /// All of it in words, for a refusal.
    pub(super) fn says(&self, candidates: &[Candidate]) -> String {
        let partition = self.partition.as_ref().map(|named| named.says(candidates));
        let hardware = self.hardware.as_ref().map(|hardware| hardware.says(candidates));
        let all: Vec<String> = partition.into_iter().chain(hardware).collect();
        if all.is_empty() { "nothing tells which of them was booted".to_owned() } else { all.join(", and ") }
    }
}

impl Named {
    pub(super) fn says(&self, candidates: &[Candidate]) -> String {
        let Named { source, guid, .. } = self;
        match &among(candidates, |disk| disk.facts.is_named)[..] {
            [] => format!("{source} names partition {guid}, which is on no disk"),
            [one] => format!("{source} names partition {guid} of {one}"),
            several => {
                format!("{source} names partition {guid}, which is on {}: they are clones", several.join(" and "))
            }
        }
    }
}

impl Hardware {
    pub(super) fn says(&self, candidates: &[Candidate]) -> String {
        let Hardware { source, route } = self;
        if !route.says_something() {
            return format!("{source} does not tell the hardware");
        }
        match &among(candidates, |disk| disk.facts.hardware == Agreement::Agrees)[..] {
            [] => format!("{source} leads to {route}, where none of them is"),
            [one] => format!("{source} leads to {route}: {one}"),
            several => format!("{source} leads to {route}, which could be {}", several.join(" and ")),
        }
    }
}

/// The disks of which something is true. Another disk is worth naming only when it is true of none of the possible ones.
fn among(candidates: &[Candidate], is_true: impl Fn(&Candidate) -> bool) -> Vec<String> {
    let (possible, others): (Vec<_>, Vec<_>) =
        candidates.iter().filter(|disk| is_true(disk)).partition(|disk| disk.facts.fits);
    let on = if possible.is_empty() { others } else { possible };
    on.iter().map(|disk| disk.node.display().to_string()).collect()
}

/// One line for each disk; two for those that it could be.
pub(super) fn list(candidates: &[Candidate]) -> String {
    if candidates.is_empty() {
        return "  there is no disk at all".to_owned();
    }
    // What could be meant first: a screen may show no more.
    let (fit, others): (Vec<_>, Vec<_>) = candidates.iter().partition(|disk| disk.against.is_empty());
    let line = |disk: &Candidate| format!("  {}: {}", disk.outside(), disk.verdict());
    let lines = |disk: &Candidate| format!("{}\n    {}", line(disk), disk.inside());
    fit.into_iter().map(lines).chain(others.into_iter().map(line)).collect::<Vec<_>>().join("\n")
}

impl Candidate {
    /// How to know it by its outside.
    pub fn outside(&self) -> String {
        let Identity { bus, model, serial } = &self.identity;
        let model = model.as_deref().map(escape);
        let serial = serial.as_deref().map(|serial| format!("serial {}", escape(serial)));
        let size = Some(show_size(self.size)).filter(|_| self.size > 0);
        let known: Vec<String> = [bus.map(str::to_owned), model, size, serial].into_iter().flatten().collect();
        format!("{} ({})", self.node.display(), known.join(", "))
    }

    /// How to know it by its inside.
    fn inside(&self) -> String {
        let guid = self.guid.map(|guid| format!("disk {guid}"));
        let anchor = |(label, guid): &(_, _)| format!("{label} {guid}");
        guid.into_iter().chain(self.anchors.iter().map(anchor)).collect::<Vec<_>>().join(", ")
    }
}
