//! A sequence that is shared instead of copied: what lists, hashes, sets and sorted sets are made of.
//!
//! It is a B+ tree whose branches count their elements, behind [`Arc`]s. So each of these takes logarithmic time:
//! to reach an element by its place, to insert or remove one at any place, and, in a sequence that somebody keeps
//! sorted, to find the place of an element, which is its rank.
//!
//! * To clone is to count one reference more. A change copies the nodes on its way that are shared, and only these:
//!   so a snapshot, the journal of a script and COPY cost nothing until the original changes, and little then.
//! * Equal elements in equal order are equal sequences, whatever their trees look like.
//! * All leaves are equally deep, and each node but the root has from [`NODE_MIN`] to [`NODE_MAX`] parts.

use std::fmt;
use std::sync::Arc;

/// The most elements of a leaf, or children of a branch. A change in a sequence that a snapshot holds copies as many
/// on each level; a look-up halves them on each level.
const NODE_MAX: usize = 32;
/// The fewest. Two nodes with fewer than this between them and their limit become one.
const NODE_MIN: usize = NODE_MAX / 4;

const _: () = assert!(NODE_MIN * 2 < NODE_MAX, "what was just joined is not split by the next insertion");

/// Elements in order.
#[derive(Clone)]
pub(crate) struct Sequence<T> {
    root: Arc<Node<T>>,
}

#[derive(Clone)]
enum Node<T> {
    Leaf(Vec<T>),
    Branch { len: usize, children: Vec<Arc<Node<T>>> },
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())) }
    }
}

impl<T> Sequence<T> {
    pub(crate) fn len(&self) -> usize {
        self.root.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        let (leaf, place) = self.root.leaf(place)?;
        leaf.get(place)
    }

    /// The first place whose element is not `before`. This must be monotone: all those that are must stand in front of
    /// those that are not, as otherwise the answer depends on the tree, which is not the same on every replica. Where
    /// the elements may not be in such an order, [`Sequence::bisect`] is to be asked.
    pub(crate) fn partition_point(&self, before: impl Fn(&T) -> bool) -> usize {
        let (mut node, mut passed) = (&*self.root, 0);
        loop {
            match node {
                Node::Leaf(elements) => return passed + elements.partition_point(before),
                Node::Branch { children, .. } => {
                    // The last child may have it although all of its elements are `before`: then it is the end.
                    let (last, others) = children.split_last().expect("a branch has children");
                    let child = others.partition_point(|child| before(child.last()));
                    passed += others[..child].iter().map(|child| child.len()).sum::<usize>();
                    node = others.get(child).unwrap_or(last);
                }
            }
        }
    }

    /// A place whose element is not `before` and that stands behind one that is, or behind none; the end counts as
    /// not `before`. If several places are such, it is one of them, and the same one in all equal sequences: halves are
    /// taken by place and not by node, so that nothing but the elements is asked, whatever the tree looks like.
    pub(crate) fn bisect(&self, before: impl Fn(&T) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            if self.get(middle).is_some_and(&before) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// Frees leaves from the end on, until so many elements are gone; answers how many went, 0 once there are none. What
    /// somebody else holds, too, is left to them and counts as one. For what nobody will ask for anything again: nodes
    /// may be left with fewer parts than they must have.
    pub(crate) fn dismantle(&mut self, elements: usize) -> usize {
        let mut freed = 0;
        while freed < elements && !self.is_empty() {
            match Arc::get_mut(&mut self.root) {
                Some(root) => freed += root.shed(),
                None => {
                    *self = Self::default();
                    freed += 1;
                }
            }
        }
        freed
    }

    pub(crate) fn iter(&self) -> Iter<'_, T> {
        self.range(0, self.len())
    }

    /// The elements from a place up to, not including, another; both are cut to the sequence's length.
    pub(crate) fn range(&self, from: usize, to: usize) -> Iter<'_, T> {
        let to = to.min(self.len());
        Iter { sequence: self, from: from.min(to), to, front: &[], back: &[] }
    }
}

