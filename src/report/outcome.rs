//! How a run ended, or would end, in one sentence.

use super::{Activity, Report};
use crate::apply::Stage;
use crate::text::escape;

impl Report {
    /// Whether there was nothing to do.
    pub fn is_idle(&self) -> bool {
        self.changes().is_empty() && self.repairs.is_empty() && self.dropped.is_empty() && self.growing.is_empty()
    }

    /// The outcome of a run that had nothing to write, or was not to write.
    pub fn intention(&self) -> String {
        let changes = self.changes().iter().map(|[wish, _, labels]| format!("{wish} {labels}")).collect::<Vec<_>>();
        match (changes.is_empty(), self.repairs.is_empty()) {
            (false, _) => format!("would {}; nothing was written", changes.join(", ")),
            (true, false) => "would repair the table; nothing was written".to_owned(),
            (true, true) if self.dropped.is_empty() => "nothing is missing".to_owned(),
            (true, true) => "nothing to do: there is no room for what is left out".to_owned(),
        }
    }

    /// The outcome of a run that has written.
    pub fn achievement(&self) -> String {
        let changes = self.changes().iter().map(|[_, done, labels]| format!("{done} {labels}")).collect::<Vec<_>>();
        match (changes.is_empty(), self.repairs.is_empty()) {
            (false, _) => changes.join(", "),
            (true, false) => "repaired the table".to_owned(),
            (true, true) => "nothing is missing".to_owned(),
        }
    }

    /// The outcome of a run that found nothing missing and something that it could not or would not mend.
    pub fn tolerate(&mut self, reason: &impl ToString) -> String {
        self.warnings.push(format!("Linux reads the table, so the boot goes on, but: {}", reason.to_string()));
        "nothing is missing".to_owned()
    }

    /// What is done, in two tenses, and to which partitions.
    fn changes(&self) -> Vec<[String; 3]> {
        let with = |activity| self.partitions.iter().filter(move |partition| partition.activity == activity);
        let labels = |activity| with(activity).map(|partition| escape(&partition.label)).collect();
        let kinds: [(&str, &str, Vec<String>); 4] = [
            ("delete", "deleted", self.deleted.iter().map(|label| escape(label)).collect()),
            ("create", "created", labels(Activity::Create)),
            ("grow", "grew", labels(Activity::Resize)),
            ("grow the file system of", "grew the file system of", self.filled()),
        ];
        let some = kinds.into_iter().filter(|(_, _, labels)| !labels.is_empty());
        some.map(|(wish, done, labels)| [wish.to_owned(), done.to_owned(), labels.join(", ")]).collect()
    }

    /// The partitions whose file systems grow, or have grown.
    fn filled(&self) -> Vec<String> {
        let mut tried = self.steps.iter().filter(|done| done.stage == Stage::Grow);
        let grows = |_: &&_| self.grows_now && tried.next().is_none_or(|done| done.warning.is_none());
        self.growing.iter().filter(grows).map(|(label, _)| label.clone()).collect()
    }
}
