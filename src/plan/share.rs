//! Sharing a span of bytes by weight within limits: systemd-repart's rules, so that people's numbers carry over
//! (repart.c, `context_grow_partitions_on_free_area`, as of systemd 262).
//!
//! Pure arithmetic: knows claims, not partitions.

use crate::units::{round_down, round_up};

/// One claim on a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Share relative to the other claims.
    pub weight: u32,
    /// Smallest value in bytes: a multiple of the grain, or what an existing partition has.
    pub min: u64,
    /// Largest value in bytes; at least `min`.
    pub max: u64,
    /// Whether there is anything to decide.
    pub kind: Kind,
}

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A partition that stays as it is: its claim is its `min`, in whatever bytes it has.
    Fixed,
    /// A partition to be sized; it also takes what is left over, up to its maximum.
    Size,
    /// Free space behind a partition; what is left over is free anyway.
    Padding,
}

/// The value of each claim, in order: its minimum or multiples of `grain`. Rounded up to it, their sum is at most
/// `span`, where the minima's is.
///
/// Four phases, each over the claims that are still open: fixed ones take what they have; those whose minimum is
/// above their share take their minimum; those whose maximum is below it take their maximum; the rest get their
/// share. Each decision changes the shares of those still open, so that phases two and three repeat until nothing
/// more is decided.
pub fn share(span: u64, grain: u64, claims: &[Claim]) -> Vec<u64> {
    let mut open = Open { span, weight: claims.iter().map(|claim| u64::from(claim.weight)).sum() };
    let mut values = vec![None; claims.len()];
    open.decide(claims, &mut values, grain, |claim, _| (claim.kind == Kind::Fixed).then_some(claim.min));
    while open.decide(claims, &mut values, grain, |claim, share| (claim.min > share).then_some(claim.min)) {}
    while open.decide(claims, &mut values, grain, |claim, share| (claim.max < share).then_some(claim.max)) {}
    open.decide(claims, &mut values, grain, |claim, share| Some(round_down(share, grain).clamp(claim.min, claim.max)));
    let mut values: Vec<u64> = values.into_iter().map(Option::unwrap_or_default).collect();
    hand_out(open.span, grain, claims, &mut values);
    values
}

/// What the open claims have to share.
struct Open {
    span: u64,
    weight: u64,
}

impl Open {
    /// One pass: closes each open claim that `decision` gives a value for. True when there was one.
    fn decide(
        &mut self,
        claims: &[Claim],
        values: &mut [Option<u64>],
        grain: u64,
        decision: impl Fn(&Claim, u64) -> Option<u64>,
    ) -> bool {
        let mut decided = false;
        for (claim, value) in claims.iter().zip(values).filter(|(_, value)| value.is_none()) {
            *value = decision(claim, self.share_of(claim));
            if let Some(taken) = *value {
                self.span = self.span.saturating_sub(round_up(taken, grain));
                self.weight -= u64::from(claim.weight);
                decided = true;
            }
        }
        decided
    }

    fn share_of(&self, claim: &Claim) -> u64 {
        let share = u128::from(self.span) * u128::from(claim.weight) / u128::from(self.weight.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

/// What the maxima left over goes to the first partitions that may still grow; what even they do not take stays
/// behind the last one.
fn hand_out(mut left: u64, grain: u64, claims: &[Claim], values: &mut [u64]) {
    for (claim, value) in claims.iter().zip(values).filter(|(claim, _)| claim.kind == Kind::Size) {
        let gift = round_down(left, grain).min(claim.max - *value);
        *value += gift;
        left -= gift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::MIB;

    const SECTOR: u64 = 512;

    fn size(weight: u32, min: u64, max: u64) -> Claim {
        Claim { weight, min, max, kind: Kind::Size }
    }

    fn fixed(size: u64) -> Claim {
        Claim { weight: 1000, min: size, max: size, kind: Kind::Fixed }
    }

    /// Shares a span given in sectors at systemd-repart's grain; the results in sectors.
    fn sectors(span: u64, claims: &[Claim]) -> Vec<u64> {
        share(span * SECTOR, 4096, claims).into_iter().map(|bytes| bytes / SECTOR).collect()
    }

    // The next tests are what systemd-repart itself gave for the same wishes.

    #[test]
    fn weights_share_what_a_fixed_neighbour_leaves() {
        let store = 409_600;
        let claims = [fixed(store * SECTOR), size(2000, 32 * MIB, u64::MAX), size(1000, 32 * MIB, u64::MAX)];
        assert_eq!(sectors(8_274_292_736 / SECTOR + store, &claims), [store, 10_773_816, 5_386_912]);
    }

    #[test]
    fn a_claim_without_weight_gets_its_minimum() {
        // 1 GiB, home without limits, swap of at most 64 MiB, and 92 MiB that shall stay free behind it.
        let free = Claim { kind: Kind::Padding, ..size(0, 92 * MIB, u64::MAX) };
        let claims = [size(1000, 10 * MIB, u64::MAX), size(1000, 10 * MIB, 64 * MIB), free];
        assert_eq!(sectors(2_097_112 - 2048, &claims), [1_775_576, 131_072, 188_416]);
    }

    #[test]
    fn equal_shares_give_the_remainder_to_the_last() {
        let root = size(1000, 10 * MIB, u64::MAX);
        assert_eq!(sectors(1_775_576, &[root; 3]), [591_856, 591_856, 591_864]);
    }

    #[test]
    fn a_minimum_above_its_share_is_charged_first() {
        let claims = [size(1000, 15 * MIB, 15 * MIB), size(250, 10 * MIB, u64::MAX), size(750, 10 * MIB, u64::MAX)];
        assert_eq!(sectors(30_720 + 42_992 + 129_000, &claims), [30_720, 42_992, 129_000]);
    }

    #[test]
    fn what_maxima_leave_over_goes_to_the_first_that_may_grow_whatever_its_weight() {
        let claims = [size(1, 5 * MIB, u64::MAX), size(1000, MIB, 2 * MIB)];
        assert_eq!(sectors(34_776 + 4096, &claims), [34_776, 4096]);
        let idle = size(0, 10 * MIB, u64::MAX);
        assert_eq!(sectors(2_054_104, &[idle, idle]), [2_033_624, 20_480]);
        assert_eq!(sectors(2_054_104, &[idle, size(1000, 10 * MIB, u64::MAX)]), [20_480, 2_033_624]);
    }

    #[test]
    fn when_all_are_at_their_maximum_the_rest_stays_free() {
        let claims = [size(1000, 10 * MIB, 50 * MIB), size(1000, 10 * MIB, 70 * MIB)];
        assert_eq!(sectors(2_054_104, &claims), [102_400, 143_360]);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let claims = [size(1_000_000, 4096, u64::MAX); 128];
        let sizes = share(u64::MAX, 4096, &claims);
        assert!(sizes.iter().map(|size| u128::from(*size)).sum::<u128>() <= u128::from(u64::MAX));
    }
}