impl<T: Clone> Sequence<T> {
    /// Puts an element at a place; those from there on move up.
    ///
    /// # Panics
    /// If the place lies beyond the end.
    pub(crate) fn insert(&mut self, place: usize, element: T) {
        assert!(place <= self.len(), "insertion at {place} of {}", self.len());
        let root = Arc::make_mut(&mut self.root);
        if let Some(right) = root.insert(place, element) {
            let left = std::mem::replace(root, Node::Leaf(Vec::new()));
            *root = Node::branch(vec![Arc::new(left), Arc::new(right)]);
        }
    }

    pub(crate) fn push_back(&mut self, element: T) {
        self.insert(self.len(), element);
    }

    /// Takes the element at a place out; those behind it move down.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn remove(&mut self, place: usize) -> T {
        assert!(place < self.len(), "removal at {place} of {}", self.len());
        let root = Arc::make_mut(&mut self.root);
        let removed = root.remove(place);
        if let Node::Branch { children, .. } = root
            && children.len() == 1
        {
            let only = children.pop().expect("there is one");
            self.root = only;
        }
        removed
    }

    /// Puts another element in the place of one, which is returned.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn replace(&mut self, place: usize, element: T) -> T {
        let len = self.len();
        let present = Arc::make_mut(&mut self.root).element_mut(place);
        std::mem::replace(present.unwrap_or_else(|| panic!("replacement at {place} of {len}")), element)
    }
}

impl<T> Node<T> {
    fn branch(children: Vec<Arc<Self>>) -> Self {
        Self::Branch { len: children.iter().map(|child| child.len()).sum(), children }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(elements) => elements.len(),
            Self::Branch { len, .. } => *len,
        }
    }

    /// How many elements or children it has itself.
    fn parts(&self) -> usize {
        match self {
            Self::Leaf(elements) => elements.len(),
            Self::Branch { children, .. } => children.len(),
        }
    }

    fn last(&self) -> &T {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(elements) => return elements.last().expect("only the root may be empty"),
                Self::Branch { children, .. } => node = children.last().expect("a branch has children"),
            }
        }
    }

    /// Frees the last leaf, or the last node that is shared. Answers how many elements that were, 1 if it was shared.
    fn shed(&mut self) -> usize {
        match self {
            Self::Leaf(elements) => std::mem::take(elements).len(),
            Self::Branch { len, children } => {
                let Some(last) = children.last_mut() else { return 0 };
                let before = last.len();
                let (freed, left) = match Arc::get_mut(last) {
                    Some(child) => (child.shed(), child.len()),
                    None => (1, 0),
                };
                *len -= before - left;
                children.pop_if(|_| left == 0);
                freed
            }
        }
    }

    /// The leaf with the element at a place, and the place within it.
    fn leaf(&self, mut place: usize) -> Option<(&[T], usize)> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(elements) => return (place < elements.len()).then_some((elements, place)),
                Self::Branch { children, .. } => node = children.get(descend(children, &mut place))?,
            }
        }
    }
}

/// The child with the element at a place, which becomes the place within it. The last child also has what lies
/// beyond the end.
fn descend<T>(children: &[Arc<Node<T>>], place: &mut usize) -> usize {
    let last = children.len() - 1;
    for (number, child) in children.iter().enumerate().take(last) {
        if *place < child.len() {
            return number;
        }
        *place -= child.len();
    }
    last
}

impl<T: Clone> Node<T> {
    /// Inserts, and answers the right half if that was one too many.
    fn insert(&mut self, mut place: usize, element: T) -> Option<Self> {
        let at_end = match self {
            Self::Leaf(elements) => {
                make_room(elements);
                elements.insert(place, element);
                place + 1 == elements.len()
            }
            Self::Branch { len, children } => {
                let number = descend(children, &mut place);
                if let Some(right) = Arc::make_mut(&mut children[number]).insert(place, element) {
                    make_room(children);
                    children.insert(number + 1, Arc::new(right));
                }
                *len += 1;
                number + 2 == children.len()
            }
        };
        // What only grows at its end leaves nodes behind that nothing will ever fill.
        let keep = if at_end { NODE_MAX + 1 - NODE_MIN } else { NODE_MAX / 2 };
        (self.parts() > NODE_MAX).then(|| self.split(keep))
    }

