//! Operations that refer to each other in rings (RFC 7644 section 3.7.1): which they are. Pure.

use std::collections::{BTreeSet, VecDeque};

/// The ring that each operation is in, if any. Operations are in one ring where each leads to the other; rings that lead
/// to each other by way of other operations count as one with these.
pub(super) fn rings(needs: &[BTreeSet<usize>]) -> Vec<Option<usize>> {
    let forward: Vec<Vec<usize>> = needs.iter().map(|needs| needs.iter().copied().collect()).collect();
    let mut backward = vec![Vec::new(); needs.len()];
    for (index, needs) in forward.iter().enumerate() {
        for need in needs {
            if let Some(needed_by) = backward.get_mut(*need) {
                needed_by.push(index);
            }
        }
    }
    let mut left = vec![true; needs.len()];
    peel(&mut left, &forward, &backward);
    peel(&mut left, &backward, &forward);
    let mut rings = vec![None; needs.len()];
    for first in 0..needs.len() {
        let mut open = vec![first];
        while let Some(index) = open.pop() {
            let (Some(true), Some(ring)) = (left.get(index), rings.get_mut(index)) else { continue };
            if ring.is_none() {
                *ring = Some(first);
                open.extend([&forward, &backward].into_iter().filter_map(|edges| edges.get(index)).flatten());
            }
        }
    }
    rings
}

/// Takes out whatever leads nowhere, until all that is left leads to something that is left.
fn peel(left: &mut [bool], forward: &[Vec<usize>], backward: &[Vec<usize>]) {
    let is_left = |left: &[bool], index: usize| left.get(index).copied().unwrap_or(false);
    let mut leads: Vec<usize> =
        forward.iter().map(|to| to.iter().filter(|index| is_left(left, **index)).count()).collect();
    let ends = leads.iter().enumerate().filter(|(index, leads)| **leads == 0 && is_left(left, *index));
    let mut ends: VecDeque<usize> = ends.map(|(index, _)| index).collect();
    while let Some(end) = ends.pop_front() {
        if let Some(left) = left.get_mut(end) {
            *left = false;
        }
        for from in backward.get(end).into_iter().flatten().filter(|from| is_left(left, **from)) {
            if let Some(leads) = leads.get_mut(*from) {
                *leads -= 1;
                if *leads == 0 {
                    ends.push_back(*from);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(needs: &[&[usize]]) -> Vec<Option<usize>> {
        rings(&needs.iter().map(|needs| needs.iter().copied().collect()).collect::<Vec<_>>())
    }

    #[test]
    fn rings_are_told_from_what_leads_to_them_and_from_them() {
        assert_eq!(found(&[&[1], &[2], &[]]), [None, None, None]);
        assert_eq!(found(&[&[0]]), [Some(0)]);
        // 0 leads to the ring of 1, 2 and 3, which leads to 4; 5 and 6 are a ring of their own.
        let both = found(&[&[1], &[2], &[3], &[1, 4], &[], &[6], &[5]]);
        assert_eq!(both, [None, Some(1), Some(1), Some(1), None, Some(5), Some(5)]);
        assert_eq!(found(&[&[1], &[0, 2], &[3], &[2]]), [Some(0); 4], "what one ring needs of another");
        let long: Vec<BTreeSet<usize>> = (0..100_000).map(|index| BTreeSet::from([(index + 1) % 100_000])).collect();
        assert!(rings(&long).iter().all(|ring| *ring == Some(0)), "without recursion");
    }
}