    /// Keeps the first parts and answers the others.
    fn split(&mut self, keep: usize) -> Self {
        match self {
            Self::Leaf(elements) => Self::Leaf(elements.split_off(keep)),
            Self::Branch { len, children } => {
                let right = Self::branch(children.split_off(keep));
                *len -= right.len();
                right
            }
        }
    }

    fn remove(&mut self, mut place: usize) -> T {
        match self {
            Self::Leaf(elements) => elements.remove(place),
            Self::Branch { len, children } => {
                let number = descend(children, &mut place);
                let removed = Arc::make_mut(&mut children[number]).remove(place);
                *len -= 1;
                if children[number].parts() < NODE_MIN {
                    mend(children, number);
                }
                removed
            }
        }
    }

    fn element_mut(&mut self, mut place: usize) -> Option<&mut T> {
        match self {
            Self::Leaf(elements) => elements.get_mut(place),
            Self::Branch { children, .. } => {
                let number = descend(children, &mut place);
                Arc::make_mut(children.get_mut(number)?).element_mut(place)
            }
        }
    }

    /// Takes over the parts of the next node on its level.
    fn join(&mut self, next: Self) {
        match (self, next) {
            (Self::Leaf(elements), Self::Leaf(more)) => {
                elements.reserve_exact(more.len());
                elements.extend(more);
            }
            (Self::Branch { len, children }, Self::Branch { len: more_len, children: more }) => {
                children.reserve_exact(more.len());
                children.extend(more);
                *len += more_len;
            }
            (Self::Leaf(_), Self::Branch { .. }) | (Self::Branch { .. }, Self::Leaf(_)) => {
                unreachable!("nodes of one level are of one kind")
            }
        }
    }
}

/// Makes room for one more part. A vector would double, to twice what a node can ever have, and the half that stays
/// after a split would keep all of that.
fn make_room<P>(parts: &mut Vec<P>) {
    if parts.len() == parts.capacity() {
        parts.reserve_exact(parts.len().max(4).min(NODE_MAX + 1 - parts.len()));
    }
}

/// Joins a child that has become too small with one beside it, and parts them again if that is too large.
fn mend<T: Clone>(children: &mut Vec<Arc<Node<T>>>, number: usize) {
    let left = if number + 1 < children.len() { number } else { number.saturating_sub(1) };
    if left + 1 >= children.len() {
        return;
    }
    let right = Arc::unwrap_or_clone(children.remove(left + 1));
    let joined = Arc::make_mut(&mut children[left]);
    joined.join(right);
    if joined.parts() > NODE_MAX {
        let right = joined.split(joined.parts() / 2);
        children.insert(left + 1, Arc::new(right));
    }
}

impl<T: Clone> FromIterator<T> for Sequence<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut sequence = Self::default();
        elements.into_iter().for_each(|element| sequence.push_back(element));
        sequence
    }
}

impl<T: PartialEq> PartialEq for Sequence<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root) || (self.len() == other.len() && self.iter().eq(other.iter()))
    }
}

impl<T: Eq> Eq for Sequence<T> {}

impl<T: fmt::Debug> fmt::Debug for Sequence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Elements from either end of a range. Descends into the tree once for each leaf.
#[derive(Debug)]
pub(crate) struct Iter<'a, T> {
    sequence: &'a Sequence<T>,
    from: usize,
    to: usize,
    /// What is left of the leaf at `from`, and of the one in front of `to`. They may overlap; the places decide.
    front: &'a [T],
    back: &'a [T],
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if self.from >= self.to {
            return None;
        }
        if self.front.is_empty() {
            let (leaf, place) = self.sequence.root.leaf(self.from)?;
            self.front = &leaf[place..];
        }
        let (first, rest) = self.front.split_first()?;
        self.front = rest;
        self.from += 1;
        Some(first)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.to - self.from;
        (left, Some(left))
    }
}

impl<T> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        if self.back.is_empty() {
            let (leaf, place) = self.sequence.root.leaf(self.to - 1)?;
            self.back = &leaf[..=place];
        }
        let (last, rest) = self.back.split_last()?;
        self.back = rest;
        self.to -= 1;
        Some(last)
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl<T> Sequence<T> {
        /// Holds what the module's essay says of the tree; answers its depth.
        fn check(&self) -> usize {
            fn depth<T>(node: &Node<T>, is_root: bool) -> usize {
                assert!(
                    node.parts() <= NODE_MAX && (is_root || node.parts() >= NODE_MIN),
                    "{}",
                    node.parts()
                );
                match node {
                    Node::Leaf(_) => 1,
                    Node::Branch { len, children } => {
                        assert_eq!(*len, children.iter().map(|child| child.len()).sum::<usize>());
                        assert!(children.len() > 1, "a branch branches");
                        let depths: Vec<_> = children.iter().map(|child| depth(child, false)).collect();
                        assert!(depths.iter().all(|depth| *depth == depths[0]), "leaves are equally deep");
                        1 + depths[0]
                    }
                }
            }
            depth(&self.root, true)
        }
    }

    #[derive(Clone, Debug)]
    enum Edit {
        Insert(usize),
        Append(usize),
        Remove(usize),
        Cut(usize, usize),
        Replace(usize),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            2 => any::<usize>().prop_map(Edit::Insert),
            3 => (0..90usize).prop_map(Edit::Append),
            2 => any::<usize>().prop_map(Edit::Remove),
            1 => (any::<usize>(), 0..150usize).prop_map(|(at, count)| Edit::Cut(at, count)),
            1 => any::<usize>().prop_map(Edit::Replace),
        ]
    }

    fn apply(edit: &Edit, mark: u32, sequence: &mut Sequence<u32>, model: &mut Vec<u32>) {
        let len = model.len();
        match *edit {
            Edit::Insert(at) => {
                sequence.insert(at % (len + 1), mark);
                model.insert(at % (len + 1), mark);
            }
            Edit::Append(count) => {
                for more in 0..count as u32 {
                    sequence.push_back(mark + more);
                    model.push(mark + more);
                }
            }
            Edit::Remove(at) if len > 0 => assert_eq!(sequence.remove(at % len), model.remove(at % len)),
            Edit::Cut(at, count) if len > 0 => {
                for _ in 0..count.min(len - at % len) {
                    assert_eq!(sequence.remove(at % len), model.remove(at % len));
                }
            }
            Edit::Replace(at) if len > 0 => {
                let before = std::mem::replace(&mut model[at % len], mark);
                assert_eq!(sequence.replace(at % len, mark), before);
            }
            Edit::Remove(_) | Edit::Cut(..) | Edit::Replace(_) => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_sequence_is_what_a_vector_would_be(edits in proptest::collection::vec(edit(), 0..60)) {
            let (mut sequence, mut model) = (Sequence::default(), Vec::new());
            for (number, edit) in edits.iter().enumerate() {
                let (before, before_model) = (sequence.clone(), model.clone());
                apply(edit, 1000 * number as u32, &mut sequence, &mut model);
                sequence.check();
                prop_assert!(sequence.iter().eq(&model));
                prop_assert!(sequence.iter().rev().eq(model.iter().rev()));
                prop_assert!(before.iter().eq(&before_model), "a clone stays as it was");
            }
            prop_assert_eq!(&sequence, &model.iter().copied().collect::<Sequence<_>>());
        }

        #[test]
        fn places_of_a_sorted_sequence_are_found(mut sorted in proptest::collection::vec(0..500u32, 0..400), asked in 0..500u32) {
            sorted.sort_unstable();
            let sequence: Sequence<u32> = sorted.iter().copied().collect();
            prop_assert_eq!(
                sequence.partition_point(|element| *element < asked),
                sorted.partition_point(|element| *element < asked)
            );
            prop_assert_eq!(
                sequence.bisect(|element| *element < asked),
                sorted.partition_point(|element| *element < asked)
            );
        }

        #[test]
        fn equal_sequences_are_bisected_alike_whatever_their_trees(places in proptest::collection::vec(any::<prop::sample::Index>(), 33..400), asked in 0..400u32) {
            let mut grown = Sequence::default();
            for (mark, place) in (0..400u32).zip(places) {
                grown.insert(place.index(grown.len() + 1), mark);
            }
            let appended: Sequence<u32> = grown.iter().copied().collect();
            let place = grown.bisect(|element| *element < asked);
            prop_assert_eq!(place, appended.bisect(|element| *element < asked));
            prop_assert!(grown.get(place).is_none_or(|element| *element >= asked));
            prop_assert!(place == 0 || grown.get(place - 1).is_some_and(|element| *element < asked));
        }

        #[test]
        fn ranges_are_walked_from_both_ends(len in 0..300u32, from in 0..320usize, to in 0..320usize, turns in any::<u64>()) {
            let sequence: Sequence<u32> = (0..len).collect();
            let model: Vec<u32> = (0..len).collect();
            let to = to.min(model.len());
            let mut expected = model[from.min(to)..to].iter();
            let mut walked = sequence.range(from, to);
            for turn in 0..=model.len() {
                prop_assert_eq!(walked.len(), expected.len());
                if turns >> (turn % 64) & 1 == 0 {
                    prop_assert_eq!(walked.next(), expected.next());
                } else {
                    prop_assert_eq!(walked.next_back(), expected.next_back());
                }
            }
        }
    }

    #[test]
    fn a_sequence_that_only_grew_at_its_end_is_well_filled() {
        // With half full nodes it would be three levels deep.
        let sequence: Sequence<u32> = (0..600).collect();
        assert_eq!(sequence.check(), 2);
    }

    #[test]
    fn what_is_dismantled_goes_a_few_elements_at_a_time_and_leaves_what_others_hold() {
        let elements: Vec<Arc<usize>> = (0..20_000).map(Arc::new).collect();
        let held = || elements.iter().filter(|element| Arc::strong_count(element) > 1).count();
        let mut sequence: Sequence<Arc<usize>> = elements.iter().cloned().collect();
        let (mut left, mut steps) = (sequence.len(), 0);
        while !sequence.is_empty() {
            let freed = sequence.dismantle(100);
            left -= freed;
            steps += 1;
            assert!(freed >= 100 || left == 0, "{freed} at once");
            assert!(freed < 100 + NODE_MAX && held() == left && sequence.len() == left, "{left} are left");
        }
        assert!(steps > 20_000 / (100 + NODE_MAX) && sequence.dismantle(1) == 0);

        let mut sequence: Sequence<Arc<usize>> = elements.iter().cloned().collect();
        let mut copy = sequence.clone();
        assert_eq!(copy.dismantle(100), 1, "all of it is shared");
        let mut copy = sequence.clone();
        copy.remove(10_000);
        assert!(copy.dismantle(usize::MAX) < 4 * NODE_MAX, "what was copied for the removal, and no more");
        assert_eq!((copy.len(), sequence.len(), held()), (0, 20_000, 20_000));
        sequence.check();
        sequence.dismantle(usize::MAX);
        assert_eq!(held(), 0);
    }

    /// The vector of a full node doubled for the one part too many, so that half of what a collection took was empty.
    #[test]
    fn no_node_has_room_for_much_more_than_it_may_hold() {
        fn room<T>(node: &Node<T>) -> usize {
            match node {
                Node::Leaf(elements) => elements.capacity(),
                Node::Branch { children, .. } => {
                    children.iter().map(|child| room(child)).max().unwrap_or(0).max(children.capacity())
                }
            }
        }
        let mut sequence = Sequence::default();
        for turn in 0..3_000 {
            // Copied nodes have vectors that are full whatever their length.
            let _snapshot = (turn % 10 == 0).then(|| sequence.clone());
            sequence.insert(turn * 7_919 % (sequence.len() + 1), turn);
        }
        assert!(room(&sequence.root) <= NODE_MAX + 1, "{}", room(&sequence.root));
        for turn in 0..2_900 {
            sequence.remove(turn * 7_919 % sequence.len());
        }
        assert!(room(&sequence.root) <= NODE_MAX + NODE_MIN, "{}", room(&sequence.root));
    }

    #[test]
    fn a_change_of_a_shared_sequence_copies_one_node_of_each_level() {
        let original: Sequence<Arc<u32>> = (0..10_000).map(Arc::new).collect();
        let mut changed = original.clone();
        changed.remove(5_000);
        let copied = original.iter().filter(|element| Arc::strong_count(element) > 1).count();
        assert!(copied <= NODE_MAX, "{copied} elements were copied");
    }
}
